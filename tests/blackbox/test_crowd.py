"""Ten thousand hosts, most with a program that is missing: nobody else waits for them, and they cost nothing."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemon.serving import Daemon, ask
from support.programs.bad import CHAMELEON, Journal, habit

from .conftest import Start

pytestmark = pytest.mark.slow

MANY = 10_000
MISSING = "/nonexistent/program"
LINE = b"isuser:alice:example.com"
TICKS = os.sysconf("SC_CLK_TCK")


def crowd(**others: object) -> dict[str, object]:
    """The tables of so many hosts; the last of them is `last.example`."""
    hosts: dict[str, object] = {f"h{number}.example": {} for number in range(MANY)}
    return {"program": MISSING, "pool_size": 2, "hosts": {**hosts, **others}, "log": {"level": "warning"}}


def test_a_host_that_works_is_answered_soon_and_goes_on_so(start: Start, configure, journal: Journal) -> None:
    """Before, the first answer and every other one took 6 s, the end took 8, and the log had 86 000 lines."""
    good = {"program": CHAMELEON, "env": journal.environment}
    bridge = start("run", configure(**crowd(**{"last.example": good, "quiet.example": good})))
    assert bridge.ask(b"isuser:alice:last.example").verdict == "1"
    for _ in range(20):
        assert bridge.ask(b"isuser:alice:last.example").verdict == "1"
        assert bridge.ask(b"isuser:alice:h9999.example").verdict == "0"
    assert bridge.ask(b"isuser:alice:quiet.example").verdict == "1", "nobody asked before, its turn is far away"
    assert max(answer.seconds for answer in bridge.answers(1)) < 3.0
    assert bridge.log.count(b"cannot be started") < 1000
    bridge.finish()


def test_a_daemon_stays_idle(serve: Callable[..., Daemon], configure, journal: Journal, tmp_path: Path) -> None:
    settings = crowd(**{"example.com": {"program": CHAMELEON, "env": journal.environment}})
    settings |= {"listen": str(tmp_path / "auth.sock"), "log": {"target": f"file:{tmp_path / 'log'}"}}
    daemon = serve(file=configure(**settings))
    client = daemon.connect()
    assert ask(client, LINE) == b"1\n"
    used, began = cpu(daemon), time.monotonic()
    time.sleep(3.0)  # there is no event for nothing happening
    share = (cpu(daemon) - used) / (time.monotonic() - began)
    assert share < 0.2, "starting what nobody asks for took all there was"
    assert daemon.log.read_text().count("cannot be started") < 1000
    assert ask(client, LINE) == b"1\n"


def test_what_was_missing_is_found_by_the_first_who_asks(start: Start, configure, tmp_path: Path) -> None:
    """Not in its turn, which comes after minutes."""
    program = tmp_path / "program"
    bridge = start("run", configure(**crowd(**{"last.example": {"program": [str(program), *habit("good")[1:]]}})))
    assert bridge.ask(b"isuser:alice:last.example").verdict == "0"
    program.symlink_to(habit("good")[0])
    bridge.until(lambda: bridge.ask(b"isuser:alice:last.example").verdict == "1", "the program is found", 10)
    bridge.finish()


def test_a_program_that_came_late_is_renewed_and_told_to_leave_as_any_other(
    start: Start, configure, journal: Journal, tmp_path: Path
) -> None:
    """A pool without programs has no supervisor; it gets one with the first."""
    program, command = tmp_path / "program", [str(tmp_path / "program"), *CHAMELEON[1:]]
    settings = {"program": command, "pool_size": 1, "max_requests": 3, "env": journal.environment}
    bridge = start("run", configure(**settings))
    assert bridge.ask(LINE).verdict == "0"
    program.symlink_to(CHAMELEON[0])
    bridge.until(lambda: bridge.ask(LINE).verdict == "1", "the program is found", 10)
    bridge.converse([LINE] * 10)
    bridge.until(lambda: len(journal.events("start")) > 1, "its successor")
    bridge.finish()
    assert len(journal.events("end")) == len(journal.events("start"))


def cpu(daemon: Daemon) -> float:
    """Seconds of CPU time it has used."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
