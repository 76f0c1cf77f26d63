"""How many programs a pool has and when it starts them, in virtual time: two kinds of death, and of starting again."""

import itertools
import signal

import pytest
import trio
from support.inmemory.plays import BUSY, UNAVAILABLE, YES, exits_with_reply, starts_slowly
from support.inmemory.pools import Bench, answers, bench, dies_reading, hangs, lives
from support.inmemory.site import Site


def started_since(there: Bench, when: float) -> int:
    return sum(at >= when for at in there.started)


# --- died at work ----------------------------------------------------------------------------------------


async def test_one_that_died_at_work_is_replaced_at_once_however_often(autojump_clock) -> None:
    """Programs that serve once and leave are as good as any."""
    async with bench(exits_with_reply(), pool_size=2) as there:
        for number in range(300):
            answer = await there.ask(b"auth:user%d:example.com:right" % number).done()
            assert (answer.verdict, answer.seconds) == (YES, 0.0)
            await trio.sleep(0.1)
        assert len(there.started) >= 300


@pytest.mark.parametrize("pool_size", [4, 8])
async def test_the_rate_of_starts_is_bounded_but_not_low(autojump_clock, pool_size: int) -> None:
    """Each program dies of a question, of another account each time; a start that led to a good reply is no waste."""
    site = Site()
    async with site.pool(pool_size=pool_size) as there:
        await site.crowd(5, 1.0)
        begun, figures = there.clock(), there.pool.figures
        before = figures.answered
        async with site.attack(40, "exit", users=True, secrets=True):
            await site.crowd(5, 20.0)
        starts, seconds = started_since(there, begun), there.clock() - begun
        assert starts >= 7 * seconds
        good = figures.answered - before + figures.late
        assert starts <= 20 * seconds + good + pool_size + there.pool.program.pool_max


# --- cannot start ----------------------------------------------------------------------------------------


QUESTIONS_END_IT = starts_slowly(0.2, dies_reading)


@pytest.mark.parametrize(
    ("play", "pause"), [(BUSY, 2.5), (lives(0.0), 15.0), (lives(0.5), 15.0), (QUESTIONS_END_IT, 1.0)], ids=str
)
async def test_programs_that_cannot_start_do_not_keep_the_machine_busy(autojump_clock, play, pause: float) -> None:
    """Different people ask all the time."""
    async with bench(play, pool_size=4) as there:
        for number in range(1200):
            there.ask(b"auth:user%d:example.com:right" % number)
            await trio.sleep(0.5)
        assert started_since(there, 300.0) <= 300 / pause + 3
        assert not any(program.served for program in there.programs)


@pytest.mark.parametrize("users", [False, True])
@pytest.mark.parametrize("rate", [0.1, 0.2])
@pytest.mark.parametrize("pool_size", [2, 4])
async def test_two_people_who_end_programs_do_not_put_out_a_quiet_site(
    autojump_clock, users: bool, rate: float, pool_size: int
) -> None:
    """Nobody else has been answered between three of their questions, so it looks as if programs could not start."""
    site = Site()
    async with site.pool(pool_size=pool_size):
        await site.crowd(5, 1.0)
        async with site.attack(2, "exit", users=users, secrets=True, pause=1.0):
            others = await site.crowd(rate, 120.0)
        assert others.failed == 0


async def test_one_question_does_not_keep_programs_from_starting(autojump_clock) -> None:
    """It ends each program that has not replied yet, which proves nothing about others."""
    site = Site()
    async with site.pool(pool_size=2) as there:
        for _ in range(20):
            site.login("exit", "mallory")
            await trio.sleep(0.4)
        login = await site.login().done()
        assert (login.verdict, login.seconds < 1.0) == (YES, True)
        assert there.pool.staff.due <= there.clock()


async def test_three_different_questions_in_a_row_show_that_programs_cannot_start(autojump_clock) -> None:
    async with bench(dies_reading, pool_size=2) as there:
        for number in range(3):
            assert len(there.alive) == 2
            await there.ask(b"auth:user%d:example.com:right" % number).done()
            await trio.sleep(0.04)
        assert len(there.alive) == 1, "one tries"
        await there.ask(b"auth:another:example.com:right").done()
        await trio.sleep(0.04)
        assert len(there.alive) == 0, "and the next one after a pause"


async def test_programs_that_hang_from_the_start_are_said_to_be_down(autojump_clock, logged: list[str]) -> None:
    async with bench(hangs, pool_size=2) as there:
        for number in range(300):
            there.ask(b"auth:user%d:example.com:right" % number)
            await trio.sleep(1.0)
    (down,) = (line for line in logged if "pool is down" in line)
    assert down.startswith("ERROR")


async def test_the_log_says_whether_programs_cannot_start_or_die_of_questions(
    autojump_clock, logged: list[str]
) -> None:
    for play, cause in ((lives(0.0), "programs cannot start"), (dies_reading, "programs die of questions")):
        logged.clear()
        async with bench(play, pool_size=2) as there:
            for number in range(60):
                there.ask(b"auth:user%d:example.com:right" % number)
                await trio.sleep(1.0)
        (down,) = (line for line in logged if "pool is down" in line)
        assert f'cause="{cause}"' in down


async def test_what_ends_unasked_after_years_is_no_start_that_failed(autojump_clock, logged: list[str]) -> None:
    """Some back ends end connections that are idle for long, and the program with them."""
    async with bench(lives(3600.0), pool_size=2, max_age=0) as there:
        await trio.sleep(20 * 3600.0)
        assert there.alive
        assert not [line for line in logged if "pool is down" in line]


# --- how many --------------------------------------------------------------------------------------------


async def test_one_that_is_stuck_does_not_count(autojump_clock) -> None:
    """A spare takes its place long before its question has ended."""
    site = Site()
    async with site.pool(pool_size=2) as there:
        await site.crowd(5, 1.0)
        hangs = site.login("hang", "mallory")
        await trio.sleep(1.0)
        assert not hangs.is_there
        assert len(there.alive) == 3
        await site.crowd(5, 10.0)
        assert len(there.alive) == 2


async def test_no_time_is_taken_for_stuck_that_is_usual(autojump_clock) -> None:
    """Programs of 1 s: nobody is stuck with half of that."""
    site = Site(seconds=1.0)
    async with site.pool(pool_size=2, pool_max=8) as there:
        await trio.sleep(1.5)
        await site.crowd(0.5, 60.0)
        assert len(there.programs) == 2


@pytest.mark.parametrize(("pool_size", "pool_max"), [(2, 2), (2, 5), (4, None)])
@pytest.mark.parametrize("word", ["hang", "cling"])
async def test_never_more_than_pool_max(autojump_clock, word: str, pool_size: int, pool_max: int | None) -> None:
    """Not even where programs cannot be killed: their places are taken until they are gone."""
    site = Site()
    async with site.pool(pool_size=pool_size, pool_max=pool_max) as there:
        await site.crowd(5, 1.0)
        async with site.attack(16, word, users=True, secrets=True):
            await site.crowd(5, 60.0)
        assert max(change.alive for change in there.changes) <= there.pool.program.pool_max
        if word == "cling":
            assert len(there.programs) <= there.pool.program.pool_max
            assert all(program in there.alive for program in site.killed)


async def test_when_what_could_not_be_killed_is_gone_its_place_is_free_again(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=2, pool_max=2) as there:
        await site.crowd(5, 1.0)
        site.login("cling", "mallory")
        await site.crowd(5, 20.0)
        (stubborn,) = site.killed
        assert len(there.programs) == 2
        stubborn.ignores.clear()
        stubborn.signal(signal.SIGKILL)
        await trio.sleep(1.0)
        assert len(there.alive) == 2
        assert len(there.programs) == 3


async def test_that_it_cannot_be_killed_costs_no_wake_ups_but_one_place(autojump_clock) -> None:
    """The others are answered as ever."""
    site = Site()
    async with site.pool(pool_size=2) as there:
        await site.crowd(5, 1.0)
        site.login("cling", "mallory")
        others = await site.crowd(5, 30.0)
        assert (others.failed, others.late) == (0, 0)
        assert len(there.alive) == 3


async def test_an_idle_pool_is_not_looked_at(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=4) as there:
        await site.crowd(5, 5.0)
        async with site.attack(1, "hang"):
            await site.crowd(5, 10.0)
        await trio.sleep(200.0)
        assert there.reactor.pause() == float("inf")


# --- what waits meanwhile --------------------------------------------------------------------------------


@pytest.mark.parametrize("starts", [0.5, 3.0])
async def test_a_question_waits_for_a_start_that_usually_is_over_in_time(autojump_clock, starts: float) -> None:
    site = Site(starts=starts)
    async with site.pool(pool_size=1) as there:
        assert (await site.login().done()).verdict is YES
        there.programs[0].signal(signal.SIGTERM)
        await trio.sleep(0.1)
        login = await site.login().done()
        assert (login.verdict, login.seconds) == (YES, pytest.approx(starts, abs=0.1))


async def test_a_question_does_not_wait_for_a_start_that_usually_is_not(autojump_clock) -> None:
    """Its client stands still until it has an answer; only the one that the program has waits for it."""
    site = Site(starts=6.0)
    async with site.pool(pool_size=1) as there:
        with trio.fail_after(60.0):
            while not there.programs[0].served:
                await site.login().done()
                await trio.sleep(0.01)
        there.programs[0].signal(signal.SIGTERM)
        await trio.sleep(0.1)
        given, *others = [site.login() for _ in range(5)]
        assert [(login.verdict, login.seconds) for login in others] == [(UNAVAILABLE, 0.0)] * 4
        await trio.sleep(2.5)
        assert not given.is_there
        in_time = await site.login().done()
        assert (in_time.verdict, in_time.seconds) == (YES, pytest.approx(3.5, abs=0.2))


async def test_all_gaps_between_tries_are_bounded(autojump_clock) -> None:
    async with bench(BUSY, pool_size=4) as there:
        await trio.sleep(600.0)
        assert max(later - earlier for earlier, later in itertools.pairwise(there.started)) <= 30.0 + 1e-6


async def test_the_others_start_at_once_when_one_is_ready(autojump_clock) -> None:
    async with bench([*[BUSY] * 6, answers()], pool_size=8) as there:
        with trio.fail_after(60.0):
            while (await there.ask().done()).verdict is not YES:
                await trio.sleep(0.05)
        await trio.sleep(0.1)
        assert len(there.alive) == 8
