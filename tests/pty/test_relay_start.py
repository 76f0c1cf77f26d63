"""How soon and how small a relay is: Prosody starts one for every host, and stands still meanwhile.

What is timed is the CPU, not the clock: whoever else wants it makes a start longer, and no relay slower.
"""

import compileall
import contextlib
import os
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.relay.daemon import resident
from support.relay.site import LAUNCHER, ROOT, waits

RUNS = 12
SLOW = {"trio", "attr", "attrs", "argparse", "typing", "re", "logging", "tomllib", "socket", "random", "asyncio"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as an installation has it: compiled."""
    root = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "bridge", root / "bridge", ignore=shutil.ignore_patterns("__pycache__"))
    assert compileall.compile_dir(root / "bridge", quiet=1)
    return root


@contextlib.contextmanager
def started(installed: Path, *arguments: str) -> Iterator[int]:
    """A relay on a pty of a program."""
    master, slave = os.openpty()
    settings = termios.tcgetattr(slave)
    settings[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    process = subprocess.Popen(
        [sys.executable, LAUNCHER, *arguments],
        stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "PYTHONPATH": str(installed)},
    )  # fmt: skip
    os.close(slave)
    try:
        yield process.pid
    finally:
        os.close(master)
        assert process.wait(20) == 0


def until_ready(pid: int) -> None:
    end = time.monotonic() + 20
    while not waits(pid):
        if time.monotonic() > end:
            raise TimeoutError("it never waits for its input")
        time.sleep(0.0002)


def spent(pid: int) -> float:
    """Seconds of CPU a process that sleeps has had."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def bare_start() -> float:
    """Seconds of CPU that the interpreter alone takes."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie still says what it has had
    try:
        return spent(process.pid)
    finally:
        assert process.wait() == 0


@pytest.mark.parametrize("kind", ["socket", "file"])
def test_start(installed: Path, tmp_path: Path, kind: str) -> None:
    """Until it is ready to read: at most 1.5 times what the bare interpreter takes, and 15 ms.  The best of each.

    With a file once more what the interpreter takes: that is about what tomllib costs.
    """
    file = tmp_path / "relay.toml"
    file.write_text('connect = "/nowhere"  # no daemon yet\nanswer_timeout = 4.5\n[log]\nlevel = "info"\n')
    arguments = ["connect", "/nowhere"] if kind == "socket" else [str(file)]
    bare, ready, memory = [], [], 0
    for _ in range(RUNS):
        bare.append(bare_start())
        with started(installed, *arguments) as pid:
            until_ready(pid)
            ready.append(spent(pid))
            memory = max(memory, resident(pid))
    times = 1.5 if kind == "socket" else 2.5
    took, allowed = min(ready) * 1000, min(bare) * times * 1000 + 15
    print(f"{kind}: {took:.1f} ms, allowed {allowed:.1f} ms; {memory} KiB")
    assert took <= allowed
    assert memory <= 15 * 1024


def imported(installed: Path, code: str) -> set[str]:
    """The modules that are there after this has run, without those that the interpreter imports itself."""
    code = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=installed, env={"PATH": ""}
    )
    return set(shown.stdout.split())


def test_nothing_slow_is_imported(installed: Path) -> None:
    """Neither for the start nor for a question."""
    always = ["bridge.terminal.takeover", "bridge.entry", "bridge.commands.connect", "bridge.relay.relay"]
    for session in (
        ["bridge.terminal.gate", "bridge.terminal.watcher", "bridge.clients.lockstep"],
        ["bridge.clients.pipelined"],
    ):
        assert not SLOW & imported(installed, f"import {', '.join([*always, *session])}")


@pytest.mark.parametrize("connects", [True, False])
def test_only_a_file_that_may_say_connect_takes_tomllib(installed: Path, tmp_path: Path, connects: bool) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('connect = "/nowhere"' if connects else 'program = "/bin/connect"')
    found = SLOW & imported(installed, f"from bridge.relay.settings import read; read({str(file)!r})")
    assert ("tomllib" in found) == connects
    assert found <= {"tomllib", "re", "typing"}
