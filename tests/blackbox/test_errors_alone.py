"""An error of ours in a running daemon: one client, or one program, pays for it, and nobody else notices."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.bad_programs import CHAMELEON
from support.faults import fault
from support.serving import Daemon, ask, read, until

from .conftest import Start

YES, NO = b"1\n", b"0\n"

POISONED = """
    from bridge import {module}
    real = {module}.{name}
    def poisoned(*arguments):
        if any("poison" in repr(getattr(one, "body", one)) for one in arguments):
            raise MemoryError("{place}")
        return real(*arguments)
    {module}.{name} = poisoned
"""

IN_A_SESSION = {
    "lines taken": POISONED.format(module="session", name="Session._take", place="_take"),
    "a verdict": POISONED.format(module="session", name="Session.settled", place="settled"),
}

IN_A_PROGRAM = POISONED.format(module="worker", name="frame", place="frame")


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
    assert "client let go after an internal error" in log
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
    assert b"client let go after an internal error" in bridge.log
