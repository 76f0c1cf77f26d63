"""How soon and how small a relay is: Prosody starts one for every host, and stands still meanwhile.

What is counted are instructions, neither the clock nor the CPU's time: whoever else is at work makes those longer, and
no relay slower.
"""

import compileall
import contextlib
import os
import re
import shutil
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.components import command
from support.relay.daemon import resident
from support.relay.site import LAUNCHER, ROOT, until, waits

# Seconds; reached only by a test that fails.  Under valgrind all takes fifty times as long.
PATIENCE = 120.0

SLOW = {"trio", "attr", "attrs", "argparse", "typing", "re", "logging", "tomllib", "socket", "random", "asyncio"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as an installation has it: compiled."""
    root = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "bridge", root / "bridge", ignore=shutil.ignore_patterns("__pycache__"))
    assert compileall.compile_dir(root / "bridge", quiet=1)
    return root


@contextlib.contextmanager
def started(installed: Path, *arguments: str | Path, under: Sequence[str] = ()) -> Iterator[int]:
    """A relay on a pty of a program, once it is ready to read; ended by that program's end."""
    master, slave = os.openpty()
    settings = termios.tcgetattr(slave)
    settings[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    process = subprocess.Popen(
        [*under, sys.executable, LAUNCHER, *arguments],
        stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "PYTHONPATH": str(installed)},
    )  # fmt: skip
    os.close(slave)
    try:
        until(lambda: waits(process.pid), "the relay to wait for its input", PATIENCE)
        yield process.pid
    finally:
        os.close(master)
        assert process.wait(PATIENCE) == 0


@pytest.fixture
def relays(tmp_path: Path) -> dict[str, list[str | Path]]:
    """The arguments of the two kinds of relays, without a daemon."""
    file = tmp_path / "relay.toml"
    file.write_text('connect = "/nowhere"  # no daemon yet\nanswer_timeout = 4.5\n[log]\nlevel = "info"\n')
    return {"socket": ["connect", "/nowhere"], "file": [file]}


def test_start(installed: Path, tmp_path: Path, relays: dict[str, list[str | Path]]) -> None:
    """Until it is ready to read, at most 3 times what bare Python takes; with a file what tomllib costs on top."""
    profile, first = tmp_path / "profile", tmp_path / "profile.1"
    valgrind = [command("valgrind", "valgrind"), "--tool=callgrind", f"--callgrind-out-file={profile}"]
    counting = [*valgrind, f"--log-file={os.devnull}"]

    def counted(path: Path) -> float:
        """Millions of instructions."""
        found = re.search(r"^(?:totals|summary): (\d+)", path.read_text(), re.MULTILINE)
        assert found
        return int(found[1]) / 1e6

    def bare(code: str) -> float:
        subprocess.run([*counting, sys.executable, "-I", "-S", "-c", code], check=True)
        return counted(profile)

    def relay(kind: str) -> float:
        with started(installed, *relays[kind], under=counting) as pid:
            subprocess.run(["callgrind_control", "--dump", str(pid)], check=True, stdout=subprocess.DEVNULL)
            until(first.exists, "the profile")
        taken = counted(first)
        first.unlink()
        return taken

    nothing, tomllib, socket, file = bare("pass"), bare("import tomllib"), relay("socket"), relay("file")
    print(f"bare {nothing:.0f}, with tomllib {tomllib:.0f}, relay {socket:.0f}, with a file {file:.0f} million")
    assert socket <= 3 * nothing
    assert file <= socket + (tomllib - nothing)


@pytest.mark.parametrize("kind", ["socket", "file"])
def test_memory(installed: Path, relays: dict[str, list[str | Path]], kind: str) -> None:
    with started(installed, *relays[kind]) as pid:
        assert resident(pid) <= 15 * 1024


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
