"""All programs leave, or the back end stands still, in virtual time: when the cause is gone, so is the effect."""

import random
import signal

import pytest
import trio
from support.inmemory.plays import UNAVAILABLE
from support.inmemory.pools import Bench
from support.inmemory.site import Site, slow_but_for

from bridge.worker.state import State

EITHER = (False, True)
SOON = 1.0
"""Seconds after which nobody notices anything any more."""


def ready(there: Bench) -> list[object]:
    return [program for program in there.alive if program.served]


# --- all programs leave ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool_size", "starts", "with_a_question"),
    slow_but_for([(2, 3.5, False), (2, 6.0, False), (2, 6.0, True), (8, 6.0, True)], (2, 8), (3.0, 3.5, 6.0), EITHER),
)
async def test_all_leave_once(autojump_clock, pool_size: int, starts: float, with_a_question: bool) -> None:
    """A database was restarted, which programs notice at once or when they are asked next."""
    site = Site(starts=starts)
    async with site.pool(pool_size=pool_size) as there:
        await trio.sleep(starts + 0.5)
        await site.crowd(5, 2.0)
        before, left = there.alive, there.clock()
        if with_a_question:
            site.leaving.update(before)
        else:
            for program in before:
                program.signal(signal.SIGTERM)
        logins = await site.crowd(5, 3 * starts + 20.0)
        assert not set(before) & set(there.alive)
        assert logins.refused_last < left + starts + SOON
        assert logins.since(left + starts + SOON).late == 0
        assert len(there.alive) == pool_size
        assert site.killed == []


async def test_all_leave_and_cannot_start_for_a_while(autojump_clock, logged: list[str]) -> None:
    """Nobody's program can start for a minute; when it can, it does within seconds, and the others at once."""
    site = Site()
    async with site.pool(pool_size=4) as there:
        await site.crowd(5, 2.0)
        plays, there.plays = there.plays, [OSError(11, "Resource temporarily unavailable")]
        for program in there.alive:
            program.signal(signal.SIGTERM)
        await site.crowd(5, 60.0)
        there.plays = plays
        back = there.clock()
        logins = await site.crowd(5, 60.0)
        first = min(login.asked for login in logins if login.verdict is not UNAVAILABLE)
        assert first <= back + 5.5
        assert logins.refused_last < first + SOON
        assert len(there.alive) >= 4
    said = [line for line in logged if "pool is" in line]
    assert len(said) == 2
    assert "pool is down" in said[0]
    assert 'cause="programs cannot start"' in said[0]
    assert "pool is back" in said[1]


# --- the back end stands still ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "pool_size", "at_random", "starts_too"),
    slow_but_for(
        [(3.0, 2, True, True), (6.0, 4, False, True), (6.0, 4, True, False), (20.0, 4, False, True)],
        *((3.0, 6.0, 20.0), (2, 4), EITHER, EITHER),
    ),
)
async def test_a_stall(
    autojump_clock, seconds: float, pool_size: int, at_random: bool, starts_too: bool, logged: list[str]
) -> None:
    """A database is locked.  Programs take 2 s to start, and do so in spite of it, or not."""
    site, chance = Site(starts=2.0), random.Random(5) if at_random else None
    async with site.pool(pool_size=pool_size) as there:
        await trio.sleep(3.0)
        await site.crowd(10, 2.0, chance=chance)
        before, end = ready(there), there.clock() + seconds
        site.stall(seconds, starts=starts_too)
        logins = await site.crowd(10, seconds + 20.0, chance=chance)
        assert logins.refused_last < end
        assert logins.since(end + SOON).late == 0
        was_full = max(change.alive for change in there.changes) == there.pool.program.pool_max
        assert len(site.killed) <= was_full, "then one is replaced now and then, to see"
        assert len([program for program in before if program not in there.alive]) <= was_full
    assert not [line for line in logged if "does harm" in line], "nobody is guilty"


@pytest.mark.parametrize(
    ("seconds", "pool_size", "starts", "starts_too"),
    slow_but_for(
        [(6.0, 1, 0.1, True), (6.0, 1, 2.0, False), (20.0, 2, 0.1, True)],
        *((3.0, 6.0, 20.0), (1, 2, 4), (0.1, 2.0), EITHER),
    ),
)
async def test_a_stall_of_a_pool_that_is_full(
    autojump_clock, seconds: float, pool_size: int, starts: float, starts_too: bool, logged: list[str]
) -> None:
    """It cannot start another program to see whether it is the programs or what is behind them: now and then, one is
    replaced.
    """
    site = Site(starts=starts)
    async with site.pool(pool_size=pool_size) as there:
        await trio.sleep(3.0)
        await site.crowd(10, 2.0)
        end = there.clock() + seconds
        site.stall(seconds, starts=starts_too)
        logins = await site.crowd(10, seconds + 20.0)
        assert logins.refused_last < end + starts
        assert logins.since(end + starts + SOON).late == 0
        assert len(site.killed) <= seconds / 4.0
    assert not [line for line in logged if "does harm" in line], "nobody is guilty"


async def test_of_a_stall_after_which_nobody_asks_for_a_while(autojump_clock) -> None:
    """Late replies are dropped, and the programs are as good as before."""
    site = Site(starts=2.0)
    async with site.pool(pool_size=2) as there:
        await trio.sleep(3.0)
        await site.crowd(10, 2.0)
        site.stall(10.0)
        for login in [site.login() for _ in range(20)]:
            assert (await login.done()).verdict is UNAVAILABLE
            assert login.seconds == pytest.approx(4.0, abs=0.3)
        await trio.sleep(60.0)
        logins = await site.crowd(10, 5.0)
        assert (logins.failed, logins.late) == (0, 0)
        assert site.killed == []
        assert there.pool.figures.late >= 2


@pytest.mark.parametrize("pool_size", [2, 4])
async def test_a_stall_is_not_called_overload(autojump_clock, logged, pool_size: int) -> None:
    site = Site(starts=2.0)
    async with site.pool(pool_size=pool_size) as there:
        await trio.sleep(3.0)
        await site.crowd(10, 2.0)
        site.stall(6.0)
        for login in [site.login() for _ in range(20)]:
            await login.done()
        assert there.pool.figures.overload == 0
        await site.crowd(10, 10.0)
    assert not [line for line in logged if "overload" in line]


async def test_a_stall_that_lasts_longer_than_a_start_may(autojump_clock) -> None:
    """After `start_timeout`, programs are replaced: perhaps it was their connection that was lost."""
    site = Site(starts=2.0)
    async with site.pool(pool_size=2, pool_max=2, start_timeout=30.0) as there:
        await trio.sleep(3.0)
        await site.crowd(10, 2.0)
        before, begun = set(ready(there)), there.clock()
        site.stall(90.0)
        logins = await site.crowd(10, 120.0)
        assert not before & set(there.alive)
        assert logins.refused_last < begun + 90.0 + 2.0 + SOON
        assert logins.since(begun + 90.0 + 2.0 + SOON).late == 0


async def test_programs_that_lost_their_connection_one_by_one(autojump_clock) -> None:
    """All of them hang for good, and nobody is answered any more: new ones show that it is they, and replace them."""
    site = Site(starts=2.0)
    async with site.pool(pool_size=2) as there:
        await trio.sleep(3.0)
        for login in [site.login() for _ in range(2)]:
            await login.done()
        before, begun = there.alive, there.clock()
        site.hanging.update(before)
        logins = await site.crowd(10, 60.0)
        assert logins.refused_last < begun + 0.5 + SOON, "spares need 2 s"
        assert all(program.state is State.GONE for program in before)
        assert site.innocent == []


async def test_a_pool_that_is_full_finds_out_by_replacing_one(autojump_clock) -> None:
    """No spare may be started to see whether it is the programs or what is behind them."""
    site = Site(starts=0.5)
    async with site.pool(pool_size=2, pool_max=2) as there:
        for login in [site.login() for _ in range(2)]:
            await login.done()
        before, begun = there.alive, there.clock()
        site.hanging.update(before)
        logins = await site.crowd(10, 60.0)
        assert logins.refused_last < begun + 4.0 + 0.5 + SOON
        assert all(program.state is State.GONE for program in before)
