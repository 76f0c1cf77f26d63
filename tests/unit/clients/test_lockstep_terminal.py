"""A lockstep client on a program's terminal: an answer is written only while the client is seen waiting for it."""

import logging
import os
from collections.abc import Iterator
from typing import Any, cast

import pytest
from support.clock import Clock
from support.inmemory.clients import NO, YES, Desk, Eyes, on_terminal
from support.inmemory.pools import made

from bridge.clients.lockstep import LockstepSession
from bridge.loop.reactor import Reactor
from bridge.loop.streams import Borrowed
from bridge.pool.router import Router
from bridge.protocol.query import Refusal, nothing
from bridge.terminal.watcher import Look

WAITING, ELSEWHERE, BUSY, UNSEEN = Look.WAITING, Look.ELSEWHERE, Look.BUSY, Look.UNSEEN
QUERY = b"auth:alice:example.com:hunter2"
OTHER = b"isuser:bob:example.com"


class Logged(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def logged() -> Iterator[list[str]]:
    handler, log = Logged(), logging.getLogger("bridge")
    log.addHandler(handler)
    yield handler.lines
    log.removeHandler(handler)


def test_one_write_for_one_answer_while_somebody_waits() -> None:
    with on_terminal(Eyes(WAITING)) as client:
        for number, (verdict, answer) in enumerate([(YES, b"1\n"), (NO, b"0\n")]):
            client.says(QUERY + b"\n")
            client.settle(number, verdict)
            assert os.read(client.of, 100) == answer


def test_dropped_when_the_client_went_elsewhere(logged: list[str]) -> None:
    eyes = Eyes(ELSEWHERE)
    with on_terminal(eyes) as client:
        client.says(QUERY + b"\n")
        client.settle(0, YES)
        client.wait(10.0)
        assert client.got() == b""
        eyes.show(WAITING)
        client.wait(10.0)
        assert client.got() == b""
        client.says(OTHER + b"\n")
        client.settle(1, NO)
        assert client.got() == b"0\n"
    assert sum("answer not written" in line for line in logged) == 1
    assert "secret" not in "".join(logged)


def test_the_first_answer_is_dropped_where_nothing_is_seen() -> None:
    with on_terminal(Eyes(UNSEEN)) as client:
        client.says(QUERY + b"\n")
        client.settle(0, YES)
        assert client.got() == b""
        client.clock.now += 1.0
        client.says(OTHER + b"\n")
        client.settle(1, NO)
        assert client.got() == b"0\n"


def test_it_waits_for_a_client_that_is_about_to_wait() -> None:
    eyes = Eyes(BUSY)
    with on_terminal(eyes) as client:
        client.says(QUERY + b"\n")
        client.settle(0, YES)
        client.wait(0.3)
        assert client.got() == b""
        assert 20 < eyes.times < 400, "looked too rarely, or too often"
        eyes.show(WAITING)
        client.wait(0.02)
        assert client.got() == b"1\n"


def test_it_does_not_wait_longer_than_the_answer_is_good() -> None:
    eyes = Eyes(BUSY)
    with on_terminal(eyes, answer_timeout=4.0) as client:
        client.says(QUERY + b"\n")
        client.settle(0, YES)
        client.wait(4.3)
        eyes.show(WAITING)
        client.wait(5.0)
        assert client.got() == b""
        client.says(OTHER + b"\n")
        client.settle(1, YES)
        assert client.got() == b"1\n"


def test_a_verdict_that_comes_too_late_is_never_written() -> None:
    with on_terminal(Eyes(WAITING), answer_timeout=4.0) as client:
        client.says(QUERY + b"\n")
        client.wait(4.3)
        client.settle(0, YES)
        assert client.got() == b""
        client.says(OTHER + b"\n")
        assert client.desk.lines == [QUERY, OTHER]


def test_a_new_line_between_the_look_and_the_write() -> None:
    """The client gave up and asked again while we were checking: it waits, but for another answer."""
    with on_terminal(eyes := Eyes(WAITING)) as client:
        client.says(QUERY + b"\n")
        client.clock.now += 1.0
        look = eyes.look

        def look_too_long() -> Look:
            eyes.look = look  # type: ignore[method-assign]
            client.send(OTHER + b"\n")
            return look()

        eyes.look = look_too_long  # type: ignore[method-assign]
        client.desk.asked[0].settle(YES)
        assert client.got() == b""
        assert client.desk.lines == [QUERY, OTHER]
        client.settle(1, NO)
        assert client.got() == b"0\n"


def test_abandoned_while_it_waited_for_the_client() -> None:
    eyes = Eyes(BUSY)
    with on_terminal(eyes) as client:
        client.says(QUERY + b"\n")
        client.settle(0, YES)
        client.wait(0.2)
        client.says(OTHER + b"\n")
        eyes.show(WAITING)
        client.wait(1.0)
        assert client.got() == b""
        client.settle(1, NO)
        assert client.got() == b"0\n"


def test_the_echo_race() -> None:
    """The client read its own line back as an answer: it is in its main loop, or already asks the next question."""
    with on_terminal(eyes := Eyes(ELSEWHERE)) as client:
        client.says(QUERY + b"\n")
        client.settle(0, YES)
        client.clock.now += 0.2
        client.send(OTHER + b"\n")
        eyes.show(WAITING)
        client.run_once()
        client.settle(1, NO)
        assert client.got() == b"0\n"


def test_the_echo_race_with_two_queries_in_the_first_read() -> None:
    with on_terminal(Eyes(WAITING)) as client:
        client.says(QUERY + b"\n" + OTHER + b"\n")
        client.wait(0.051)
        assert client.got() == b"0\n"
        assert client.desk.lines == []


def test_a_violation_too_is_only_answered_to_one_who_waits() -> None:
    eyes = Eyes(ELSEWHERE)
    with on_terminal(eyes) as client:
        client.says(b"a\nb\n")
        client.wait(1.0)
        eyes.show(WAITING)
        client.wait(10.0)
        assert client.got() == b""


def test_hang_up_is_the_end_and_nobody_is_answered() -> None:
    with on_terminal(Eyes(WAITING)) as client:
        client.says(QUERY + b"\n")
        os.close(client.to)
        client.run_once()
        assert client.over == 1
        client.settle(0, YES)
        client.wait(10.0)
        assert client.over == 1


def test_abort_writes_nothing_that_could_be_taken_for_another_answer() -> None:
    with on_terminal(Eyes(ELSEWHERE)) as client:
        client.says(QUERY + b"\n")
        client.session.stop()
        client.session.abort()
        assert client.over == 1
        assert client.got() == b""
        client.settle(0, YES)
        client.wait(10.0)
        assert client.got() == b""


def test_what_people_type_into_passwords_is_heard_as_it_is(logged: list[str]) -> None:
    """Every control character except the newline arrives, and the line is refused without being shown."""
    with on_terminal(Eyes(WAITING)) as client:
        for code in [*range(1, 10), *range(11, 32), 127]:
            client.says(b"auth:alice:example.com:hunter2" + bytes([code]) + b"x\n")
            assert client.got() == b"0\n", code
        assert client.router.refused == {Refusal.CONTROL: 31}
        assert client.desk.lines == []
    assert "hunter2" not in "".join(logged)


def test_giving_up_is_logged_without_the_lines(logged: list[str]) -> None:
    with on_terminal(Eyes(WAITING)) as client:
        for _ in range(100):
            client.says(QUERY + b"\n")
            client.wait(0.6)
    said = [line for line in logged if "gave up" in line]
    assert 1 <= len(said) <= 12
    assert "alice" not in "".join(logged)


def test_a_pause_between_two_reads_of_one_burst_is_no_giving_up() -> None:
    """Both lines were there when the first was read; reading the second late changes nothing."""
    clock, desk, reactor = Clock(), Desk(), Reactor()
    router = Router(made(), clock)
    router.connect(made(), cast("Any", desk), {})
    reader, writer = os.pipe()
    reads = [QUERY + b"\n", OTHER + b"\n"]
    written: list[bytes] = []

    def read(_size: int) -> bytes:
        if not reads:
            raise BlockingIOError
        clock.now += 0.060
        return reads.pop(0)

    def write(data: bytes) -> int:
        written.append(data)
        return len(data)

    stream = Borrowed(reader, read, write, lambda: os.close(reader))
    session = LockstepSession(stream, stream, router, reactor, nothing, None)
    os.write(writer, b"!")
    reactor.run_once()
    lines = desk.lines
    clock.now += 1.0
    session._come_back()
    session.close()
    reactor.close()
    os.close(writer)
    assert lines == []
    assert written == [b"0\n"]
