"""A second reply never answers another question: one Worker, one program, and every order of events."""

import os
import select
import signal
import sys
import time

import pytest

from bridge.protocol.frames import DENIED, GRANTED
from bridge.protocol.query import Query, Verdict
from bridge.worker.state import State

YES, NO = Verdict.GRANTED, Verdict.DENIED
PATIENCE = 20.0

ASKED = (b"auth:alice:example.com:pw-alice", b"setpass:bob:example.com:hunter2-by-mallory")

PROGRAM = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
def frame():
    head = os.read(0, 2)
    return head and os.read(0, int.from_bytes(head, "big"))
"""


def program(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-B", "-c", PROGRAM + code)


def until_read(worker) -> None:
    """Wait until the program has read its question, without telling the worker."""
    until = time.monotonic() + PATIENCE
    while worker._stdin.unread():
        assert time.monotonic() < until
        select.select([], [], [], 0.001)


@pytest.mark.parametrize("first", [GRANTED, DENIED], ids=["yes", "no"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("then", ["", "os.write(1, b'\\0\\2\\0\\0')"], ids=["silent", "goes on"])
def test_before_the_next_question_is_taken(stage, first: bytes, size: int, then: str) -> None:
    """By the time it is read, that question has left the pipe, so it was once taken for an answer."""
    worker = stage.start(
        program(f"""
frame(); os.write(1, {first!r})
signal.sigwait([signal.SIGUSR1])
os.write(1, {first[:size]!r})
frame(); {then}
signal.pause()
""")
    )
    verdict = YES if first == GRANTED else NO
    assert stage.ask(ASKED[0]) is verdict
    query = stage.give(ASKED[1])
    os.kill(worker.pid, signal.SIGUSR1)
    until_read(worker)
    end = stage.until_gone()
    assert (end.query, end.was_read) == (query, True)
    assert stage.verdicts == [verdict]
    assert query.verdict is None
    assert "not a reply" in stage.reasons[0]
    if not then:
        assert f"(a second reply to auth, which was {verdict.value})" in stage.reasons[0]
    assert "hunter2" not in stage.reasons[0]


def test_after_the_first_and_before_that_is_read(stage) -> None:
    worker = stage.start(program("frame(); os.write(1, b'\\0\\2\\0\\1'); os.write(1, b'\\0\\2\\0\\1'); signal.pause()"))
    query = stage.give(ASKED[0])
    until_read(worker)
    end = stage.until_gone()
    assert end.query is query
    assert query.verdict is None
    assert stage.reasons[0].startswith(("it wrote something that is not a reply", "it wrote bytes nobody asked for"))


def test_two_replies_in_one_read(stage) -> None:
    worker = stage.start(program("frame(); os.write(1, b'\\0\\2\\0\\1\\0\\2\\0\\1'); signal.pause()"))
    stage.give(ASKED[0])
    until_read(worker)
    stage.until_gone()
    assert stage.verdicts == []
    assert "(two replies to auth, the first one granted)" in stage.reasons[0]


def test_while_idle(stage) -> None:
    stage.start(
        program(
            "frame(); os.write(1, b'\\0\\2\\0\\0'); signal.sigwait([10]); os.write(1, b'\\0\\2\\0\\0'); signal.pause()"
        )
    )
    assert stage.ask(ASKED[0]) is NO
    os.kill(stage.worker.pid, signal.SIGUSR1)
    stage.until_gone()
    assert "bytes nobody asked for (a second reply to auth, which was denied)" in stage.reasons[0]


@pytest.mark.parametrize("size", [4095, 4097, 4098, 8190])
def test_frames_of_more_than_a_page(stage, size: int) -> None:
    """It is known as exactly if a frame fills a power of two of pages, and so it is for the small one after it."""
    worker = stage.start(
        program("""
os.write(1, b"\\0\\2\\0" + bytes([frame() != b""]))
signal.sigwait([signal.SIGUSR1]); os.write(1, b"\\0\\2\\0\\1")
frame(); signal.pause()
"""),
        32767,
    )
    assert stage.ask(ASKED[0]) is YES
    stage.give(ASKED[0] + b"x" * (size - 2 - len(ASKED[0])))
    os.kill(worker.pid, signal.SIGUSR1)
    until_read(worker)
    stage.until_gone()
    assert stage.verdicts == [YES]


def test_right_behind_a_longer_frame(stage) -> None:
    worker = stage.start(
        program("""
for _ in range(2): frame(); os.write(1, b"\\0\\2\\0\\1")
signal.sigwait([signal.SIGUSR1]); os.write(1, b"\\0\\2\\0\\1")
frame(); signal.pause()
"""),
        32767,
    )
    assert stage.ask(ASKED[0]) is YES
    assert stage.ask(ASKED[0] + b"x" * 12000) is YES
    stage.give(ASKED[1])
    os.kill(worker.pid, signal.SIGUSR1)
    until_read(worker)
    stage.until_gone()
    assert stage.verdicts == [YES, YES]


def test_before_the_first_question_is_taken(stage) -> None:
    worker = stage.start(
        program("os.write(2, b'up\\n'); signal.sigwait([10]); os.write(1, b'\\0\\2\\0\\1'); frame(); signal.pause()")
    )
    stage.until(lambda: stage.stderr)
    stage.give(ASKED[1])
    os.kill(worker.pid, signal.SIGUSR1)
    until_read(worker)
    stage.until_gone()
    assert stage.verdicts == []
    assert "(a reply before it had read the question)" in stage.reasons[0]


def test_one_that_replies_and_closes_its_stdout_is_asked_no_more(stage) -> None:
    worker = stage.start(program("frame(); os.write(1, b'\\0\\2\\0\\1'); os.close(1); signal.pause()"))
    stage.give(ASKED[0])
    hung_up = select.poll()
    hung_up.register(worker._stdout, 0)
    assert hung_up.poll(PATIENCE * 1000)
    stage.until_gone()
    assert stage.verdicts == [YES]


@pytest.mark.parametrize("close", ["", "os.close(0); "], ids=["exits", "closes its stdin first"])
def test_one_that_replies_and_leaves_has_replied(stage, close: str) -> None:
    worker = stage.start(program(f"frame(); os.write(1, b'\\0\\2\\0\\1'); {close}os._exit(0)"))
    stage.give(ASKED[0])
    exited = select.poll()
    exited.register(worker._process.exited, select.POLLIN)
    assert exited.poll(PATIENCE * 1000)
    stage.until_gone()
    assert stage.verdicts == [YES]


def test_one_that_closes_its_stdin_unread_has_not(stage) -> None:
    """Epoll reports that pipe too, but no room in it."""
    worker = stage.start(
        program("""
frame(); os.write(1, b"\\0\\2\\0\\1")
signal.sigwait([signal.SIGUSR1])
os.close(0); os.write(1, b"\\0\\2\\0\\1")
signal.pause()
""")
    )
    assert stage.ask(ASKED[0]) is YES
    query = stage.give(ASKED[1])
    os.kill(worker.pid, signal.SIGUSR1)
    end = stage.until_gone()
    assert (end.query, end.was_read) == (query, False)
    assert stage.verdicts == [YES]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\0\2\0\1\n", "(a reply, and a line end after it): \\x00\\x02\\x00\\x01\\n"),
        (b"\n", "(a blank line): \\n"),
        (b"\n\0\2\0\1", "(a blank line, and a reply): \\n\\x00\\x02\\x00\\x01"),
        (b"\0\2\0\1Warning: x\nin y\n", "(a reply, and something after it): \\x00\\x02\\x00\\x01Warning: x in y"),
        (b"\0\2\0\0\n\n<html>", "(a reply, and something after it): \\x00\\x02\\x00\\x00 <html>"),
        (b"\xef\xbb\xbf", "(a byte order mark): \\ufeff"),
        (b"\xef\xbb\xbf\n\0\2\0\1", "(a byte order mark, a blank line, and a reply): \\ufeff \\x00\\x02\\x00\\x01"),
        (b"\r\nPHP Warning: x", "(a blank line, and something else): PHP Warning: x"),
        (b"yes\n", ": yes"),
    ],
)
def test_what_else_it_may_have_been_is_said(stage, data: bytes, told: str) -> None:
    worker = stage.start(program(f"frame(); os.write(1, {data!r}); signal.pause()"))
    stage.give(ASKED[0])
    until_read(worker)
    stage.until_gone()
    assert stage.reasons == [f"it wrote something that is not a reply{told if told[:1] == ':' else ' ' + told}"]


def test_a_pipe_that_cannot_grow_costs_the_question_and_not_the_program(stage, monkeypatch) -> None:
    worker = stage.start(program("while True: frame(); os.write(1, b'\\0\\2\\0\\1')"), 32767)
    stage.ask(ASKED[0])

    def refuse(*_: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr("bridge.worker.stdinpipe.fcntl", refuse)
        query: Query = stage.query(ASKED[0] + b"x" * 5000)
        assert not worker.give(query)
        assert worker.state is State.ASKABLE
        assert worker.query is None
    assert stage.ask(ASKED[0]) is YES
    assert stage.ask(ASKED[0] + b"x" * 5000) is YES


def test_what_it_was_asked_long_before_is_not_shown(stage) -> None:
    """Its stdout is a buffer that may have been filled from its first question on."""
    stage.start(
        program("""
said = b""
for _ in range(80):
    said += frame() + b" "
    os.write(1, b"\\0\\2\\0\\1" if len(said) < 80 * 30 else said)
signal.pause()
""")
    )
    for number in range(80):
        stage.give(b"auth:u:h:hunter2-%04d-of-somebody" % number)
        stage.until(lambda count=number: len(stage.verdicts) > count or stage.reasons)
        if stage.reasons:
            break
    assert len(stage.reasons) == 1
    assert "Secret" not in stage.reasons[0]
    assert "withheld" in stage.reasons[0]
    stage.until_gone()
