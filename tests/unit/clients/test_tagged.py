"""A tagged client on real sockets: every line gets one answer with its own tag, as soon as its verdict is known."""

import contextlib
import socket
import tracemalloc
from unittest import mock

import attrs
import pytest
from support.inmemory.clients import NO, UNAVAILABLE, YES, Client, on_connection, on_pipes, on_socket, unread

from bridge.clients.budget import LINE, TAGGED_LINE, Budget
from bridge.protocol.ordering import GRACE_AFTER_DEADLINE
from bridge.protocol.query import Refusal

HELLO = b"extauth-bridge:tagged:1\n"
LIMIT = 64


def lines(*numbers: int) -> bytes:
    return b"".join(b"t%d - isuser:u%d:h\n" % (number, number) for number in numbers)


def answers(client: Client) -> list[bytes]:
    """The answers that have come, in any order, while the client makes room for more by reading."""
    got = b""
    while piece := client.got():
        got += piece
        client.run_once()
    return sorted(got.splitlines())


def is_disconnected(client: Client) -> bool:
    """Whether its session is over, and was not for an end of its input."""
    return client.over == 1 and client.is_quiet


def test_answers_leave_as_soon_as_they_are_known() -> None:
    with on_socket(kind="tagged") as client:
        client.says(lines(0, 1, 2, 3) + b"x - nonsense\n")
        assert client.got() == b"x 0\n"
        client.settle(3, YES)
        assert client.got() == b"t3 1\n"
        client.settle(1, NO)
        assert client.got() == b"t1 0\n"
        client.settle(0, UNAVAILABLE)
        assert client.got() == b"t0 2\n"
        client.settle(2, YES)
        assert client.got() == b"t2 1\n"
        assert client.session.idle


def test_from_the_first_line_on() -> None:
    with on_socket(kind="any") as client:
        client.desk.verdict = YES
        client.says(HELLO + lines(7))
        assert client.got() == b"1\nt7 1\n"


def test_the_answers_of_one_batch_leave_in_one_write() -> None:
    with on_socket(kind="tagged") as client:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps the writes apart
        with ours, theirs:
            client.session._sink.write = ours.send
            client.desk.verdict = YES
            client.says(lines(*range(50)))
            assert theirs.recv(4096) == b"".join(b"t%d 1\n" % number for number in range(50))


def test_a_tag_may_be_used_again_after_its_answer() -> None:
    with on_socket(kind="tagged") as client:
        for verdict in (YES, NO):
            client.says(lines(1))
            client.settle(-1, verdict)
        assert client.got() == b"t1 1\nt1 0\n"


def test_whom_a_line_is_for() -> None:
    with on_socket(kind="tagged") as client:
        for number, address in enumerate([b"-", b"192.0.2.7", b"2001:db8:0:1::9", b"::1"]):
            client.says(b"%d %b isuser:u:h\n" % (number, address))
        assert [query.address for query in client.desk.asked] == ["", "192.0.2.7", "2001:db8:0:1::/64", ""]
        assert client.desk.lines == [b"isuser:u:h"] * 4


def test_refused_lines_of_all_kinds() -> None:
    with on_socket(kind="tagged", max_line=LIMIT) as client:
        client.desk.verdict = YES
        client.says(
            b"1 - isuser:a:h\n2 - \n3 - bogus:a:h\n4 - isuser:a:\xff\n5 - auth:a:h:\n6 - extauth-bridge:tagged:1\n"
            b"7 - "
            + b"x" * 9999
            + b"\n8 - auth:a:h:"
            + b"x" * (LIMIT - 9)
            + b"\n9 - auth:a:h:"
            + b"x" * (LIMIT - 8)
            + b"\n"
        )
        assert answers(client) == [b"1 1", b"2 0", b"3 0", b"4 0", b"5 0", b"6 0", b"7 0", b"8 1", b"9 0"]
        assert client.router.refused[Refusal.LENGTH] == 2


# --- violations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"t1 - isuser:x:h\n", "a tag that is in use"),
        (b"nonsense\n", "a line without tag and address"),
        (b"auth:alice:h:hunter2 with spaces\n", "no such tag is possible"),
        (b"t9 secret isuser:x:h\n", "not an IP address"),
        (b"secret" * 100, "a line without tag and address"),
    ],
)
def test_a_violation_ends_the_connection(sent: bytes, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with on_connection(kind="tagged", max_line=LIMIT) as client:
        client.says(lines(0, 1, 2))
        client.desk.asked[0].settle(YES)  # its answer has not left yet
        client.says(lines(3) + sent)
        assert is_disconnected(client)
        assert client.desk.left == [client.session], "what waits is withdrawn"
        assert len(client.desk.asked) == 3, "nothing more is asked"
        client.settle(1)
        client.says(lines(4))
        assert client.got() == b""
        assert not client.session._tagging and not client.session._backlog
    assert [record.getMessage() for record in caplog.records] == [
        f'client disconnected: it violated the tagged protocol reason="{reason}"'
    ]


def test_a_violation_in_what_had_to_wait_for_room_ends_it_too() -> None:
    with on_connection(kind="tagged", window=1) as client:
        client.says(lines(0, 1, 2, 1))
        assert is_disconnected(client)


@pytest.mark.parametrize("begun", [b"t1 -", b"t1 - setpass:alice:example.com:half of hunter2"])
def test_an_unfinished_last_line_is_ignored(begun: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with on_socket(kind="tagged") as client:
        client.desk.verdict = YES
        client.says(lines(0) + begun)
        client.end_input()
        client.run_once()
        assert is_disconnected(client)
        assert [query.body for query in client.desk.asked] == [b"isuser:u0:h"]
    assert caplog.text == ""


def test_violations_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with on_connection(kind="tagged") as client:
        for _ in range(99):
            client.router.warn("client disconnected: it violated the tagged protocol", reason="a tag that is in use")
        client.says(b"x\n")
        assert is_disconnected(client)
    assert len(caplog.records) == 5


def test_an_error_of_ours_is_not_blamed_on_the_client(monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    with on_connection(kind="tagged") as client:

        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(client.session._tagging, "add", fail)
        client.desk.verdict = YES
        client.says(lines(1))
        assert is_disconnected(client)
        assert client.got() == b""
    assert "internal error" in caplog.text
    assert "violated" not in caplog.text


# --- the window ------------------------------------------------------------------------------------------


def test_no_more_than_the_window_is_asked() -> None:
    with on_socket(kind="tagged", window=4) as client:
        client.says(lines(*range(20)))
        assert len(client.desk.asked) == 4
        for number in (2, 0):
            client.settle(number)
        assert len(client.desk.asked) == 6, "each that is answered makes room"
        for number in (1, *range(3, 20)):
            client.settle(number)
        assert sorted(answers(client)) == sorted(b"t%d 1" % number for number in range(20))


def test_beyond_the_window_nothing_is_read() -> None:
    with on_socket(kind="tagged", window=2) as client:
        client.says(lines(*range(4)))
        more = lines(*range(4, 1000))
        client.send(more)
        for _ in range(20):
            client.run_once()
        assert unread(client.source) == len(more)
        client.desk.verdict = YES
        client.settle(1)
        client.settle(0)
        assert len(answers(client)) == 1000


def test_a_window_of_one_with_the_first_line() -> None:
    with on_socket(kind="any", window=1) as client:
        client.desk.verdict = YES
        client.says(HELLO + lines(*range(5)) + b"x - x\n")
        assert answers(client) == [b"1", *(b"t%d 1" % number for number in range(5)), b"x 0"]


def test_a_client_that_does_not_read_gets_no_more_asked() -> None:
    """The answers that are not written keep their places, long or short."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
    with on_socket(kind="tagged", pair=(ours, theirs), window=64) as client:
        client.desk.verdict = YES
        asked = -1
        number = 0
        while asked < len(client.desk.asked):
            asked = len(client.desk.asked)
            assert asked < 10_000, "it goes on for ever"
            with contextlib.suppress(BlockingIOError):
                for _ in range(50):
                    client.send_some(b"%0*d - isuser:u:h\n" % (6 + 9 * (number % 2), number))
                    number += 1
            client.run_once()
        assert asked < number
        assert 0 < client.session._unwritten.count(b"\n") <= 64
        assert sorted(int(answer.removesuffix(b" 1")) for answer in answers(client)) == [*range(number)]


@pytest.mark.parametrize("taken", [1, 2, 3, 4, 5])
def test_part_of_an_answer_takes_a_place(taken: int) -> None:
    with on_socket(kind="tagged", window=2) as client:
        write = client.ends[1].write
        client.ends[1].write = lambda data: write(data[:taken])
        client.desk.verdict = YES
        client.says(lines(0, 1, 2))
        client.run_once()
        assert answers(client) == [b"t0 1", b"t1 1", b"t2 1"]


def test_a_smaller_window_and_a_shorter_line_count_from_the_next_line_on() -> None:
    with on_socket(kind="tagged", window=8) as client:
        client.says(lines(*range(6)) + b"a - isuser:somebody:example")
        client.session.reconfigure(attrs.evolve(client.settings, window=2, max_line=16))
        client.says(b".com\nb - isuser:u:h\n")
        for number in range(6):
            client.settle(number)
        client.settle(6)
        assert answers(client) == [b"a 0", b"b 1", *(b"t%d 1" % number for number in range(6))]


# --- time ------------------------------------------------------------------------------------------------


def test_no_answer_long_after_its_time() -> None:
    """We were stopped meanwhile."""
    with on_socket(kind="tagged", answer_timeout=4.0) as client:
        client.says(lines(0, 1))
        client.clock.now += 4.0 + GRACE_AFTER_DEADLINE / 2
        client.settle(1)
        assert client.got() == b"t1 1\n"
        client.clock.now += GRACE_AFTER_DEADLINE
        client.settle(0)
        assert client.got() == b"t0 2\n"


# --- the end ---------------------------------------------------------------------------------------------


def test_the_end_of_input() -> None:
    with on_socket(kind="tagged", window=2) as client:
        client.send(lines(0, 1, 2))
        client.end_input()
        client.run_once()
        client.settle(1)
        assert client.got() == b"t1 1\n"
        client.settle(2, NO)
        assert client.got() == b"t2 0\n"
        assert client.over == 0
        client.settle(0)
        assert client.got() == b"t0 1\n"
        assert client.over == 1


def test_stop_answers_what_is_in_flight_and_leaves_the_rest_unasked() -> None:
    with on_socket(kind="tagged", window=2) as client:
        client.says(lines(*range(5)))
        client.session.stop()
        client.run_once()
        assert answers(client) == [b"t2 2", b"t3 2", b"t4 2"]
        client.settle(1, YES)
        assert client.over == 0
        client.settle(0, NO)
        assert client.got() == b"t1 1\nt0 0\n"
        assert client.over == 1
        assert len(client.desk.asked) == 2


def test_abort_answers_everything_at_once() -> None:
    with on_socket(kind="tagged", window=3) as client:
        client.says(lines(*range(5)))
        client.desk.asked[1].settle(YES)
        client.session.abort()
        assert answers(client) == [b"t0 2", b"t1 1", b"t2 2", b"t3 2", b"t4 2"]
        client.settle(0)
        client.settle(2)
        assert client.got() == b""
        assert client.over == 1


def test_what_is_withdrawn_is_settled_at_once() -> None:
    with on_socket(kind="tagged") as client:
        client.says(lines(0, 1))
        client.desk.withdraw = lambda _asker: client.desk.asked[0].settle(UNAVAILABLE)  # type: ignore[method-assign]
        client.session.abort()
        assert answers(client) == [b"t0 2", b"t1 2"]


def test_nobody_reads_the_answers_any_more() -> None:
    with on_pipes(kind="tagged", window=3) as client:
        client.says(lines(*range(5)))
        client.end_output()
        client.of = client.to
        client.settle(0)
        assert client.over == 0
        assert len(client.desk.asked) == 3
        client.settle(1)
        client.settle(2)
        assert client.over == 1


# --- memory ----------------------------------------------------------------------------------------------


def test_what_it_holds_is_counted_and_given_back() -> None:
    budget = Budget(200_000)
    with on_connection(budget, kind="tagged") as client:
        number, line = 0, b"auth:u:h:" + b"x" * 1000
        with contextlib.suppress(BlockingIOError):
            while True:
                client.send_some(b"%d 192.0.2.7 %b\n" % (number, line))
                client.run_once()
                number += 1
        assert 100_000 < budget.held < 200_000
        assert len(client.desk.asked) < 120
        answered = 0
        while answered < len(client.desk.asked):
            client.settle(answered)
            answered += 1
        assert len(answers(client)) == answered == number
        assert budget.held == 0


@pytest.mark.parametrize("end", ["close", "failed"])
def test_nothing_is_kept_of_one_that_is_gone(end: str) -> None:
    """The session itself is, until garbage is collected; thousands may come and go before that."""
    with on_connection(kind="tagged", window=3) as client:
        client.says(lines(*range(50)))
        session = client.session
        session.failed(MemoryError()) if end == "failed" else session.close()
        client.session = mock.Mock()
        for query in client.desk.asked:
            query.settle(YES)
        client.run_once()
        session.close()
        kept = session._lines.in_use, session._tagging._tags, session._tagging.settled, session._backlog
        assert not any(map(len, kept))


@pytest.mark.parametrize("kind", ["pipelined", "tagged"])
def test_a_line_takes_no_more_than_what_is_counted_for_it(kind: str) -> None:
    with on_connection(kind=kind, window=4096) as client:
        head = b"%016d 2001:db8::7 " if kind == "tagged" else b""
        batch = [(head % number if head else b"") + b"auth:somebody:example.com:hunter2\n" for number in range(4096)]
        client.says(batch[0])
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for at in range(1, 4000, 50):
            client.says(b"".join(batch[at : at + 50]))
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        lines = len(client.desk.asked) - 1
        own = len(b"auth:somebody:example.com:hunter2")
        assert lines == 4000
        assert (after - before) / lines - own < (TAGGED_LINE if kind == "tagged" else LINE)
