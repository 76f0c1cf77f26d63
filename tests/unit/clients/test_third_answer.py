"""The third answer: a client of the daemon that requests it reads `2` when no program could be asked."""

import pytest
from support.inmemory.clients import NO, UNAVAILABLE, YES, on_pipes, on_socket

from bridge.protocol.ordering import Ordering
from bridge.protocol.query import REFUSED, Query, Verdict

HELLO = b"extauth-bridge:answers:3\n"
LINE = b"isuser:alice:example.com\n"


def settled(verdict: Verdict) -> Query:
    class Nobody:
        def settled(self, query: Query) -> None:
            """Nobody asked."""

    query = Query(LINE[:-1], 1.0, Nobody())
    query.settle(verdict)
    return query


def test_only_unavailable_is_told_apart() -> None:
    ordering = Ordering()
    ordering.unavailable = b"2\n"
    for query in (settled(YES), settled(NO), settled(UNAVAILABLE), REFUSED):
        ordering.extend([query])
    assert ordering.answers(0.0) == b"1\n0\n2\n0\n"


def test_what_is_open_when_all_is_abandoned_is_unavailable() -> None:
    ordering, still_open = Ordering(), Query(LINE[:-1], 1.0, settled(NO).asker)
    ordering.unavailable = b"2\n"
    for query in (settled(YES), still_open, settled(NO), REFUSED):
        ordering.extend([query])
    assert ordering.abandon(0.0) == b"1\n2\n0\n0\n"
    assert not still_open.settled


def test_from_the_first_line_on() -> None:
    with on_socket(kind="any") as client:
        client.says(HELLO)
        assert client.got() == b"1\n"
        client.says(LINE * 3 + b"nonsense\n")
        client.settle(2, UNAVAILABLE)
        client.settle(1, NO)
        client.settle(0, YES)
        assert client.got() == b"1\n0\n2\n0\n"


def test_everything_in_one_write() -> None:
    with on_socket(kind="any") as client:
        client.desk.verdict = UNAVAILABLE
        client.says(HELLO + LINE * 2)
        assert client.got() == b"1\n2\n2\n"
        assert client.desk.lines == [LINE[:-1]] * 2


def test_byte_by_byte_and_with_a_carriage_return() -> None:
    with on_socket(kind="any") as client:
        client.desk.verdict = UNAVAILABLE
        for byte in HELLO[:-1] + b"\r\n" + LINE:
            client.says(bytes([byte]))
        assert client.got() == b"1\n2\n"


def test_it_needs_room_for_one_line_only() -> None:
    with on_socket(kind="any", window=1) as client:
        client.desk.verdict = UNAVAILABLE
        client.says(HELLO + LINE * 3)
        assert client.got() == b"1\n2\n2\n2\n"


@pytest.mark.parametrize("first", [LINE, b"\n", b"nonsense\n", b" " + HELLO, HELLO[:-1] + b" \n", HELLO.upper()])
def test_after_any_other_line_it_is_a_line_that_is_refused(first: bytes) -> None:
    with on_socket(kind="any") as client:
        client.desk.verdict = UNAVAILABLE
        client.says(first + HELLO + LINE)
        assert client.got() == b"0\n0\n0\n"


def test_a_second_time_it_is_refused_and_changes_nothing() -> None:
    with on_socket(kind="any") as client:
        client.desk.verdict = UNAVAILABLE
        client.says(HELLO + HELLO + LINE)
        assert client.got() == b"1\n0\n2\n"


@pytest.mark.parametrize("ways", [on_pipes, on_socket])
def test_no_other_client_may_ask_for_it(ways) -> None:
    with ways() as client:
        client.desk.verdict = UNAVAILABLE
        client.says(HELLO + LINE)
        assert client.got() == b"0\n0\n"


def test_a_lockstep_client_may_not_ask_for_it() -> None:
    with on_socket(kind="lockstep") as client:
        client.says(HELLO)
        client.wait(1.0)
        assert client.got() == b"0\n"
        assert client.desk.asked == []


@pytest.mark.parametrize(("negotiates", "rest"), [(True, b"2\n"), (False, b"0\n")])
def test_what_was_read_too_late_is_unavailable(negotiates: bool, rest: bytes) -> None:
    """One line is in flight and two more have been read when everything must be answered at once."""
    with on_socket(kind="any", window=1) as client:
        client.says((HELLO if negotiates else b"") + LINE * 3)
        client.session.abort()
        client.run_once()
        assert client.got() == (b"1\n" if negotiates else b"") + rest * 3
