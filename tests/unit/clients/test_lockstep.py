"""A lockstep client on pipes and sockets: one question, one answer, and never an answer to another question."""

import os

import attrs
import pytest
from support.inmemory.clients import NO, UNAVAILABLE, YES, on_pipes, on_socket

from bridge.protocol.query import Refusal

QUERY = b"auth:alice:example.com:hunter2"
OTHER = b"isuser:bob:example.com"

both = pytest.mark.parametrize("ways", [on_pipes, on_socket], ids=["pipes", "socket"])


@both
@pytest.mark.parametrize(("verdict", "answer"), [(YES, b"1\n"), (NO, b"0\n"), (UNAVAILABLE, b"0\n")])
def test_a_question_and_its_answer(ways, verdict, answer) -> None:
    with ways(kind="lockstep") as client:
        for number in range(3):
            client.says(QUERY + b"\n")
            assert client.got() == b""
            client.settle(number, verdict)
            assert client.got() == answer
        assert client.desk.lines == [QUERY] * 3
        assert client.over == 0


@both
def test_a_verdict_that_is_there_at_once(ways) -> None:
    with ways(kind="lockstep") as client:
        client.desk.verdict = YES
        client.says(QUERY + b"\n")
        assert client.got() == b"1\n"
        client.says(b"auth:nobody\n")
        assert client.got() == b"0\n"
        client.says(OTHER + b"\n")
        assert client.got() == b"1\n"
        assert client.desk.lines == [QUERY, OTHER]


def test_a_line_in_pieces() -> None:
    with on_pipes(kind="lockstep") as client:
        for byte in QUERY:
            client.says(bytes([byte]))
        assert client.desk.lines == []
        client.says(b"\n")
        assert client.desk.lines == [QUERY]


# --- violations ------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("burst", [QUERY + b"\n" + OTHER + b"\n", b"\n\n", QUERY + b"\nrest", (OTHER + b"\n") * 900])
def test_a_burst_gets_one_no_and_reaches_no_program(ways, burst) -> None:
    with ways(kind="lockstep") as client:
        client.says(burst)
        assert client.got() == b""
        client.wait(0.049)
        assert client.got() == b""
        client.wait(0.002)
        assert client.got() == b"0\n"
        client.wait(100.0)
        assert client.got() == b""
        assert client.desk.lines == []
        assert client.router.refused == {Refusal.INJECTION: 1}


def test_lines_that_come_soon_after_void_the_question_that_is_being_asked() -> None:
    with on_pipes(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        client.clock.now += 0.030
        client.says(OTHER + b"\n")
        client.settle(0, YES)
        assert client.got() == b""
        client.wait(0.051)
        assert client.got() == b"0\n"
        assert client.desk.lines == [QUERY]


def test_bytes_that_come_with_the_verdict_are_seen_before_the_answer_is_written() -> None:
    """The check right before writing: the reactor has not reported the new bytes yet."""
    with on_pipes(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        client.send(OTHER + b"\n")
        client.desk.asked[0].settle(YES)
        assert client.got() == b""
        client.wait(0.051)
        assert client.got() == b"0\n"
        assert client.desk.lines == [QUERY]


def test_a_burst_goes_on_for_as_long_as_it_is_not_quiet() -> None:
    with on_pipes(kind="lockstep") as client:
        client.says(b"a\nb\n")
        for _ in range(20):
            client.wait(0.040)
            client.says(OTHER + b"\n")
            assert client.got() == b""
        client.wait(0.051)
        assert client.got() == b"0\n"
        client.says(QUERY + b"\n")
        client.settle(0)
        assert client.got() == b"1\n"


def test_bytes_at_the_very_end_of_a_burst_put_its_answer_off() -> None:
    with on_pipes(kind="lockstep") as client:
        client.says(b"a\nb\n")
        client.send(b"c\n")
        client.wait(0.051)
        assert client.got() == b""
        client.wait(0.051)
        assert client.got() == b"0\n"
        client.wait(9.0)
        assert client.got() == b""


@both
def test_a_flood_larger_than_any_read(ways) -> None:
    """A million injected lines, as fast as the stream takes them: one answer."""
    with ways(kind="lockstep") as client:
        os.set_blocking(client.to, False)
        sent = 0
        flood = (OTHER + b"\n") * 45_000
        while sent < 2 * len(flood):
            try:
                sent += os.write(client.to, flood[: len(flood) - sent % 23])
            except BlockingIOError:
                client.run_once()
        client.run_once()
        client.wait(0.051)
        assert client.got() == b"0\n"
        assert client.desk.lines == []


# --- giving up -------------------------------------------------------------------------------------------


@both
def test_an_abandoned_question_is_never_answered(ways) -> None:
    with ways(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        client.wait(0.060)
        client.says(OTHER + b"\n")
        client.settle(0, YES)
        assert client.got() == b""
        client.settle(1, NO)
        assert client.got() == b"0\n"
        client.wait(10.0)
        assert client.got() == b""


def test_abandoned_in_the_moment_of_the_verdict() -> None:
    """The new line is in the stream, unread, when the old verdict comes: the old answer would be taken for its."""
    with on_pipes(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        client.clock.now += 1.0
        client.send(OTHER + b"\n")
        client.desk.asked[0].settle(YES)
        assert client.got() == b""
        assert client.desk.lines == [QUERY, OTHER]
        client.settle(1, NO)
        assert client.got() == b"0\n"


def test_abandoned_for_a_line_that_is_not_yet_whole() -> None:
    with on_pipes(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        client.clock.now += 1.0
        client.send(OTHER)
        client.desk.asked[0].settle(YES)
        client.run_once()
        assert client.got() == b""
        client.says(b"\n")
        client.settle(1, YES)
        assert client.got() == b"1\n"


def test_abandoned_for_a_line_that_is_refused() -> None:
    with on_pipes(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        client.clock.now += 1.0
        client.send(b"nonsense\n")
        client.desk.asked[0].settle(YES)
        assert client.got() == b"0\n"
        client.wait(10.0)
        assert client.got() == b""


def test_a_chain_of_abandoned_questions() -> None:
    """Verdicts in any order: only the newest question's is written."""
    with on_pipes(kind="lockstep") as client:
        for _ in range(6):
            client.says(QUERY + b"\n")
            client.wait(0.7)
        for number in (3, 0, 4, 1, 2):
            client.settle(number, YES)
            assert client.got() == b""
        client.settle(5, NO)
        assert client.got() == b"0\n"


# --- the end ---------------------------------------------------------------------------------------------


@both
def test_the_end_of_input_waits_for_the_answer(ways) -> None:
    with ways(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        client.end_input()
        client.run_once()
        assert client.over == 0
        client.settle(0, YES)
        assert client.got() == b"1\n"
        assert client.over == 1


@both
def test_a_last_line_without_its_end(ways) -> None:
    with ways(kind="lockstep") as client:
        client.send(QUERY)
        client.end_input()
        client.run_once()
        client.settle(0, YES)
        assert client.got() == b"1\n"
        assert client.over == 1


def test_the_end_of_input_right_behind_a_burst() -> None:
    with on_pipes(kind="lockstep") as client:
        client.send(b"a\nb")
        os.close(client.to)
        client.run_once()
        assert (client.got(), client.over) == (b"", 0)
        client.wait(0.051)
        assert (client.got(), client.over) == (b"0\n", 1)


@both
def test_the_end_of_input_when_nothing_is_open(ways) -> None:
    with ways(kind="lockstep") as client:
        client.end_input()
        client.run_once()
        assert client.over == 1
        assert client.got() == b""


def test_nobody_reads_the_answer() -> None:
    with on_pipes(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        os.close(client.of)
        client.run_once()
        assert client.over == 1
        client.settle(0, YES)
        assert client.over == 1


def test_nobody_reads_at_all() -> None:
    with on_pipes(kind="lockstep") as client:
        os.close(client.of)
        client.says(QUERY + b"\n")
        client.run_once()
        assert client.over == 1
        assert client.desk.lines == []


def test_stop_answers_what_is_open_and_nothing_new() -> None:
    with on_pipes(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        client.session.stop()
        assert client.over == 0
        client.settle(0, YES)
        assert client.got() == b"1\n"
        assert client.over == 1
        client.says(OTHER + b"\n")
        client.wait(10.0)
        assert client.got() == b""
        assert client.desk.lines == [QUERY]


def test_stop_when_nothing_is_open() -> None:
    with on_pipes(kind="lockstep") as client:
        client.session.stop()
        assert client.over == 1


def test_abort_answers_at_once_and_once() -> None:
    with on_pipes(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        client.session.stop()
        client.session.abort()
        assert client.got() == b"0\n"
        assert client.over == 1
        client.settle(0, YES)
        client.wait(10.0)
        assert client.got() == b""


def test_abort_takes_its_question_back() -> None:
    """A query that waits for a program is settled at once then, and not answered."""
    with on_pipes(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        client.desk.withdraw = lambda asker: client.settle(0, YES)  # type: ignore[method-assign]
        client.session.abort()
        assert client.desk.asked[0].settled
        assert client.got() == b"0\n"
        assert client.over == 1


def test_a_client_that_is_gone_takes_its_question_back_whichever_end_tells_first() -> None:
    """One descriptor reports end of input, the other that nobody reads: in either order, in one batch."""
    for first in ("_hear", "_hang_up"):
        with on_socket(kind="lockstep") as client:
            client.says(QUERY + b"\n")
            os.close(client.to)
            getattr(client.session, first)()
            assert client.desk.left == [client.session]
            assert client.over == 1
            client.to = client.of = os.open("/dev/null", os.O_RDWR)


def test_a_question_that_was_given_up_is_taken_back_too() -> None:
    with on_pipes(kind="lockstep") as client:
        client.says(QUERY + b"\n")
        client.wait(1.0)
        client.says(QUERY + b"\n")
        client.settle(1, YES)
        client.session.abort()
        assert client.desk.left == [client.session]


def test_a_full_pipe_is_tried_again() -> None:
    with on_pipes(kind="lockstep") as client:
        while True:
            try:
                os.write(client.sink, b"x" * 4096)
            except BlockingIOError:
                break
        client.says(QUERY + b"\n")
        client.settle(0, YES)
        full = client.got()
        assert full.strip(b"x") == b""
        client.wait(1.0)
        assert client.got() == b"1\n"


def test_new_limits_count_for_the_next_line() -> None:
    with on_pipes(kind="lockstep") as client:
        client.session.reconfigure(attrs.evolve(client.settings, max_line=64))
        client.says(b"auth:alice:example.com:" + b"x" * 64 + b"\n")
        assert client.got() == b"0\n"
        assert client.router.refused == {Refusal.LENGTH: 1}
