"""A pool under more load than its programs can handle, in virtual time."""

import pytest
import trio
from support.inmemory.pools import SETPASS, Answer, Bench, InMemoryWorker, answers, bench

from bridge.protocol.frames import GRANTED
from bridge.protocol.query import Verdict

YES = Verdict.GRANTED


async def flood(there: Bench, clients: int, seconds: float, pause: float = 0.001) -> list[Answer]:
    """Some clients, each asking again soon after it was answered; returns the number of valid answers."""
    good = []

    async def client(number: int) -> None:
        while True:
            answer = await there.ask(b"auth:user%d:example.com:hunter2" % number).done()
            if answer.verdict is YES:
                good.append(answer)
            await trio.sleep(pause)

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                nursery.start_soon(client, number)
    return good


@pytest.mark.parametrize("clients", [5, 40, pytest.param(256, marks=pytest.mark.slow)])
@pytest.mark.parametrize("pause", [0.02, 0.1])
async def test_more_questions_than_the_programs_can_answer(autojump_clock, clients: int, pause: float) -> None:
    """Most get no answer in time, but the programs go on answering at (nearly) their full rate."""
    async with bench(answers(0.1), pool_size=4) as there:
        await flood(there, clients, 20.0, pause)
        good = await flood(there, clients, 20.0, pause)
        assert len(good) > 0.7 * 20 * min(40, clients / (0.1 + pause))


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 2.5])
async def test_slow_programs_are_used_as_well(autojump_clock, seconds: float) -> None:
    async with bench(answers(seconds), pool_size=4, pool_max=4) as there:
        await flood(there, 64, 30.0, 0.37)  # in no simple ratio to the time of a question
        good = await flood(there, 64, 60.0, 0.37)
        assert len(good) > 0.9 * 60 * 4 / seconds


@pytest.mark.parametrize("slow", [0.5, 3.5, 1000.0])
async def test_a_pool_that_was_slow_serves_again_as_before(autojump_clock, slow: float) -> None:
    """A database was slow for a minute, or the machine was stopped: seconds later there is no trace of it."""
    seconds = 0.01

    async def play(program: InMemoryWorker) -> None:
        while await program.frame() is not None:
            await trio.sleep(seconds)
            program.say(GRANTED)

    async with bench(play, pool_size=2) as there:
        await flood(there, 16, 2.0, 0.02)
        seconds = slow
        await flood(there, 16, 60.0, 0.5)
        seconds = 0.01
        await flood(there, 16, 5.0, 0.02)
        asked = [there.ask() for _ in range(50)]
        for answer in asked:
            await answer.done()
        assert [answer.verdict for answer in asked] == [YES] * 50


async def test_less_time_for_an_answer_than_programs_took_before(autojump_clock) -> None:
    """The programs are quick again: the time they once took must not make queries fail for ever."""
    seconds = 2.0

    async def play(program: InMemoryWorker) -> None:
        while await program.frame() is not None:
            await trio.sleep(seconds)
            program.say(GRANTED)

    async with bench(play, pool_size=2, answer_timeout=8.0) as there:
        asked = [there.ask(timeout=80.0) for _ in range(100)]
        for answer in asked:
            await answer.done()
        seconds = 0.01
        there.pool.hasten(1.0)
        asked = [there.ask(timeout=1.0) for _ in range(20)]
        for answer in asked:
            await answer.done()
        assert [answer.verdict for answer in asked] == [YES] * 20


async def test_a_bridge_that_stood_still(autojump_clock) -> None:
    """Stopped for an hour with a reply unread: the time it took says nothing about other queries."""

    async def play(program: InMemoryWorker) -> None:
        while await program.frame() is not None:
            await trio.sleep(0.01)
            program.say(GRANTED)

    async with bench(play, pool_size=1) as there:
        skew = 0.0
        there.pool.clock = lambda: trio.current_time() + skew
        for _ in range(40):
            asked = [there.ask(timeout=4.0 + skew) for _ in range(10)]
            await asked[2].done()
            skew += 3600.0
            for answer in asked:
                await answer.done()
        there.pool.clock = trio.current_time
        asked = [there.ask() for _ in range(20)]
        for answer in asked:
            await answer.done()
        assert [answer.verdict for answer in asked] == [YES] * 20


async def test_guessing_passwords_does_not_lock_out_those_who_know_theirs(autojump_clock) -> None:
    """Many programs punish a wrong password with a pause; whoever guesses on eight connections gets many."""

    async def play(program: InMemoryWorker) -> None:
        while (body := await program.frame()) is not None:
            await trio.sleep(3.0 if body == SETPASS else 0.01)
            program.say(GRANTED)

    async def guesser() -> None:
        while True:
            await there.ask(SETPASS).done()
            await trio.sleep(0.01)

    async with bench(play, pool_size=4) as there:
        with trio.move_on_after(120.0):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(guesser)
                await trio.sleep(30.0)
                asked = []
                for _ in range(80):
                    asked.append(there.ask())
                    await trio.sleep(1.07)
        good = sum(answer.is_there and answer.verdict is YES for answer in asked)
        assert good >= 16
