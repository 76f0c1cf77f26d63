"""Any limit of descriptors: a command works, or it says clearly why not; and nothing is left of it."""

import os
import re
import resource
import signal
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from support import procfs
from support.daemon.serving import Daemon, ask, until
from support.descriptors import NEEDED, limited, lowest
from support.process import COMMAND, MARK, PATIENCE, environment
from support.programs.bad import CHAMELEON

from .conftest import Start

GOOD = b"isuser:alice:example.com"
ENOUGH = 56
"""More than is needed: a few above what any command says, at the moment 43."""


class Outcome:
    """How one command ended under a limit."""

    def __init__(self, words: list[object], limit: int, stdin: bytes = b"") -> None:
        mark = uuid.uuid4().hex
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            input=stdin,
            env=environment({MARK: mark}),
            preexec_fn=limited(limit),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        self.status, self.answer, self.log = done.returncode, done.stdout, done.stderr.decode()
        assert not procfs.having(MARK, mark), "a process was left behind"

    def lacks(self, limit: int) -> int | None:
        """How many it says it needs, if it has refused to work; checks that it says so properly."""
        assert "internal error" not in self.log
        assert "Traceback" not in self.log
        if self.status == 0:
            return None
        found = NEEDED.fullmatch(self.log.removeprefix("extauth-bridge: ").removesuffix("\n"))
        assert found, self.log
        assert (self.status, self.answer, int(found[2])) == (2, b"", limit)
        assert int(found[1]) > limit
        return int(found[1])


def run(limit: int, _: Path) -> int | None:
    outcome = Outcome(["run", "--pool-size", 1, "--", *CHAMELEON], limit, GOOD + b"\n")
    assert outcome.answer in (b"", b"1\n"), outcome.log
    return outcome.lacks(limit)


def ask_a_program(limit: int, _: Path) -> int | None:
    outcome = Outcome(["ask", "isuser", "alice@example.com", "--", *CHAMELEON], limit)
    assert outcome.answer in (b"", b"granted\n"), outcome.log
    return outcome.lacks(limit)


def relay(limit: int, daemon: Path) -> int | None:
    outcome = Outcome(["connect", daemon], limit, GOOD + b"\n")
    assert outcome.answer in (b"", b"1\n"), outcome.log
    return outcome.lacks(limit)


def ask_the_daemon(limit: int, daemon: Path) -> int | None:
    outcome = Outcome(["ask", "isuser", "alice@example.com", daemon], limit)
    assert outcome.answer in (b"", b"granted\n"), outcome.log
    return outcome.lacks(limit)


@pytest.fixture
def daemon(serve: Callable[..., Daemon]) -> Path:
    daemon = serve("--pool-size", 1)
    assert ask(daemon.connect(), GOOD) == b"1\n"
    return daemon.path


COMMANDS = [run, ask_a_program, relay, ask_the_daemon]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_said_to_be_needed_is_enough(command: Callable[[int, Path], int | None], daemon: Path) -> None:
    needed = command(lowest(), daemon)
    assert needed is not None
    assert command(needed - 1, daemon) == needed
    assert command(needed, daemon) is None


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_limit(command: Callable[[int, Path], int | None], daemon: Path) -> None:
    for limit in range(lowest(), ENOUGH):
        command(limit, daemon)


def test_descriptors_that_are_inherited_count() -> None:
    """A limit of 1024 does not help if a thousand are in use."""
    inherited = [os.dup(0) for _ in range(30)]
    limit = max(inherited) + 1
    try:
        done = subprocess.run(
            [*COMMAND, "run", "--", *CHAMELEON],
            env=environment(),
            preexec_fn=limited(limit),
            pass_fds=inherited,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            text=True,
        )
    finally:
        for descriptor in inherited:
            os.close(descriptor)
    assert done.returncode == 2
    assert NEEDED.search(done.stderr)


@pytest.mark.slow
def test_a_daemon_under_every_limit(tmp_path: Path) -> None:
    for limit in range(lowest(), ENOUGH):
        path = tmp_path / "auth.sock"
        daemon = subprocess.Popen(
            [*COMMAND, "serve", "--pool-size", "1", "--listen", str(path), "--", *CHAMELEON],
            env=environment(),
            preexec_fn=limited(limit),  # noqa: PLW1509 (no threads here)
            stderr=subprocess.PIPE,
        )
        with daemon:
            until(lambda daemon=daemon, path=path: path.exists() or daemon.poll() is not None, "it listens, or not")
            if daemon.poll() is None:
                assert Outcome(["connect", path], ENOUGH, GOOD + b"\n").answer == b"1\n"
            daemon.send_signal(signal.SIGTERM)
            log = daemon.communicate(timeout=PATIENCE)[1].decode()
        assert not path.exists()
        assert "internal error" not in log
        assert "Traceback" not in log
        assert daemon.returncode == (2 if NEEDED.search(log) else 0), log


def test_a_pool_that_is_too_large_says_so_and_serves(start: Start) -> None:
    options = ("--pool-size", 200, "--answer-timeout", 20)
    bridge = start("run", *options, "--", *CHAMELEON, prepare=limited(256))
    assert bridge.ask(GOOD).verdict == "1"
    bridge.until(lambda: b"cannot be started" in bridge.log, "the start that fails")
    assert {answer.verdict for answer in bridge.converse([GOOD] * 200)} == {"1"}
    bridge.finish()
    log = bridge.log.decode()
    said = re.search(r"too few descriptors for pool_size.*LimitNOFILE=, ulimit -n.* limit=256 needed=(\d+)", log)
    assert said
    assert int(said[1]) >= 200 * 4
    assert re.search(r"cannot be started .*the limit of descriptors is 256: ulimit -n, LimitNOFILE=", log)
    assert "internal error" not in log


@pytest.mark.slow
def test_it_heals_when_there_are_descriptors_again(start: Start) -> None:
    bridge = start("run", "--pool-size", 1, "--max-requests", 0, "--", *CHAMELEON)
    assert bridge.ask(GOOD).verdict == "1"
    (program,) = bridge.programs()
    resource.prlimit(bridge.pid, resource.RLIMIT_NOFILE, (bridge.descriptors(), 20_000))
    os.kill(program, signal.SIGKILL)
    bridge.until(lambda: b"cannot be started" in bridge.log, "a start that fails")
    assert bridge.ask(GOOD).verdict == "0"
    resource.prlimit(bridge.pid, resource.RLIMIT_NOFILE, (20_000, 20_000))
    bridge.until(lambda: bridge.ask(GOOD).verdict == "1", "a good answer")
    bridge.finish()
    assert b"internal error" not in bridge.log
