"""A pipelined client: many lines at once, in order, with back-pressure where it does not read."""

import fcntl
import os
import select
import time
from pathlib import Path

import pytest
from support.process import PATIENCE
from support.programs import oracle
from support.programs.bad import CHAMELEON, Journal, compiled

from .conftest import Start


def most_at_once(journal: Journal) -> int:
    """The highest number of questions that were with programs at the same time."""
    now = most = 0
    for event in sorted(journal.events("frame", "reply")):
        now += 1 if event.what == "frame" else -1
        most = max(most, now)
    return most


@pytest.mark.parametrize(("window", "most"), [(1, 1), (2, 2), (64, 4)])
def test_no_more_lines_in_flight_than_the_window(start: Start, journal: Journal, window: int, most: int) -> None:
    bridge = start(
        *("run", "--pool-size", 4, "--window", window, "--answer-timeout", 10, "--", *CHAMELEON),
        env=journal.environment,
    )
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    bridge.wait_for_programs(4)
    bridge.until(lambda: len(journal.events("start")) == 4, "all programs")
    bridge.converse([b"isuser:slow120-u%d:example.com" % number for number in range(4 * most)])
    bridge.finish()
    assert most_at_once(journal) == most


def test_answers_keep_the_order_of_the_lines(start: Start) -> None:
    """The programs finish in any order."""
    bridge = start("run", "--pool-size", 4, "--answer-timeout", 10, "--", *CHAMELEON)
    lines = [
        f"isuser:slow{number * 37 % 50}-{'no' if number * 7 % 3 else 'u'}{number}:h".encode() for number in range(120)
    ]
    answers = bridge.converse(lines)
    assert [answer.verdict for answer in answers] == [oracle.best_answer(line) for line in lines]
    bridge.finish()


def test_slow_programs_work_side_by_side(start: Start) -> None:
    bridge = start("run", "--pool-size", 4, "--answer-timeout", 10, "--", *CHAMELEON)
    bridge.converse([b"isuser:u%d:h" % number for number in range(8)])
    bridge.wait_for_programs(4)
    answers = bridge.converse([b"isuser:slow500-u%d:h" % number for number in range(4)])
    assert max(answer.seconds for answer in answers) < 1.0
    bridge.finish()


def test_an_answer_does_not_wait_for_the_rest_of_the_next_line(start: Start) -> None:
    bridge = start("run", "--pool-size", 1, "--", *CHAMELEON)
    bridge.send(b"isuser:alice:example.com\nisuser:bo")
    assert bridge.wait_for_answers(1)[0].verdict == "1"
    bridge.send(b"b:example.com\n")
    assert bridge.wait_for_answers(2)[1].verdict == "1"
    bridge.finish()


@pytest.mark.slow
@pytest.mark.parametrize("blocking", [True, False])
def test_a_client_that_does_not_read_feels_it(start: Start, tmp_path: Path, blocking: bool) -> None:
    """100 000 lines without reading: the bridge stops reading too, in little memory, and forgets nothing."""
    output, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(theirs, blocking)
    bridge = start(*("run", "--pool-size", 2, "--", *compiled(tmp_path)), stdout=theirs, ends=(None, output))
    os.close(theirs)
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    peak = bridge.memory("VmHWM")
    lines = [b"isuser:%s%d:example.com" % (b"no" if number % 3 else b"u", number) for number in range(100_000)]
    for line in lines:
        bridge.queue(line)
    while bridge.pump(0.5, read=False):
        assert bridge.sent < 50_000, "the bridge goes on reading"
    # 4 KiB of answers, a window of lines, and two pipes or buffers of 64 KiB full of lines.
    assert bridge.sent < 10_000
    assert bridge.memory("VmHWM") - peak < 2048
    answers = bridge.wait_for_answers(1 + len(lines), seconds=60)
    assert [answer.verdict for answer in answers[1:]] == ["0" if number % 3 else "1" for number in range(100_000)]
    assert bridge.memory("VmHWM") - peak < 2048
    bridge.finish()


def test_a_hung_program_is_killed_while_nobody_reads_the_answers(start: Start, journal: Journal) -> None:
    """A full stdout stops the answers, not the clock."""
    output, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    bridge = start(
        *("run", "--pool-size", 2, "--window", 4096, "--answer-timeout", 1, "--start-timeout", 1, "--", *CHAMELEON),
        env=journal.environment,
        stdout=theirs,
        ends=(None, output),
    )
    os.close(theirs)
    assert bridge.ask(b"isuser:carol:example.com").verdict == "1"
    bridge.until(lambda: len(journal.events("start")) == 2, "both programs")
    bridge.queue(b"isuser:slow300-alice:example.com")
    for _ in range(2048 + 500):  # more refusals than the pipe has room for, when the first answer lets them go
        bridge.queue(b"bogus")
    bridge.queue(b"isuser:hang-alice:example.com")
    bridge.queue(b"isuser:bob:example.com")
    hung = b"isuser:hang-alice:example.com"
    deadline = time.monotonic() + PATIENCE
    while hung not in journal.frames():
        assert time.monotonic() < deadline, "the lines are not all read"
        bridge.pump(0.01, read=False)
    (program,) = (event.pid for event in journal.events("frame") if event.body == hung)
    end = os.pidfd_open(program)
    with os.fdopen(end, "rb"):
        assert select.select([end], [], [], PATIENCE)[0], "the hung program is still there"
    assert len(bridge.verdicts) == 1
    answers = bridge.wait_for_answers(1 + 2548 + 3)
    assert [answer.verdict for answer in answers[1:]] == ["1", *["0"] * 2548, "0", "1"]
    bridge.finish()
