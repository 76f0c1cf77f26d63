"""A program that speaks Prosody's lines, under a real Worker: when a digit counts, and whose answer it is."""

import os
import signal
import sys
import time

import pytest

from bridge.protocol import generic
from bridge.protocol.query import Verdict
from bridge.worker.pieces import ALONE, AT_FIRST
from bridge.worker.state import State

YES, NO = Verdict.GRANTED, Verdict.DENIED

PROGRAM = """
import os, select, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
def line():
    data = b""
    while not data.endswith(b"\\n"):
        more = os.read(0, 4096)
        if not more:
            os._exit(0)
        data += more
    return data
def write(text):
    os.write(1, text.encode())
def wait():
    signal.sigwait([signal.SIGUSR1])
"""


@pytest.fixture
def lines(stage):
    stage.codec = generic
    return stage


def program(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-B", "-c", PROGRAM + code)


def go(stage) -> None:
    os.kill(stage.worker.pid, signal.SIGUSR1)


def until_idle_for(stage, seconds: float) -> None:
    until = time.monotonic() + seconds
    stage.until(lambda: time.monotonic() >= until)


@pytest.mark.parametrize("end", ["\\n", "\\r\\n", ""])
def test_replies_with_and_without_line_ends(lines, end: str) -> None:
    lines.start(program(f"while True: write(('1' if b'right' in line() else '0') + '{end}')"))
    for right in (True, False, True, True, False):
        assert lines.ask(b"auth:alice:example.com:" + (b"right" if right else b"wrong")) is (YES if right else NO)
    assert lines.worker.state is State.ASKABLE


def test_the_program_gets_the_line(lines, tmp_path) -> None:
    lines.start(program(f"data = line(); open({str(tmp_path / 'got')!r}, 'wb').write(data); write('1\\n'); line()"))
    assert lines.ask("auth:älice:example.com:a:b \\ c ".encode()) is YES
    assert (tmp_path / "got").read_bytes() == "auth:älice:example.com:a:b \\ c \n".encode()


def test_a_digit_alone_counts_only_after_a_while(lines) -> None:
    """A longer one for the first, whose line end may merely be late."""
    lines.start(program("line(); write('1'); line(); write('1'); line()"))
    for patience in (AT_FIRST, ALONE):
        begun = time.monotonic()
        assert lines.ask() is YES
        assert time.monotonic() - begun >= patience


def test_line_ends_that_are_merely_late_are_waited_for(lines) -> None:
    """Or they would be read with the next reply, as if that had been written before its question was read."""
    now = [0.0]
    lines.clock = lambda: now[0]
    lines.start(program("while True: line(); write('1'); wait(); write('\\n')"))
    for _ in range(3):
        query = lines.give()
        lines.until(lambda: lines.worker._pieces.begun)
        now[0] += 0.9 * AT_FIRST
        until_idle_for(lines, 0.05)
        assert query.verdict is None
        go(lines)
        lines.until(lambda query=query: query.verdict is not None)
    assert lines.verdicts == [YES] * 3


def test_the_time_counts_from_the_last_piece(lines) -> None:
    """Not from one of an earlier reply."""
    now = [0.0]
    lines.clock = lambda: now[0]
    lines.start(program("line(); write('1'); wait(); write('\\n'); line(); write('1'); wait(); write('x'); line()"))
    lines.give()
    lines.until(lambda: lines.worker._pieces.begun)
    go(lines)
    lines.until(lambda: lines.verdicts)
    now[0] = AT_FIRST * 0.9
    query = lines.give()
    lines.until(lambda: lines.worker._pieces.begun)
    now[0] = AT_FIRST * 1.5
    until_idle_for(lines, 0.1)
    assert query.verdict is None
    go(lines)
    lines.until_gone()
    assert lines.verdicts == [YES]


def test_what_follows_a_digit_at_once_is_looked_at(lines) -> None:
    lines.start(program("line(); write('1'); write('x'); line()"))
    lines.give()
    lines.until_gone()
    assert lines.verdicts == []


def test_a_line_end_with_the_next_reply(lines) -> None:
    lines.start(program("line(); write('1'); line(); write('\\n0'); line(); write('\\n1'); line()"))
    assert [lines.ask(), lines.ask(), lines.ask()] == [YES, NO, YES]


def test_a_late_line_end_while_idle(lines) -> None:
    lines.start(program("line(); write('1'); wait(); write('\\n'); line(); write('0\\n'); line()"))
    assert lines.ask() is YES
    go(lines)
    until_idle_for(lines, 0.1)
    assert lines.ask() is NO
    assert lines.worker.state is State.ASKABLE


def test_a_late_line_end_that_nobody_has_seen_when_the_next_question_comes(lines) -> None:
    """The place it has in epoll's queue is not the next reply's."""
    worker = lines.start(program("line(); write('1'); wait(); write('\\n'); line(); write('0\\n'); line()"))
    assert lines.ask() is YES
    go(lines)
    until = time.monotonic() + 20
    while not worker._look(0):
        assert time.monotonic() < until
    assert lines.ask() is NO


def test_a_late_line_end_while_the_next_question_is_asked(lines) -> None:
    lines.start(program("line(); write('1'); line(); write('\\n'); wait(); write('0\\n'); line()"))
    assert lines.ask() is YES
    query = lines.give()
    until_idle_for(lines, 2 * ALONE)
    assert query.verdict is None
    go(lines)
    lines.until(lambda: query.verdict is not None)
    assert query.verdict is NO


@pytest.mark.parametrize("late", ["0", "0\\n", "\\n0\\n", "1", "\\n\\n"])
def test_a_digit_before_the_next_question_is_read_is_nobodys(lines, late: str) -> None:
    lines.start(program(f"line(); write('1'); wait(); write('{late}'); line(); signal.pause()"))
    assert lines.ask() is YES
    query = lines.give(b"auth:bob:example.com:hunter2")
    go(lines)
    lines.until_gone()
    assert query.verdict is None
    assert lines.verdicts == [YES]
    assert "hunter2" not in "".join(lines.reasons)


@pytest.mark.parametrize("late", ["0", "\\n0\\n", "\\n\\n"])
def test_what_comes_while_idle_and_is_no_line_end(lines, late: str) -> None:
    lines.start(program(f"line(); write('1'); wait(); write('{late}'); signal.pause()"))
    assert lines.ask() is YES
    go(lines)
    lines.until_gone()
    assert "bytes nobody asked for" in lines.reasons[0]


@pytest.mark.parametrize(
    "reply", ["10\\n", "1 \\n", " 1\\n", "yes\\n", "2\\n", "1\\n1\\n", "1\\n\\n", "\\0\\2\\0\\1", "\\n1\\n"]
)
def test_anything_else_is_a_protocol_error(lines, reply: str) -> None:
    lines.start(program(f"line(); write('{reply}'); signal.pause()"))
    lines.give()
    lines.until_gone()
    assert lines.verdicts == []
    assert "not a reply" in lines.reasons[0] or "nobody asked for" in lines.reasons[0]


@pytest.mark.parametrize("end", ["os._exit(0)", "os.close(1); signal.pause()"])
def test_a_digit_that_is_the_last_thing_it_writes(lines, end: str) -> None:
    """Nothing can follow it."""
    lines.start(program(f"line(); write('1'); {end}"))
    query = lines.give()
    lines.until_gone()
    assert query.verdict is YES
    assert lines.reasons == ["it ended"]


def test_a_digit_before_the_end_counts_whoever_holds_its_output(lines) -> None:
    """A helper for one question each, with something in the background."""
    lines.start(program("if os.fork(): line(); write('1'); os._exit(0)\nsignal.pause()"))
    query = lines.give()
    lines.until_gone()
    assert query.verdict is YES


def test_a_carriage_return_alone_is_no_line_end(lines) -> None:
    lines.start(program("line(); write('1\\r'); line()"))
    begun = time.monotonic()
    query = lines.give()
    lines.until_gone()
    assert time.monotonic() - begun >= AT_FIRST
    assert query.verdict is None
    (reason,) = lines.reasons
    assert reason.endswith("not a reply (a carriage return behind the digit, and no line feed): 1")


def test_whoever_has_its_descriptors_next_keeps_what_is_his(lines) -> None:
    """A program's end comes within the time in which its digit would count."""
    worker = lines.start(program("line(); write('1'); line()"))
    numbers = {worker._stdout, worker._stdin.descriptor, worker._process.stderr, worker._process.exited}
    lines.give()
    lines.until(lambda: worker._pieces.begun)
    os.kill(worker.pid, signal.SIGKILL)
    lines.until_gone()
    made = [os.pipe() for _ in numbers]
    assert numbers & {number for pipe in made for number in pipe}
    try:
        for reader, writer in made:
            os.set_blocking(reader, False)
            os.write(writer, b"1\n")
        until_idle_for(lines, 2 * ALONE)
        assert [os.read(reader, 9) for reader, _ in made] == [b"1\n"] * len(made)
    finally:
        for number in (number for pipe in made for number in pipe):
            os.close(number)


def test_a_digit_whose_query_has_timed_out_is_nobodys(lines) -> None:
    lines.start(program("line(); wait(); write('1'); line(); write('0\\n'); line()"))
    query = lines.give()
    lines.until(lambda: not lines.worker._stdin.unread())
    assert lines.worker.release() is query
    lines.replied = lambda *_: None  # nobody's
    go(lines)
    lines.until(lambda: lines.worker.query is None)
    del lines.replied
    assert lines.ask() is NO
    assert query.verdict is None


def test_buffered_answers_come_too_late_to_count(lines) -> None:
    lines.start(program("line(); line_end = sys.stdout.write('1\\n'); line()"))
    query = lines.give()
    until_idle_for(lines, 3 * ALONE)
    assert query.verdict is None
