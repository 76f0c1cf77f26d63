"""An error of ours in a running daemon: one client, or one program, pays for it, and nobody else notices."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemon.serving import Daemon, ask, read, until
from support.faults import HANGING, fault
from support.programs.bad import CHAMELEON

from .conftest import Start

pytestmark = pytest.mark.slow

YES, NO = b"1\n", b"0\n"

POISONED = """
    from bridge.clients import {module}
    real = {module}.{name}
    def poisoned(*arguments):
        if any("poison" in repr(getattr(one, "body", one)) for one in arguments):
            raise MemoryError("{place}")
        return real(*arguments)
    {module}.{name} = poisoned
"""

IN_A_SESSION = {
    "lines taken": POISONED.format(module="pipelined", name="PipelinedSession._take", place="_take"),
    "a verdict": POISONED.format(module="pipelined", name="PipelinedSession.settled", place="settled"),
}

IN_A_PROGRAM = """
    from bridge.worker import worker
    write = worker._write
    def fail(descriptor, frame):
        if b"poison" in frame:
            raise MemoryError("poison")
        return write(descriptor, frame)
    worker._write = fail
"""


@pytest.mark.parametrize("code", IN_A_SESSION.values(), ids=IN_A_SESSION)
def test_one_client_s_error_ends_that_client(serve: Callable[..., Daemon], tmp_path: Path, code: str) -> None:
    options = ("--pool-size", 2, "--status-listen", tmp_path / "status.sock")
    daemon = serve(*options, env=fault(tmp_path, code))
    good, bad, other = daemon.connect(), daemon.connect(), daemon.connect()
    assert ask(good, b"isuser:u:h") == YES
    programs = daemon.programs()
    other.sendall(b"isuser:slow100-u:h\nisuser:no:h\n" * 5)
    bad.sendall(b"isuser:u:h\n")
    assert read(bad, 2) == YES
    bad.sendall(b"isuser:slow50-u:h\nisuser:poison:h\n")
    assert read(bad, 100) in (b"", YES), "the connection ends, and nothing is answered that could be another's"
    assert read(other, 20) == (YES + NO) * 5
    for _ in range(20):
        assert ask(good, b"isuser:u:h") == YES
        assert ask(good, b"isuser:no:h") == NO
    assert daemon.programs() == programs
    until(lambda: json.loads(read(daemon.connect_status(), 1 << 20))["clients"]["connected"] == 2, "it is gone")
    log = daemon.log.read_text()
    assert "client dropped after an internal error" in log
    assert "poison" not in log


def test_one_program_s_error_ends_that_program(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = serve("--pool-size", 2, env=fault(tmp_path, IN_A_PROGRAM))
    good, bad = daemon.connect(), daemon.connect()
    assert ask(good, b"isuser:u:h") == YES
    bad.sendall(b"isuser:poison:h\nisuser:u:h\n")
    begun = time.monotonic()
    assert read(bad, 4) == NO + YES, "unavailable"
    assert time.monotonic() - begun < 3.0, "it was not asked over and over"
    until(lambda: len(daemon.programs()) == 2, "they are replaced")
    for _ in range(20):
        assert ask(good, b"isuser:no:h") == NO
        assert ask(good, b"isuser:u:h") == YES
    assert "internal error: MemoryError" in daemon.log.read_text()


def test_the_only_client_s_error_ends_the_bridge_properly(start: Start, tmp_path: Path) -> None:
    bridge = start("run", "--pool-size", 2, "--", *CHAMELEON, env=fault(tmp_path, IN_A_SESSION["lines taken"]))
    assert bridge.ask(b"isuser:u:h").verdict == "1"
    bridge.send(b"isuser:poison:h\n")
    assert bridge.wait() == 0
    bridge.check_nothing_left()
    assert b"client dropped after an internal error" in bridge.log


TOLD_IN_A_DESTRUCTOR = """
    import os, signal, sys
    class Gone:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "trio":
                Gone()
    sys.meta_path.insert(0, Finder())
"""
"""What the signal raises is ignored there; the module that is looked for is the last thing before it is obeyed."""


def test_told_to_stop_where_nothing_can_be_raised(start: Start, tmp_path: Path) -> None:
    bridge = start("run", "--pool-size", 1, "--", *CHAMELEON, env=fault(tmp_path, TOLD_IN_A_DESTRUCTOR))
    assert bridge.wait() == 0
    bridge.check_nothing_left()


# --- by force --------------------------------------------------------------------------------------------

BLOCKING = """
    from bridge.clients.server import Server
    from bridge.clients.pipelined import PipelinedSession
    import time
    def hang(*_):
        time.sleep(1000)
    Server.close = PipelinedSession.close = hang
"""

DYING = """
    import bridge.daemon.service, trio
    from bridge.clients.pipelined import PipelinedSession
    from bridge.pool.supervisor import Supervisor
    async def stays(*_):
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
    real = bridge.daemon.service.drive
    async def drive(reactor):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(real, reactor)
            await poisoned.wait()
            raise MemoryError
    bridge.daemon.service.drive, Supervisor.run = drive, stays
    poisoned = trio.Event()
    take = PipelinedSession._take
    def poison(self, lines):
        if b"isuser:poison:h" in lines:
            poisoned.set()
        return take(self, lines)
    PipelinedSession._take = poison
"""
"""A task dies of an error, and another cannot be cancelled: what MemoryError within trio came to."""

QUICK = ("--pool-size", 2, "--answer-timeout", 1.0, "--shutdown-grace", 0.5)
BOUND = 1.0 + 2 * 0.5 + 4.0
"""Seconds, with these, after which shutdown is forced at last; 3 more are for a busy machine."""


def are_gone(pids: list[int]) -> None:
    def alive(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    until(lambda: not any(map(alive, pids)), "the programs are killed")


@pytest.mark.parametrize("code", [HANGING, BLOCKING], ids=["programs", "clients"])
def test_a_daemon_that_cannot_stop_is_stopped(serve: Callable[..., Daemon], tmp_path: Path, code: str) -> None:
    daemon = serve(*QUICK, env=fault(tmp_path, code))
    client = daemon.connect()
    assert ask(client, b"isuser:u:h") == YES
    client.sendall(b"isuser:hang-u:h\n")
    programs = daemon.programs()
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(BOUND + 3) == 70
    are_gone(programs)
    assert not daemon.path.exists()
    assert "shutdown forced" in daemon.log.read_text()


def test_a_second_signal_shortens_that(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = serve("--pool-size", 1, "--answer-timeout", 60, env=fault(tmp_path, HANGING))
    client = daemon.connect()
    assert ask(client, b"isuser:u:h") == YES
    client.sendall(b"isuser:hang-u:h\n")
    programs = daemon.programs()
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: not daemon.path.exists(), "it has heard")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(4 + 3) in (0, 70)
    are_gone(programs)


@pytest.mark.parametrize("told", [False, True])
def test_a_daemon_whose_tasks_have_died_is_gone_in_time(
    serve: Callable[..., Daemon], tmp_path: Path, told: bool
) -> None:
    """Once it slept for ever then, with SIGTERM blocked and its programs running."""
    daemon = serve(*QUICK, env=fault(tmp_path, DYING))
    client = daemon.connect()
    assert ask(client, b"isuser:u:h") == YES
    programs = daemon.programs()
    client.sendall(b"isuser:poison:h\n")
    if told:
        until(lambda: not is_blocked(daemon, signal.SIGTERM), "it is obeyed, or means the end")
        daemon.process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert daemon.process.wait(BOUND + 3) == 70
    assert not told or time.monotonic() - begun < BOUND - 2
    are_gone(programs)
    assert not daemon.path.exists()


def is_blocked(daemon: Daemon, number: int) -> bool:
    """Whether it is, now that the service is at its end."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
    return not blocked >> signal.SIGHUP - 1 & 1 or bool(blocked >> number - 1 & 1)


def test_a_bridge_that_cannot_stop_at_the_end_of_input_is_stopped(start: Start, tmp_path: Path) -> None:
    bridge = start("run", *QUICK, "--", *CHAMELEON, env=fault(tmp_path, HANGING))
    assert bridge.ask(b"isuser:u:h").verdict == "1"
    bridge.close_input()
    assert bridge.wait() == 70
    bridge.check_nothing_left()
