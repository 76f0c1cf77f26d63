"""More questions than the programs can answer, in virtual time: who is refused, when, and what the log says."""

import random
import re
from typing import Any

import pytest
import trio
from support.inmemory.plays import UNAVAILABLE, YES
from support.inmemory.pools import Answer
from support.inmemory.site import Logins, Site

BEGINS, ENDS = "overloaded: more questions", "no longer overloaded"


def told(logged: list[str]) -> list[str]:
    return [line for line in logged if "overload" in line or "pool_size" in line]


def number(line: str, field: str) -> float:
    found = re.search(rf"\b{field}=([\d.]+)", line)
    assert found is not None, line
    return float(found[1])


async def all_done(logins: list[Answer]) -> None:
    for login in logins:
        await login.done()


# --- eight at once of a program that takes 1.2 s ---------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
async def test_eight_logins_at_once(autojump_clock, logged: list[str], known: bool) -> None:
    """Three can be served in time; the others are told at once, or when the first reply tells how long one takes."""
    site = Site(seconds=1.2)
    async with site.pool(pool_size=1) as there:
        await trio.sleep(1.5)
        if known:
            await all_done([site.login() for _ in range(2)])
        logins = Logins(site.login() for _ in range(8))
        await all_done(logins)
        granted = [login for login in logins if login.verdict is YES]
        refused = [login for login in logins if login.verdict is UNAVAILABLE]
        assert len(granted) == 3
        assert max(login.seconds for login in granted) == pytest.approx(3.6, abs=0.01)
        assert max(login.seconds for login in refused) <= (0.0 if known else 1.61)
        await trio.sleep(10.0)
        assert site.killed == []
        assert len(there.programs) == 1
        assert there.pool.figures.overload == 5
    begin, end = told(logged)
    assert BEGINS in begin
    assert "pool=default" in begin
    assert number(begin, "seconds_a_question") == pytest.approx(1.2, abs=0.1)
    assert ENDS in end
    assert number(end, "refused") == 5
    assert number(end, "longest_wait") == pytest.approx(0.0 if known else 1.3, abs=0.3)
    assert 2 <= number(end, "pool_size") <= 8


@pytest.mark.parametrize(("seconds", "share"), [(0.3, 0.85), (1.2, 0.85), (1.9, 0.85), (2.5, 0.6), (3.7, 0.3)])
async def test_a_program_that_always_takes_the_same_time_is_never_killed(
    autojump_clock, seconds: float, share: float
) -> None:
    """Whatever the load, from its first question on; and most of what it does is for somebody who still waits."""
    site = Site(seconds=seconds)
    async with site.pool(pool_size=1) as there:
        logins = [site.login() for _ in range(10)]
        for _ in range(30):
            logins.append(site.login())
            await trio.sleep(0.37)
        await all_done(logins)
        assert max(login.seconds for login in logins) <= 4.0 + 1e-6
        assert site.killed == []
        assert len(there.programs) == 1
        assert there.pool.figures.granted >= share * 11.1 / seconds


# --- half a minute ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_random", [False, True])
@pytest.mark.parametrize(("pool_size", "pool_max"), [(1, 1), (2, 2), (2, None)])
async def test_twice_the_load_for_half_a_minute(
    autojump_clock, logged: list[str], pool_size: int, pool_max: int | None, at_random: bool
) -> None:
    site, chance = Site(seconds=0.2), random.Random(5) if at_random else None
    rate = pool_size / site.seconds
    async with site.pool(pool_size=pool_size, pool_max=pool_max) as there:
        await trio.sleep(0.5)
        await site.crowd(rate / 2, 3.0, chance=chance)
        begun = there.clock()
        loaded = await site.crowd(2 * rate, 30.0, chance=chance)
        granted = [login for login in loaded if login.verdict is YES]
        in_time = sum(login.at <= begun + 30.0 for login in granted)
        assert in_time >= 0.95 * rate * 30.0 - 30, "strangers have some of it"
        assert max(login.seconds for login in granted) <= 4.0 + 1e-6
        await site.crowd(rate / 2, 2.0)
        after = await site.crowd(rate / 2, 10.0)
        assert (after.failed, after.late) == (0, 0)
        assert site.killed == []
    lines = told(logged)
    assert len(lines) == 2 * sum(BEGINS in line for line in lines)
    assert 1 <= sum(BEGINS in line for line in lines) <= 2 or pool_max is None
    refused = sum(login.verdict is UNAVAILABLE for login in loaded)
    assert sum(number(line, "refused") for line in lines if ENDS in line) >= refused
    if pool_max is not None:
        end = next(line for line in lines if ENDS in line)
        assert 2 * pool_size <= number(end, "pool_size") <= 4 * pool_size


async def test_what_is_refused_is_told_long_before_its_time(autojump_clock) -> None:
    """Prosody stands still while it waits."""
    site = Site(seconds=0.5)
    async with site.pool(pool_size=2, pool_max=2):
        await trio.sleep(0.5)
        await site.crowd(2, 3.0)
        loaded = (await site.crowd(20, 20.0)).since(7.0)
        refused = sorted(login.seconds for login in loaded if login.verdict is UNAVAILABLE)
        assert refused
        assert refused[len(refused) // 2] <= 0.1


async def test_what_could_not_be_answered_in_the_time_left_is_not_asked(autojump_clock) -> None:
    """The question before took longer than usual; a program would only work in vain."""
    site = Site(seconds=1.2)
    async with site.pool(pool_size=1):
        await trio.sleep(1.5)
        await all_done([site.login() for _ in range(2)])
        site.seconds = 3.2
        slow = site.login()
        await trio.sleep(0.1)
        site.seconds = 1.2
        login = await site.login(user="alice").done()
        assert login.verdict is UNAVAILABLE
        assert login.seconds <= 4.0 - 1.2
        assert (await slow.done()).verdict is YES
        await trio.sleep(5.0)
        assert not [body for _, body in site.asked if b"alice" in body]


@pytest.mark.parametrize(("seconds", "rate"), [(0.1, 2.0), (0.01, 1.5), (0.01, 2.0)])
async def test_a_burst_that_can_be_served_in_time_is_no_overload(
    autojump_clock, logged: list[str], seconds: float, rate: float
) -> None:
    """Whatever was known before, of people who came now and then."""
    site = Site(seconds=seconds)
    async with site.pool(pool_size=2, pool_max=2):
        await site.crowd(rate, 5.0)
        logins = Logins(site.login() for _ in range(60))
        await all_done(logins)
        assert logins.failed == 0
        assert max(login.seconds for login in logins) == pytest.approx(30 * seconds, abs=0.2)
        await trio.sleep(10.0)
    assert told(logged) == []


async def test_two_overloads_are_two_pairs_of_lines(autojump_clock, logged: list[str]) -> None:
    site = Site(seconds=1.0)
    async with site.pool(pool_size=1):
        await trio.sleep(1.5)
        for refused in (3, 5):
            await all_done([site.login() for _ in range(2)])
            await all_done([site.login() for _ in range(4 + refused)])
            await trio.sleep(10.0)
    lines = told(logged)
    assert [BEGINS in line for line in lines] == [True, False, True, False]
    assert number(lines[3], "refused") > number(lines[1], "refused") >= 3


async def test_a_login_that_hangs_is_no_overload(autojump_clock, logged: list[str]) -> None:
    site = Site()
    async with site.pool(pool_size=4):
        await site.crowd(5, 1.0)
        site.login("hang", "mallory")
        assert (await site.crowd(5, 10.0)).failed == 0
    assert told(logged) == []


# --- spares ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probes", [{}, {"probe": "nobody@example.com", "probe_interval": 20.0}])
async def test_spares_come_when_questions_wait_and_leave_when_they_have_been_idle_for_a_minute(
    autojump_clock, probes: dict[str, Any]
) -> None:
    site = Site(seconds=0.3)
    async with site.pool(pool_size=2, **probes) as there:
        await trio.sleep(0.5)
        await site.crowd(2, 3.0)
        assert len(there.alive) == 2
        loaded = await site.crowd(15, 30.0)
        spares = len(there.alive)
        assert 5 <= spares <= 8
        assert loaded.since(there.clock() - 15.0).late == 0
        await site.crowd(2, 40.0)
        assert len(there.alive) == spares, "what made them necessary may come back"
        await site.crowd(2, 90.0)
        assert len(there.alive) == 2
        assert site.killed == []
        assert there.pool.figures.failures == 0


async def test_a_burst_is_no_reason_for_a_spare(autojump_clock) -> None:
    site = Site(seconds=0.1)
    async with site.pool(pool_size=2) as there:
        await trio.sleep(0.5)
        await site.crowd(2, 3.0)
        await all_done([site.login() for _ in range(8)])
        await trio.sleep(5.0)
        assert len(there.programs) == 2


async def test_programs_that_must_be_alone_get_no_spare(autojump_clock) -> None:
    site = Site(seconds=0.3)
    async with site.pool(pool_size=1) as there:
        await site.crowd(10, 20.0)
        assert len(there.programs) == 1
