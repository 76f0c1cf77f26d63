"""A pipelined client on real pipes and sockets: every line gets one answer, in order, within its window."""

import os
import select
import socket
import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from support.inmemory.clients import NO, UNAVAILABLE, YES, on_pipes, on_socket, unread

from bridge.protocol.query import Refusal

few = examples(60)
both = pytest.mark.parametrize("ways", [on_pipes, on_socket], ids=["pipes", "socket"])

LINE = b"isuser:alice:example.com\n"


def lines(count: int) -> bytes:
    return b"".join(b"isuser:u%d:example.com\n" % number for number in range(count))


@both
def test_answers_leave_in_the_order_of_their_lines(ways) -> None:
    with ways() as client:
        client.says(lines(3) + b"nonsense\n" + LINE)
        client.settle(3, YES)
        client.settle(1, YES)
        assert client.got() == b""
        client.settle(0, UNAVAILABLE)
        assert client.got() == b"0\n1\n"
        client.settle(2, YES)
        assert client.got() == b"1\n0\n1\n"


@both
def test_pieces_of_lines(ways) -> None:
    with ways() as client:
        for byte in lines(3):
            client.says(bytes([byte]))
        assert len(client.desk.asked) == 3
        for number in range(3):
            client.settle(number)
        assert client.got() == b"1\n" * 3


def test_the_answers_of_one_batch_leave_in_one_write() -> None:
    with on_socket() as client:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps the writes apart
        with ours, theirs:
            client.session._sink.write = ours.send
            client.desk.verdict = YES
            client.says(lines(50))
            assert theirs.recv(4096) == b"1\n" * 50


@few
@given(st.data())
def test_any_lines_settled_in_any_order(data: st.DataObject) -> None:
    pool = st.sampled_from(
        [LINE, b"x\n", b"\n", b"auth:a:b:c:d\n", b"auth:a:b:\n", b"y" * 99 + b"\n", b"isuser:a:\xff\n"]
    )
    sent = data.draw(st.lists(pool, max_size=30))
    window = data.draw(st.integers(1, 8))
    with on_pipes(window=window, max_line=64) as client:
        client.send(b"".join(sent))
        os.close(client.to)
        client.run_once()
        got, settled = b"", 0
        while any(not query.settled for query in client.desk.asked):
            pending = [query for query in client.desk.asked if not query.settled]
            assert len(pending) <= window
            query = pending[data.draw(st.integers(0, len(pending) - 1))]
            query.settle(YES)
            settled += 1
            client.run_once()
            got += client.got()
        got += client.got()
        good = [line in (LINE, b"auth:a:b:c:d\n") for line in sent]
        assert settled == sum(good)
        assert got == b"".join(b"1\n" if is_good else b"0\n" for is_good in good)
        assert client.over == 1


# --- the window ------------------------------------------------------------------------------------------


@both
def test_no_more_than_the_window_is_asked(ways) -> None:
    with ways(window=4) as client:
        client.says(lines(20))
        assert len(client.desk.asked) == 4
        client.settle(2)
        assert len(client.desk.asked) == 4, "it still waits for its turn"
        client.settle(0)
        assert len(client.desk.asked) == 5
        for number in range(1, 20):
            if number != 2:
                client.settle(number)
        assert client.got() == b"1\n" * 20


def test_a_line_s_time_begins_when_it_is_taken_into_the_window() -> None:
    with on_pipes(window=1, answer_timeout=4.0) as client:
        client.says(lines(2))
        client.clock.now += 3.0
        client.settle(0)
        deadlines = [query.deadline for query in client.desk.asked]
        assert deadlines == [104.0, 107.0]


def test_beyond_the_window_nothing_is_read() -> None:
    """The client is slowed down, and memory stays bounded."""
    with on_pipes(window=2) as client:
        client.says(lines(4))
        client.send(lines(1000))
        for _ in range(20):
            client.run_once()
        assert unread(client.source) == len(lines(1000))
        client.desk.verdict = YES
        client.settle(0)
        client.settle(1)
        assert client.got() == b"1\n" * 1004


def test_a_client_that_does_not_read_gets_no_more_asked() -> None:
    with on_pipes(window=64) as client:
        client.desk.verdict = YES
        os.set_blocking(client.to, False)
        sent, idle = 0, 0
        while idle < 5:
            try:
                sent += os.write(client.to, LINE * 100) // len(LINE)
                idle = 0
            except BlockingIOError:
                idle += 1
            client.run_once()
        asked = len(client.desk.asked)
        room = unread(client.of) // 2
        assert room <= asked <= room + 64
        got = b""
        while piece := client.got():
            got += piece
            client.run_once()
        assert got == b"1\n" * len(client.desk.asked)
        assert len(client.desk.asked) >= sent


def test_a_smaller_window_and_a_shorter_line_count_from_the_next_line_on() -> None:
    with on_pipes(window=8) as client:
        client.says(lines(6))
        client.session.reconfigure(attrs.evolve(client.settings, window=2, max_line=10))
        client.says(lines(1))
        for number in range(6):
            client.settle(number)
        assert client.got() == b"1\n" * 6 + b"0\n"
        assert client.router.refused == {Refusal.LENGTH: 1}


# --- the end ---------------------------------------------------------------------------------------------


@both
def test_the_end_of_input(ways) -> None:
    with ways() as client:
        client.says(lines(2) + LINE[:-1])
        client.end_input()
        client.run_once()
        assert len(client.desk.asked) == 3
        client.settle(0)
        client.settle(1)
        assert client.over == 0
        client.settle(2)
        assert client.got() == b"1\n" * 3
        assert client.over == 1


@both
def test_the_end_of_input_without_a_line(ways) -> None:
    with ways() as client:
        client.end_input()
        client.run_once()
        assert client.over == 1


@both
def test_the_end_of_input_with_nothing_but_refusals(ways) -> None:
    with ways(window=2) as client:
        client.send(b"x\n" * 9)
        client.end_input()
        client.run_once()
        assert client.got() == b"0\n" * 9
        assert client.over == 1


def test_stop_answers_what_is_in_flight_and_refuses_what_was_read() -> None:
    with on_pipes(window=2) as client:
        client.says(lines(5))
        client.session.stop()
        client.run_once()
        client.says(LINE)
        assert client.over == 0
        client.settle(1, YES)
        client.settle(0, NO)
        assert client.got() == b"0\n1\n" + b"0\n" * 3
        assert client.over == 1
        assert len(client.desk.asked) == 2


def test_abort_answers_everything_at_once() -> None:
    with on_pipes(window=3) as client:
        client.says(lines(5))
        client.desk.asked[0].settle(YES)
        client.desk.asked[2].settle(YES)
        client.session.stop()
        client.session.abort()
        assert client.got() == b"1\n0\n1\n0\n0\n"  # what is known, and 0 for the rest


def test_one_that_hangs_up_takes_its_questions_back_if_it_has_any() -> None:
    for questions in (0, 3):
        with on_socket() as client:
            client.says(lines(4))
            for number in range(4 - questions):
                client.settle(number, YES)
            client.run_once()
            client.session._hang_up()
            assert client.desk.left == [client.session] * bool(questions)


def test_nothing_is_answered_twice_after_abort() -> None:
    with on_pipes() as client:
        client.says(lines(2))
        client.session.stop()
        client.session.abort()
        client.desk.asked[0].settle(YES)
        client.desk.asked[1].settle(YES)
        client.run_once()
        assert client.got() == b"0\n0\n"


def test_nobody_reads_the_answers_any_more() -> None:
    """The same as the end of input, without the answers."""
    with on_pipes(window=3) as client:
        client.says(lines(5))
        os.close(client.of)
        client.settle(0)
        assert client.over == 0
        assert len(client.desk.asked) == 3, "nobody wants to know any more"
        client.settle(1)
        client.settle(2)
        assert client.over == 1


def test_nobody_reads_and_nothing_is_asked() -> None:
    """A pipe reports it at once.  (A socket whose peer will not receive reports it only when written to.)"""
    with on_pipes() as client:
        client.end_output()
        client.run_once()
        assert client.over == 1


def test_a_broken_output_does_not_spin_while_the_last_programs_answer() -> None:
    with on_pipes() as client:
        client.says(lines(2))
        os.close(client.of)
        client.settle(0)
        assert client.is_quiet


def test_an_idle_client_does_not_spin() -> None:
    with on_pipes() as client:
        client.says(lines(2))
        assert client.is_quiet
        client.settle(0)
        client.settle(1)
        assert client.is_quiet


def test_a_connection_that_is_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing sends a reset
    with on_socket(pair=(ours, theirs)) as client:
        client.says(LINE)
        os.close(client.to)
        reset = select.poll()
        reset.register(client.source, 0)
        assert reset.poll(20_000), "even on the loopback it comes a little later, if other packets have to wait, too"
        client.run_once()
        client.settle(0)
        assert client.over == 1
