"""No `1` after its time: a bridge that stood still finds replies that were good while it did not look.

Only the bridge is stopped, longer than `answer_timeout`; its programs go on, and reply to questions whose time is over
when they are read.  What the client's pipe held when the bridge stopped is another matter: it had been answered.

A round counts if the bridge was stopped in its wait for events.  Elsewhere, within microseconds of a write that was in
time when it was decided on, nobody could do better.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from support import procfs
from support.daemon.serving import until
from support.daemon.standstill import (
    AT_ONCE,
    STOP,
    TIMEOUT,
    check_well,
    let_reply,
    pause,
    send,
    stand_still,
    stop,
    take,
    until_asked,
    verdicts,
)
from support.process import Bridge
from support.programs.bad import CHAMELEON, Journal
from support.programs.replies import compiled

from .conftest import Start

pytestmark = pytest.mark.slow

# --- run, pipelined ------------------------------------------------------------------------------------------


def options(pool_size: int, *more: object, timeout: float = TIMEOUT) -> tuple[object, ...]:
    settings = ("--pool-size", pool_size, "--answer-timeout", timeout, "--max-requests", 0)
    return ("run", *more, *settings, "--", *CHAMELEON)


def warmed_up(start: Start, journal: Journal, pool_size: int, *more: object) -> Bridge:
    """A bridge all of whose programs have answered, or could."""
    bridge = start(*options(pool_size, *more), env=journal.environment)
    bridge.wait_for_programs(pool_size)
    until(lambda: len(journal.pids("start")) >= pool_size, "the programs to run")
    assert bridge.ask(b"isuser:u:h").verdict == "1"
    return bridge


def test_pipelined(start: Start, journal: Journal, dice: random.Random) -> None:
    """Programs reply before the stop, during it, after it; what waits in the queue has no time left either."""
    bridge = warmed_up(start, journal, 4)
    counted = 0
    for number in range(6):
        # The first are answered before the others: that is about when the bridge is stopped.
        ways = [0, 20 + 5 * number, 60, 150, 150, 300, 500, 700]
        names = [f"slow{way}-u{number}x{at}" for at, way in enumerate(ways)]
        known = send(bridge, *(f"auth:{name}:h:pw-{name}".encode() for name in names))
        pause(dice.uniform(0, 0.04))
        waiting = stop(bridge.pid)
        before = take(bridge)
        stand_still(bridge.pid, time.monotonic())
        late = verdicts(bridge, before, known + len(names))
        if waiting:
            counted += 1
            assert "1" not in late
        check_well(bridge)
    assert counted >= 3
    bridge.finish()


def test_flood(start: Start, tmp_path: Path, dice: random.Random) -> None:
    """Thirty-two questions in flight at full speed, stopped in the middle of whatever it is doing.

    Only between the decision to write an answer and its write there may be a stop that nobody notices: one in ten.
    """
    settings = ("--pool-size", 4, "--answer-timeout", 0.3, "--max-requests", 0)
    bridge = start("run", *settings, "--", compiled(tmp_path, "pieces"), "greedy", "1", "0")
    line = b"isuser:somebody:example.com\n"
    assert bridge.ask(line[:-1]).verdict == "1"
    bridge.wait_for_programs(4)
    stops, late = 10, []
    for _ in range(stops):
        moment = time.monotonic() + dice.uniform(0.05, 0.1)
        while time.monotonic() < moment:
            while bridge.sent - len(bridge.verdicts) < 32 and bridge.pump(0, read=False) is not None:
                bridge.send(line)
            bridge.pump(0.001)
        os.kill(bridge.pid, signal.SIGSTOP)
        until(lambda: procfs.is_stopped(bridge.pid), "the stop")
        before = take(bridge)
        was_read = bridge.sent - -(-bridge.unread // len(line))
        pause(0.5)
        os.kill(bridge.pid, signal.SIGCONT)
        answers = verdicts(bridge, before, bridge.sent)
        late.append(answers[: max(0, was_read - before)].count("1"))
        bridge.until(lambda: bridge.ask(line[:-1]).verdict == "1", "it to go well again", AT_ONCE)
    assert sum(1 for count in late if count) <= 1, f"late grants: {late}"
    bridge.finish()


@pytest.mark.parametrize("pool_size", [1, 4])
def test_replies_that_lie_there(start: Start, journal: Journal, pool_size: int) -> None:
    """All programs reply in time, as they see it, while the bridge is stopped: nobody is told."""
    bridge = warmed_up(start, journal, pool_size)
    for number in range(6):
        lines = [b"isuser:gate-u%dx%d:h" % (number, at) for at in range(pool_size)]
        known = send(bridge, *lines)
        until_asked(journal, *lines)
        stop(bridge.pid)
        stand_still(bridge.pid, time.monotonic(), lambda lines=lines: let_reply(journal, *lines))
        assert verdicts(bridge, known, known + pool_size) == "0" * pool_size
        check_well(bridge)
    bridge.finish()


def test_programs_that_replied_meanwhile_are_not_killed(start: Start, journal: Journal) -> None:
    """They were in time; it was the bridge that was not."""
    bridge = warmed_up(start, journal, 2)
    programs = bridge.programs()
    lines = [b"isuser:gate-u%d:h" % number for number in range(2)]
    known = send(bridge, *lines)
    until_asked(journal, *lines)
    stop(bridge.pid)
    stand_still(bridge.pid, time.monotonic(), lambda: let_reply(journal, *lines))
    assert verdicts(bridge, known, known + 2) == "00"
    check_well(bridge)
    assert set(programs) <= set(bridge.programs())
    bridge.finish()


def test_whole_machine_stood_still(start: Start, journal: Journal) -> None:
    """A paused virtual machine: programs and bridge go on at the same moment."""
    bridge = warmed_up(start, journal, 4)
    for number in range(3):
        lines = [b"isuser:slow%d-u%dx%d:h" % (50 + 10 * at, number, at) for at in range(4)]
        known = send(bridge, *lines)
        everybody = [bridge.pid, *bridge.programs()]
        waiting = stop(bridge.pid)
        for pid in everybody[1:]:
            os.kill(pid, signal.SIGSTOP)
        before = take(bridge)
        pause(STOP)
        for pid in reversed(everybody):
            os.kill(pid, signal.SIGCONT)
        late = verdicts(bridge, before, known + 4)
        assert "1" not in late or not waiting
        check_well(bridge)
    bridge.finish()


def test_lines_of_the_meantime_are_questions(start: Start, journal: Journal) -> None:
    """Written while the bridge stood still, read afterwards: they have all of their time before them."""
    bridge = warmed_up(start, journal, 2)
    line = b"isuser:gate-u:h"
    known = send(bridge, line)
    until_asked(journal, line)
    stop(bridge.pid)
    began = time.monotonic()
    let_reply(journal, line)
    pause(STOP - 0.1)
    bridge.send(b"auth:u:h:hunter2\nisuser:u:h\nauth:u:h:pw-u\n")
    stand_still(bridge.pid, began)
    assert verdicts(bridge, known, known + 4) == "0011"
    bridge.finish()


def test_client_that_stood_still_may_have_its_answers(start: Start) -> None:
    """It is the client that does not read: what is in its pipe was written in time."""
    bridge = start(*options(2))
    assert bridge.ask(b"isuser:u:h").verdict == "1"
    for number in range(50):
        bridge.queue(b"isuser:%s%d:h" % (b"no" if number % 3 else b"u", number))
    began = time.monotonic()
    while time.monotonic() - began < STOP:
        bridge.pump(0.01, read=False)
    assert verdicts(bridge, 1, 51) == "".join("0" if number % 3 else "1" for number in range(50))
    bridge.finish()


# --- run, lockstep -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [b"slow5", b"gate"])
def test_lockstep(start: Start, journal: Journal, way: bytes) -> None:
    bridge = warmed_up(start, journal, 1, "--client", "lockstep")
    counted = 0
    for number in range(5):
        line = b"isuser:%b-u%d:h" % (way, number)
        known = send(bridge, line)
        until_asked(journal, line)
        waiting = stop(bridge.pid)
        answered = take(bridge) > known
        stand_still(bridge.pid, time.monotonic(), lambda line=line: let_reply(journal, line))
        verdict = verdicts(bridge, known, known + 1)
        if waiting and not answered:
            counted += 1
            assert verdict == "0"
        check_well(bridge)
    assert counted or way != b"gate"
    bridge.finish()


def test_lockstep_client_that_asked_again(start: Start, journal: Journal) -> None:
    """It gave up while the bridge stood still, and asks something else: the old reply is not the answer to that."""
    bridge = warmed_up(start, journal, 2, "--client", "lockstep")
    old = b"isuser:gate-u:h"
    known = send(bridge, old)
    until_asked(journal, old)
    stop(bridge.pid)
    began = time.monotonic()
    let_reply(journal, old)
    pause(STOP - 0.05)
    bridge.send(b"auth:bob:h:hunter2\n")
    stand_still(bridge.pid, began)
    bridge.wait_for_answers(known + 1)
    bridge.pump(0.3)
    # One answer, or one for each; when it is one, it is the new line's.
    assert bridge.verdicts[known:] in (["0"], ["0", "0"])
    known = len(bridge.verdicts)
    bridge.send(b"isuser:u:h\n")
    assert verdicts(bridge, known, known + 1) == "1"
