"""A question that several share, in a pool: it is asked once, and each of them has its own deadline."""

import pytest
import trio
from support.inmemory.pools import Answer, InMemoryWorker, answers, bench

from bridge.protocol.frames import GRANTED
from bridge.protocol.query import Verdict

YES, UNAVAILABLE = Verdict.GRANTED, Verdict.UNAVAILABLE
ISUSER = b"isuser:bob:example.com"


async def ended(answer: Answer, seconds: float, verdict: Verdict) -> None:
    """It ends with this verdict, at that time."""
    await answer.done()
    assert answer.verdict is verdict
    assert answer.seconds == pytest.approx(seconds, abs=1e-6)


async def test_each_has_its_own_time(autojump_clock) -> None:
    """And the program is not killed for the one that has least."""
    async with bench(answers(1.5), pool_max=1) as there:
        busy = there.ask()
        late, early, in_time = (there.ask(ISUSER, timeout=timeout) for timeout in (2.5, 2.0, 4.0))
        await ended(busy, 1.5, YES)
        await ended(early, 2.0, UNAVAILABLE)
        await ended(late, 2.5, UNAVAILABLE)
        await ended(in_time, 3.0, YES)
        assert [program.signals for program in there.programs] == [[]]
        assert there.pool.figures.timeouts == 2
        assert not there.pool.in_flight


async def test_an_answer_comes_too_late_for_one_of_them_before_the_timer_does(autojump_clock) -> None:
    """We may have been stopped: what has arrived by then comes before our timers."""
    async with bench(answers(1.0), pool_max=1) as there:
        there.ask()
        late, in_time = (there.ask(ISUSER, timeout=timeout) for timeout in (2.0, 4.0))
        await ended(late, 2.0, UNAVAILABLE)
        await ended(in_time, 2.0, YES)
        assert (there.pool.figures.timeouts, there.pool.figures.granted) == (1, 2)


async def test_a_program_that_dies_with_it_is_replaced_for_all(autojump_clock) -> None:
    async def dies_second(program: InMemoryWorker) -> int:
        await program.frame()
        await trio.sleep(1.0)
        program.say(GRANTED)
        assert await program.frame() == ISUSER
        await trio.sleep(0.5)
        return 1

    async with bench([dies_second, answers(0.5)]) as there:
        busy = there.ask()
        early, *others = (there.ask(ISUSER, timeout=timeout) for timeout in (1.9, 4.0, 4.0))
        await ended(busy, 1.0, YES)
        await ended(early, 1.5, UNAVAILABLE)  # no program could answer it in what is left
        for other in others:
            await ended(other, 2.0, YES)
        assert len(there.programs) == 2


async def test_a_shorter_limit_counts_for_it_too(autojump_clock) -> None:
    async with bench(answers(1.5)) as there:
        busy = there.ask()
        asked = [there.ask(ISUSER, timeout=timeout) for timeout in (3.0, 4.0)]
        await ended(busy, 1.5, YES)
        there.pool.hasten(1.0)
        for one in asked:
            await ended(one, 2.5, UNAVAILABLE)
