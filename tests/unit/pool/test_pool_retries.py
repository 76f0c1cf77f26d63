"""Which queries are asked once more, of which program and when, in virtual time."""

import pytest
import trio
from support.inmemory.plays import UNAVAILABLE, YES, after, exits_with_reply, reads_and_dies_after
from support.inmemory.pools import AUTH, SETPASS, InMemoryWorker, answers, bench, dies_reading, lives


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


async def test_a_retry_goes_after_all_that_wait(autojump_clock) -> None:
    """It may be what ended its program."""
    async with bench([reads_and_dies_after(1.0), answers(0.5)], pool_max=1) as there:
        first, second, third = there.ask(), there.ask(), there.ask()
        after(1.5, YES, await second.done())
        after(2.0, YES, await third.done())
        after(2.5, YES, await first.done())


async def test_what_nobody_read_goes_before_all_that_wait(autojump_clock) -> None:
    """It was never asked, and has waited longest."""
    async with bench([lives(1.0), answers(0.5)], pool_max=1) as there:
        first, second, third = there.ask(), there.ask(), there.ask()
        after(1.5, YES, await first.done())
        after(2.0, YES, await second.done())
        after(2.5, YES, await third.done())
