"""Queries and programs, in virtual time: which program is asked, once or twice, until when."""

import math

import pytest
import trio
from support.inmemory.pools import (
    AUTH,
    SETPASS,
    Answer,
    InMemoryWorker,
    Play,
    answers,
    bench,
    dies_reading,
    hangs,
    lives,
    stays,
)

from bridge.protocol.frames import DENIED, GRANTED
from bridge.protocol.query import Verdict
from bridge.worker.state import State

YES, NO, UNAVAILABLE = Verdict.GRANTED, Verdict.DENIED, Verdict.UNAVAILABLE
MISSING = FileNotFoundError(2, "No such file or directory")
BUSY = BlockingIOError(11, "Resource temporarily unavailable")


def after(seconds: float, verdict: Verdict, answer: Answer) -> None:
    """It ended with this verdict, at that time."""
    assert answer.verdict is verdict
    assert answer.seconds == pytest.approx(seconds, abs=1e-6)


def reads_and_dies_after(seconds: float) -> Play:
    async def play(program: InMemoryWorker) -> int:
        await program.frame()
        await trio.sleep(seconds)
        return 1

    return play


def exits_with_reply(reply: bytes = GRANTED) -> Play:
    """One reply, then it exits."""

    async def play(program: InMemoryWorker) -> int:
        await program.frame()
        program.say(reply)
        return 0

    return play


# --- lending ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reply", "verdict"), [(GRANTED, YES), (DENIED, NO)])
async def test_an_answer(autojump_clock, reply: bytes, verdict: Verdict) -> None:
    async with bench(answers(0.25, reply)) as there:
        after(0.25, verdict, await there.ask().done())


async def test_first_come_first_served(autojump_clock) -> None:
    async with bench(answers(0.1), pool_size=2) as there:
        asked = [there.ask() for _ in range(6)]
        for answer in asked:
            await answer.done()
        assert [round(answer.seconds, 3) for answer in asked] == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]


async def test_never_two_questions_with_one_program(autojump_clock) -> None:
    most = 0

    async def play(program: InMemoryWorker) -> None:
        nonlocal most
        while await program.frame() is not None:
            most = max(most, sum(other.query is not None for other in there.programs))
            await trio.sleep(0.01)
            program.say(GRANTED)

    async with bench(play, pool_size=3) as there:
        for answer in [there.ask() for _ in range(50)]:
            await answer.done()
        assert most == 3
        assert [program.served for program in there.programs].count(0) == 0


async def test_the_program_used_last_is_used_first(autojump_clock) -> None:
    """Its caches are warm, and the others may be swapped out."""
    async with bench(answers(0.01), pool_size=4) as there:
        for _ in range(20):
            await there.ask().done()
        assert sorted(program.served for program in there.programs) == [0, 0, 0, 20]


async def test_asking_from_within_an_answer(autojump_clock) -> None:
    """A client in lockstep may have its next line read the moment the answer is there."""
    async with bench(answers(0.1)) as there:
        first, chain = there.ask(), []
        first.then = lambda: chain.append(there.ask())
        await first.done()
        after(0.1, YES, await chain[0].done())


# --- time ------------------------------------------------------------------------------------------------


async def test_a_program_that_does_not_answer_in_time_is_killed_and_replaced(autojump_clock) -> None:
    async with bench([hangs, answers(0.1)]) as there:
        after(4.0, UNAVAILABLE, await there.ask().done())
        after(0.1, YES, await there.ask().done())
        slow, new = there.programs
        assert slow.signals == [(pytest.approx(4.0), 9)]
        assert slow.state is State.GONE
        assert new.born == pytest.approx(4.0)
        assert there.pool.figures.timeouts == 1


async def test_a_late_reply_is_nobody_s(autojump_clock) -> None:
    """A program that timed out is never asked again, and its reply is never taken for another question's."""

    async def late(program: InMemoryWorker) -> None:
        with trio.CancelScope(shield=True):  # it dies slowly
            await program.frame()
            await trio.sleep(4.5)
            program.say(GRANTED)
            await trio.sleep(10)

    async with bench([late, answers(1.0, DENIED)]) as there:
        first = there.ask()
        await trio.sleep(3.9)
        second = there.ask()
        after(4.0, UNAVAILABLE, await first.done())
        after(1.1, NO, await second.done())


async def test_time_in_the_queue_counts(autojump_clock) -> None:
    async with bench(answers(1.5)) as there:
        asked = [there.ask() for _ in range(6)]
        for answer in asked:
            await answer.done()
        assert [answer.verdict for answer in asked] == [YES] * 2 + [UNAVAILABLE] * 4
        assert [answer.seconds for answer in asked[2:]] == pytest.approx([4.0] * 4)


async def test_time_for_a_retry_counts(autojump_clock) -> None:
    """Queue, first program and second program share one time limit."""
    async with bench([reads_and_dies_after(3.0), answers(2.0)]) as there:
        after(4.0, UNAVAILABLE, await there.ask().done())
        assert there.pool.figures.retries == 1


@pytest.mark.parametrize("shorter", [0.5, 3.9])
async def test_each_query_has_its_own_time(autojump_clock, shorter: float) -> None:
    """Even if a later one has less time."""
    async with bench(hangs, pool_size=2) as there:
        long, short = there.ask(), there.ask(timeout=shorter)
        after(shorter, UNAVAILABLE, await short.done())
        after(4.0, UNAVAILABLE, await long.done())


async def test_a_shorter_limit_counts_at_once(autojump_clock) -> None:
    """A reload: also for queries that wait or are with a program."""
    async with bench(hangs) as there:
        asked = [there.ask() for _ in range(3)]
        await trio.sleep(0.5)
        there.pool.hasten(1.0)
        for answer in asked:
            after(1.5, UNAVAILABLE, await answer.done())


async def test_a_longer_limit_does_not_lengthen_what_is_open(autojump_clock) -> None:
    async with bench(hangs) as there:
        answer = there.ask()
        there.pool.hasten(100.0)
        after(4.0, UNAVAILABLE, await answer.done())


async def test_waiting_in_an_order_that_is_not_that_of_the_deadlines(autojump_clock) -> None:
    """Two programs die with a question each, the older question's first; only one slot is due in time."""
    async with bench([reads_and_dies_after(3.5), reads_and_dies_after(0.6), MISSING], pool_size=2) as there:
        for slot in there.pool.slots:
            slot.backoff.next_delay = lambda: 3.3  # type: ignore[method-assign]
        older = there.ask()
        await trio.sleep(3.0)
        newer = there.ask()
        for query in (older, newer):
            assert (await query.done()).verdict is UNAVAILABLE
            assert query.seconds <= 4.0


# --- retries ---------------------------------------------------------------------------------------------


async def test_what_changes_nothing_is_asked_once_more(autojump_clock) -> None:
    async with bench([reads_and_dies_after(0.5), answers(0.5)]) as there:
        after(1.0, YES, await there.ask().done())


async def test_once_more_and_no_more(autojump_clock) -> None:
    async with bench(dies_reading) as there:
        answer = await there.ask().done()
        assert answer.verdict is UNAVAILABLE
        assert answer.query is not None
        assert answer.query.attempts == 2
        assert there.pool.figures.retries == 1


@pytest.mark.parametrize("body", [b"setpass:a:b:c", b"tryregister:a:b:c", b"removeuser:a:b", b"removeuser3:a:b:c"])
async def test_what_changes_something_is_never_asked_twice(autojump_clock, body: bytes) -> None:
    frames = []

    async def dies(program: InMemoryWorker) -> int:
        frames.append(await program.frame())
        return 1

    async with bench(dies, pool_size=2) as there:
        answer = await there.ask(body).done()
        assert answer.verdict is UNAVAILABLE
        assert frames == [body]


async def test_not_after_its_time(autojump_clock) -> None:
    """A process may take a while to be gone; its question is not asked again if it is too late by then."""

    async def dies_slowly(program: InMemoryWorker) -> int:
        with trio.CancelScope(shield=True):
            await program.frame()
            program.say(b"nonsense")
            await trio.sleep(5.0)
        return 1

    async with bench([dies_slowly, answers()]) as there:
        after(4.0, UNAVAILABLE, await there.ask().done())
        await trio.sleep(5.0)
        assert there.pool.figures.retries == 0


async def test_a_protocol_error_is_a_death(autojump_clock) -> None:
    async def talks(program: InMemoryWorker) -> None:
        await program.frame()
        program.say(b"PHP Warning: ...")
        await trio.sleep_forever()

    async with bench([talks, answers(0.1)]) as there:
        after(0.1, YES, await there.ask().done())
        assert there.programs[0].signals == [(0.0, 9)]


@pytest.mark.parametrize("body", [AUTH, SETPASS])
async def test_what_nobody_read_was_never_asked(autojump_clock, body: bytes) -> None:
    """It goes to the next program, whether it changes anything or not."""
    async with bench([lives(1.0), answers(0.5)]) as there:
        await trio.sleep(0.5)
        after(1.0, YES, await there.ask(body).done())
        query = there.programs[0]
        assert query.status == 1


@pytest.mark.parametrize("body", [AUTH, SETPASS])
async def test_unread_it_goes_on_some_times_but_not_for_ever(autojump_clock, body: bytes) -> None:
    async with bench(lives(0.01), pool_size=8) as there:
        answer = await there.ask(body).done()
        assert answer.verdict is UNAVAILABLE
        assert answer.query is not None
        assert answer.query.deaths == 4
        assert answer.query.attempts == 0
        assert answer.seconds < 1.0


async def test_unread_and_then_read_it_still_has_its_second_attempt(autojump_clock) -> None:
    plays = [lives(0.01), reads_and_dies_after(0.1), lives(0.01), answers(0.1)]
    async with bench(plays) as there:
        answer = await there.ask().done()
        assert answer.verdict is YES
        assert answer.query is not None
        assert (answer.query.deaths, answer.query.attempts) == (3, 1)


async def test_a_closed_stdin_costs_a_query_nothing(autojump_clock) -> None:
    async def deaf(program: InMemoryWorker) -> None:
        program.close_input()
        await trio.sleep_forever()

    async with bench([deaf, deaf, deaf, deaf, deaf, answers(0.1)], pool_size=6) as there:
        answer = await there.ask(SETPASS).done()
        after(0.1, YES, answer)
        assert answer.query is not None
        assert answer.query.deaths == 0


async def test_a_reply_and_then_gone_is_a_reply(autojump_clock) -> None:
    async with bench(exits_with_reply(), pool_size=2) as there:
        for _ in range(20):
            assert (await there.ask().done()).verdict is YES
        assert len(there.programs) >= 20


async def test_a_retry_goes_before_all_that_wait(autojump_clock) -> None:
    async with bench([reads_and_dies_after(1.0), answers(0.5)]) as there:
        first, second, third = there.ask(), there.ask(), there.ask()
        after(1.5, YES, await first.done())
        after(2.0, YES, await second.done())
        after(2.5, YES, await third.done())


# --- many at once ----------------------------------------------------------------------------------------


async def test_asking_from_within_what_is_given_up(autojump_clock) -> None:
    """All waiting queries are given up at once, and each asker asks again at that moment."""
    async with bench(keeping=False, plays=[BUSY], pool_size=1) as there:
        slot = there.pool.slots[0]
        slot.due = there.clock() + 1.0
        slot.backoff.next_delay = lambda: 30.0  # type: ignore[method-assign]
        asked, again = [there.ask() for _ in range(5)], []
        for answer in asked:
            answer.then = lambda: again.append(there.ask(timeout=0.5))
        there.pool.start(slot)
        assert [answer.verdict for answer in asked + again] == [UNAVAILABLE] * 10


async def test_every_question_is_settled_once_whatever_the_programs_do(autojump_clock) -> None:
    """`Answer` complains about a second time."""
    plays = [answers(0.05), reads_and_dies_after(0.02), exits_with_reply(), hangs, lives(0.3), answers(0.4, DENIED)]
    async with bench(plays * 20, pool_size=4) as there:
        asked = []
        for number in range(300):
            asked.append(there.ask(AUTH if number % 3 else SETPASS))
            await trio.sleep(0.013)
        for answer in asked:
            await answer.done()
        assert max(answer.seconds for answer in asked) <= 4.0 + 1e-6
        figures = there.pool.figures
        assert figures.granted + figures.denied + figures.unavailable == 300
        assert there.pool.in_flight == 0
        there.pool.expire()
        assert there.pool.earliest_deadline() == math.inf


# --- queries that no pipe takes --------------------------------------------------------------------------


def takes_no_more_than(program: InMemoryWorker, size: int) -> None:
    """Its stdin cannot be made larger."""
    hand_over = program.hand_over
    program.hand_over = lambda query: len(query.body) <= size and hand_over(query)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_a_query_that_no_pipe_takes_is_unavailable_and_costs_no_program(autojump_clock, busy: bool) -> None:
    async with bench(stays) as there:
        (program,) = there.programs
        takes_no_more_than(program, 100)
        first = there.ask() if busy else None
        long = [there.ask(AUTH + b"x" * 100) for _ in range(3000)]
        short = there.ask()
        if first is not None:
            program.say(GRANTED)
            assert first.verdict is YES
        assert {answer.verdict for answer in long} == {UNAVAILABLE}
        assert program.query is short.query
        program.say(GRANTED)
        assert short.verdict is YES
        assert there.pool.figures.failures == 0
        last = there.ask(AUTH + b"x" * 100)
        assert last.verdict is UNAVAILABLE


# --- how its programs write ------------------------------------------------------------------------------


async def test_programs_are_watched_closely_until_they_are_known_to_write_whole_replies(autojump_clock) -> None:
    async with bench(answers(), pool_size=2, max_requests=0) as there:
        for _ in range(9_990):
            await there.ask().done()
        assert all(program.careful for program in there.programs)
        for _ in range(60):
            await there.ask().done()
        assert not there.programs[0].careful or not there.programs[1].careful
        there.pool.replies_in_pieces()
        for _ in range(2000):
            await there.ask().done()
        assert all(program.careful for program in there.programs)
