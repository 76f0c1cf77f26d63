"""A program that has to be alone (`pool_max` is 1), in virtual time; and which worn program may go before its successor
has answered.
"""

import pytest
import trio
from support.inmemory.plays import UNAVAILABLE, YES
from support.inmemory.pools import Bench
from support.inmemory.site import Site

from bridge.worker.state import State


def never_two(there: Bench) -> None:
    assert max(change.alive for change in there.changes) == 1


@pytest.mark.parametrize("starts", [0.1, 2.0])
async def test_its_renewal_stops_the_old_one_first(autojump_clock, starts: float) -> None:
    """Whoever comes meanwhile waits for the start."""
    site = Site(starts=starts)
    async with site.pool(pool_size=1, max_requests=50) as there:
        await trio.sleep(starts + 0.5)
        logins = await site.crowd(5, 60.0)
        assert len(there.programs) >= 5
        assert logins.failed == 0
        assert max(login.seconds for login in logins) <= starts + 0.2
        assert site.killed == []
        never_two(there)


async def test_so_it_does_after_max_age(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=1, max_age=100.0) as there:
        await trio.sleep(1000.0)
        assert 9 <= len(there.programs) <= 11
        assert there.pool.figures.failures == 0
        never_two(there)


@pytest.mark.parametrize("word", ["hang", "exit"])
async def test_nor_are_there_two_in_any_other_trouble(autojump_clock, word: str) -> None:
    site = Site(starts=0.5)
    async with site.pool(pool_size=1) as there:
        await site.crowd(5, 1.0)
        async with site.attack(2, word, users=True, secrets=True):
            await site.crowd(5, 30.0)
        site.stall(10.0)
        await site.crowd(5, 15.0)
        never_two(there)
        logins = await site.crowd(5, 5.0)
        assert (logins.failed, logins.late) == (0, 0)


async def test_one_login_that_hangs_it_costs_others_no_more_than_its_time(autojump_clock) -> None:
    site = Site(starts=0.5)
    async with site.pool(pool_size=1) as there:
        await trio.sleep(1.0)
        await site.crowd(5, 1.0)
        begun = there.clock()
        site.login("hang", "mallory")
        others = await site.crowd(5, 20.0)
        assert others.refused_last <= begun + 1.0, "and the later ones are granted in time"
        assert others.since(begun + 6.0).late == 0
        assert site.innocent == []


async def test_one_that_cannot_be_killed_keeps_the_place(autojump_clock) -> None:
    """It must be alone, whatever happens; nobody waits for what does not come."""
    site = Site()
    async with site.pool(pool_size=1) as there:
        await site.crowd(5, 1.0)
        site.login("cling", "mallory")
        await site.crowd(5, 20.0)
        assert len(there.programs) == 1
        assert there.programs[0].state is not State.GONE
        login = await site.login().done()
        assert login.verdict is UNAVAILABLE


# --- who goes first otherwise ----------------------------------------------------------------------------


async def test_the_last_one_that_has_answered_stays_until_its_successor_must_be_up(
    autojump_clock,
) -> None:
    site = Site(starts=6.0)
    async with site.pool(pool_size=2, max_age=60.0) as there:
        await trio.sleep(7.0)
        await site.login().done()
        (proven,) = (program for program in there.alive if program.served)
        await trio.sleep(75.0)
        assert proven in there.alive, "nobody asks, and what is new may still be starting"
        while proven in there.alive:
            login = await site.login().done()
            assert (login.verdict, login.seconds < 1.0) == (YES, True)
            await trio.sleep(1.0)
        assert site.killed == []


async def test_which_is_when_it_has_had_the_time_that_any_start_may_take(autojump_clock) -> None:
    site = Site(starts=6.0)
    async with site.pool(pool_size=2, max_age=60.0, start_timeout=30.0) as there:
        await trio.sleep(7.0)
        await site.login().done()
        (proven,) = (program for program in there.alive if program.served)
        await trio.sleep(110.0)
        assert proven not in there.alive
        assert (await site.login().done()).seconds < 0.1
