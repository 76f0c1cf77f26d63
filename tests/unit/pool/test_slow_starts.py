"""Programs that need longer to start than a question may take, in virtual time: start-up is not answer time."""

import random

import pytest
import trio
from support.inmemory.plays import UNAVAILABLE, YES
from support.inmemory.pools import InMemoryWorker
from support.inmemory.site import Site, slow_but_for

from bridge.worker.state import State

STARTS = 6.0
EITHER = (False, True)


# --- renewal ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_random", "busy", "mixed"),
    slow_but_for([(False, False, False), (True, True, True)], EITHER, EITHER, EITHER),
)
async def test_three_renewals(autojump_clock, at_random: bool, busy: bool, mixed: bool) -> None:
    """Nobody fails and nobody is late, whether people came while the first programs started or not."""
    site, chance = Site(starts=STARTS), random.Random(5) if at_random else None
    commands = ("auth", "isuser") if mixed else ("auth",)
    async with site.pool(pool_size=2) as there:
        if busy:
            await site.crowd(40, STARTS + 0.5, chance=chance, commands=commands)
        await trio.sleep(STARTS + 0.5 if not busy else 0.0)
        site.others.clear()
        with trio.fail_after(120.0):
            while len(there.programs) - len(there.alive) < 3:
                await site.crowd(40, 1.0, chance=chance, commands=commands)
    assert (site.others.failed, site.others.late) == (0, 0)
    assert site.killed == []
    assert there.pool.figures.failures == there.pool.figures.retries == 0


async def test_a_renewal_of_the_only_program_that_has_answered(autojump_clock) -> None:
    """Nobody asks while its successor starts, so nobody knows whether it does: the old one goes on."""
    site = Site(starts=STARTS)
    async with site.pool(pool_size=1, pool_max=2, max_requests=10) as there:
        await trio.sleep(STARTS + 0.5)
        first = there.programs[0]
        for _ in range(12):
            assert (await site.login().done()).seconds < 0.5
        await trio.sleep(3.0)
        assert first in there.alive
        for _ in range(60):
            login = await site.login().done()
            assert (login.verdict, login.seconds < 1.0) == (YES, True)
            await trio.sleep(1.0)
        assert first not in there.alive
        assert site.killed == []


# --- the first question ----------------------------------------------------------------------------------


async def test_what_waits_for_a_start_ends_at_its_time_and_the_program_goes_on(autojump_clock) -> None:
    site = Site(starts=STARTS)
    async with site.pool(pool_size=2) as there:
        early = await site.login().done()
        assert early.verdict is UNAVAILABLE
        assert early.seconds == pytest.approx(4.0)
        late = await site.login().done()
        assert late.verdict is YES
        assert late.at == pytest.approx(STARTS, abs=0.2)
        assert len(there.programs) == 2
        assert site.killed == []


async def test_it_gets_nothing_else_meanwhile(autojump_clock) -> None:
    """One question is in flight with a program, whose reply could otherwise be taken for another one's."""
    site = Site(starts=STARTS)
    async with site.pool(pool_size=2, pool_max=2) as there:
        for login in [site.login() for _ in range(10)]:
            assert (await login.done()).verdict is UNAVAILABLE
        while there.clock() < STARTS + 1.0:
            await site.login().done()
            await trio.sleep(0.01)
        asked = [body for when, body in site.asked if when < STARTS + 0.005]
        assert len(asked) == 2, "one each, when they began to read"
        assert there.pool.figures.late == 2


async def test_start_timeout_counts_from_the_first_question(autojump_clock) -> None:
    """A program that nobody asks has no reason to hurry."""
    site = Site(starts=40.0)
    async with site.pool(start_timeout=10.0) as there:
        await trio.sleep(100.0)
        assert len(there.programs) == 1
        assert (await site.login().done()).verdict is YES
    site = Site(starts=40.0)
    async with site.pool(start_timeout=10.0) as there:
        await trio.sleep(35.0)
        first = await site.login().done()
        assert first.verdict is UNAVAILABLE
        assert (await site.login().done()).verdict is YES
        assert len(there.programs) == 1


@pytest.mark.parametrize("seconds", [5.0, 30.0])
async def test_a_start_that_takes_longer_than_start_timeout_is_given_up(autojump_clock, logged, seconds: float) -> None:
    site = Site(starts=1e9)
    async with site.pool(start_timeout=seconds) as there:
        await site.login().done()
        await trio.sleep(seconds - 4.1)
        assert site.killed == []
        await trio.sleep(0.4)
        assert site.killed == [there.programs[0]]
        assert there.programs[0].signals[0][0] == pytest.approx(seconds, abs=0.2)
        assert len(there.programs) >= 2
    (line,) = (line for line in logged if "start_timeout" in line)
    assert f"{seconds:.0f}." in line


@pytest.mark.parametrize("answered", [0, 1])
async def test_what_may_be_wrong_is_guessed_where_none_has_answered(autojump_clock, logged, answered: int) -> None:
    async with Site(starts=1e9).pool(start_timeout=5.0) as there:
        there.pool.figures.granted_by[0] = answered
        there.ask()
        await trio.sleep(5.5)
    (line,) = (line for line in logged if "start_timeout" in line)
    guess = " (slow; or its protocol is generic, not ejabberd; or its output is buffered: extauth-bridge check tells)"
    assert (guess in line) is (answered == 0)


async def test_a_start_just_within_start_timeout_is_not(autojump_clock) -> None:
    site = Site(starts=29.5)
    async with site.pool() as there:
        while there.clock() < 29.5:
            await site.login().done()
            await trio.sleep(0.01)
        assert (await site.login().done()).seconds < 0.5
        assert site.killed == []
        assert len(there.programs) == 1


@pytest.mark.parametrize("starts", [0.5, 1.0, 2.0, 3.0])
async def test_a_start_is_not_taken_for_the_time_of_a_question(autojump_clock, logged, starts: float) -> None:
    """People come while the first programs start."""
    site = Site(starts=starts)
    async with site.pool(pool_size=2) as there:
        logins = await site.crowd(40, 10.0)
    assert logins.failed == 0
    assert there.pool.figures.overload == 0
    assert not [line for line in logged if "overload" in line]


@pytest.mark.parametrize("busy", [True, False])
async def test_starts_that_have_become_slower_than_they_were(autojump_clock, busy: bool) -> None:
    """The machine is busier, or caches are cold: new programs need 6 s, and not one of them is given the time."""
    site = Site(starts=1.0)
    async with site.pool(pool_size=2) as there:
        await site.crowd(40, 5.0)
        site.starts = 6.0
        there.programs[1].signal(15)
        await site.crowd(40, 40.0) if busy else await trio.sleep(40.0)
        assert site.innocent == []
        assert len(there.alive) >= 2


# --- who is asked ----------------------------------------------------------------------------------------


async def test_ready_programs_are_asked_first(autojump_clock) -> None:
    site = Site(starts=1.0, seconds=0.3)
    async with site.pool(pool_size=4) as there:
        for _ in range(10):
            await site.login().done()
        assert sorted(program.served for program in there.programs) == [0, 0, 0, 10]


async def test_what_waits_for_a_starting_program_is_given_to_a_ready_one_as_soon_as_one_is_free(
    autojump_clock,
) -> None:
    site = Site(starts=STARTS, seconds=0.6)
    async with site.pool(pool_size=2) as there:
        await trio.sleep(10.0)
        await site.login().done()
        there.programs[1].signal(9)
        await trio.sleep(0.1)
        first, second = site.login(), site.login()
        assert [program.query is not None for program in there.alive] == [True, True], "a ready and a starting one"
        await second.done()
        assert first.seconds == pytest.approx(0.6)
        assert second.seconds == pytest.approx(1.2, abs=0.11)
        await trio.sleep(STARTS)
        assert (there.pool.figures.granted, there.pool.figures.late) == (3, 1), "asked twice, answered once"
        assert site.innocent == [there.programs[1]]


@pytest.mark.parametrize("starting", [1, 2])
async def test_what_ended_a_program_is_asked_once_more_and_not_by_one_that_starts(
    autojump_clock, starting: int
) -> None:
    """Which would read it in the end, though it was given to a ready one meanwhile: three would have asked it."""
    site = Site(starts=STARTS, seconds=0.6)
    async with site.pool(pool_size=2 + starting) as there:
        await trio.sleep(10.0)
        for login in [site.login() for _ in range(2)]:
            await login.done()
        for program in there.programs[2:]:
            program.signal(9)
        await trio.sleep(0.1)
        other, deadly, another = site.login(), site.login("exit"), site.login()
        await deadly.done()
        assert deadly.verdict == UNAVAILABLE
        for login in (other, another):
            assert (await login.done()).verdict == YES
        await trio.sleep(2 * STARTS)
        assert [body for _, body in site.asked].count(deadly.query.body) == 2


@pytest.mark.parametrize("verdict", ["right", "wrong"])
async def test_and_then_the_first_program_s_reply_is_nobody_s_even_in_time(autojump_clock, verdict: str) -> None:
    """Whatever it says."""
    replies = []

    async def play(program: InMemoryWorker) -> int:
        await trio.sleep(1.2)
        await program.frame()
        replies.append(trio.current_time())
        program.say(b"\0\2\0\1")
        return 0

    site = Site(seconds=0.5)
    async with site.pool(site.play, play, pool_size=2) as there:
        await site.login().done()
        first, second = site.login(), site.login(verdict)
        await first.done()
        await second.done()
        assert second.seconds == pytest.approx(1.0, abs=0.11)
        await trio.sleep(1.0)
        assert len(replies) == 1
        assert replies[0] <= second.query.deadline - 2.0
        assert there.pool.figures.late == 1
        assert there.pool.figures.granted == (3 if verdict == "right" else 2)


async def test_a_probe_shows_that_a_successor_is_ready_before_anybody_asks(autojump_clock) -> None:
    site = Site(starts=STARTS)
    async with site.pool(max_age=100.0, probe="nobody@example.com", probe_interval=0) as there:
        await trio.sleep(100.0 + STARTS + 1.0)
        old, new = there.programs
        assert old.state is State.GONE or new.served == 1
        await trio.sleep(5.0)
        assert there.alive == [new]
        assert (await site.login().done()).seconds < 0.1
