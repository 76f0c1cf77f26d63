"""Queries and programs, in virtual time: which program is asked, and until when."""

import math

import pytest
import trio
import trio.testing
from support.inmemory.plays import (
    MISSING,
    NO,
    UNAVAILABLE,
    YES,
    after,
    answers_once_and_then,
    exits_with_reply,
    reads_and_dies_after,
)
from support.inmemory.pools import AUTH, SETPASS, InMemoryWorker, answers, bench, hangs, lives

from bridge.protocol.frames import DENIED, GRANTED
from bridge.protocol.query import Verdict
from bridge.worker.state import State

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
    """While another one is answered."""
    async with bench([answers_once_and_then(hangs), answers(0.1)], pool_size=2) as there:
        await there.ask().done()
        answer = there.ask()
        await trio.sleep(1.0)
        assert (await there.ask().done()).verdict is YES
        after(4.0, UNAVAILABLE, await answer.done())
        await trio.sleep(0.2)
        slow, *others = there.programs
        assert slow.signals == [(pytest.approx(4.1, abs=0.1), 9)]
        assert slow.state is State.GONE
        assert len([program for program in others if program in there.alive]) >= 2
        assert there.pool.figures.timeouts == 1
        assert there.pool.figures.failures == 1


async def test_a_late_reply_is_nobody_s(autojump_clock) -> None:
    """A program may need that long to start; the next question's reply is its own."""

    async def late(program: InMemoryWorker) -> int | None:
        await program.frame()
        await trio.sleep(4.5)
        program.say(GRANTED)
        return await answers(1.0, DENIED)(program)

    async with bench(late) as there:
        first = there.ask()
        await trio.sleep(3.9)
        second = there.ask()
        after(4.0, UNAVAILABLE, await first.done())
        after(1.6, NO, await second.done())
        assert there.programs[0].signals == []
        assert there.pool.figures.late == 1
        assert (there.pool.figures.granted, there.pool.figures.denied) == (0, 1)


async def test_a_late_reply_of_a_killed_program_is_nobody_s(autojump_clock) -> None:
    async def late(program: InMemoryWorker) -> None:
        with trio.CancelScope(shield=True):  # it dies slowly
            await program.frame()
            await trio.sleep(5.0)
            program.say(GRANTED)
            await trio.sleep(10)

    async with bench([answers_once_and_then(late), answers(1.5, DENIED)], pool_size=2) as there:
        await there.ask().done()
        first = there.ask()
        await trio.sleep(1.0)
        await there.ask().done()
        await trio.sleep(1.4)
        second = there.ask()
        after(4.0, UNAVAILABLE, await first.done())
        after(1.5, NO, await second.done())
        assert len(there.programs[0].signals) == 1
        await trio.sleep(10.0)
        assert there.pool.figures.granted == 1


async def test_time_in_the_queue_counts(autojump_clock) -> None:
    """Whoever cannot be answered in time is told so as soon as that is known."""
    async with bench(answers(1.5), pool_max=1) as there:
        asked = [there.ask() for _ in range(6)]
        for answer in asked:
            await answer.done()
        assert [answer.verdict for answer in asked] == [YES] * 2 + [UNAVAILABLE] * 4
        assert max(answer.seconds for answer in asked) <= 4.0 + 1e-6
        assert there.programs[0].signals == []


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
    """Two programs die with a question each; the next start, which fails, is in time for the newer question only."""
    async with bench([reads_and_dies_after(3.5), reads_and_dies_after(0.6), MISSING], pool_size=2) as there:
        older = there.ask()
        await trio.sleep(3.0)
        newer = there.ask()
        there.pool.staff.due = 5.0
        after(3.6, UNAVAILABLE, await older.done())
        assert (await newer.done()).verdict is UNAVAILABLE
        assert 2.0 <= newer.seconds <= 2.2


# --- many at once ----------------------------------------------------------------------------------------


async def test_asking_from_within_what_is_given_up(autojump_clock) -> None:
    """All waiting queries are given up at once, and each asker asks again at that moment."""
    async with bench(MISSING, keeping=False) as there:
        asked, again = [there.ask() for _ in range(5)], []
        for answer in asked:
            assert not answer.is_there
            answer.then = lambda: again.append(there.ask(timeout=0.5))
        there.pool.staff.start()
        there.pool.staff.due = there.clock() + 30.0
        await trio.sleep(0.2)
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
        assert there.pool.earliest_deadline() == math.inf


# --- queries that no pipe takes --------------------------------------------------------------------------


def takes_no_more_than(program: InMemoryWorker, size: int) -> None:
    """Its stdin cannot be made larger."""
    hand_over = program.hand_over
    program.hand_over = lambda query: len(query.body) <= size and hand_over(query)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_a_query_that_no_pipe_takes_is_unavailable_and_costs_no_program(autojump_clock, busy: bool) -> None:
    async with bench(hangs) as there:
        (program,) = there.programs
        takes_no_more_than(program, 100)
        first = there.ask() if busy else None
        long = [there.ask(AUTH + b"x" * 100) for _ in range(3000)]
        short = there.ask()
        await trio.testing.wait_all_tasks_blocked()
        if first is not None:
            program.say(GRANTED)
            assert first.verdict is YES
            await trio.testing.wait_all_tasks_blocked()
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
