"""The probe of new and idle programs, in virtual time: what is lost is found before a user finds it."""

import pytest
import trio
from support.inmemory.plays import UNAVAILABLE, YES, answers_once_and_then
from support.inmemory.pools import InMemoryWorker, answers, bench, dies_reading, fail_once, hangs
from support.inmemory.site import Site

from bridge.protocol.frames import DENIED, GRANTED
from bridge.worker.state import State

PROBE = {"probe": "nobody@example.com"}
ASKED = b"isuser:nobody:example.com"


def probed(site: Site) -> list[float]:
    return [when for when, body in site.asked if body == ASKED]


# --- new programs ----------------------------------------------------------------------------------------


async def test_every_new_program_is_asked_it_before_anything_else(autojump_clock) -> None:
    first: list[bytes | None] = []

    async def play(program: InMemoryWorker) -> int | None:
        first.append(await program.frame())
        program.say(GRANTED)
        return await answers(0.1)(program)

    async with bench(play, pool_size=3, max_requests=5, **PROBE) as there:
        for _ in range(60):
            there.ask()
            await trio.sleep(0.3)
        assert len(first) > 6
        assert set(first) == {ASKED}


async def test_none_is_by_default(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=2):
        await trio.sleep(600.0)
        assert site.asked == []


@pytest.mark.parametrize("reply", [GRANTED, DENIED])
async def test_any_good_reply_will_do_and_is_nobody_s(autojump_clock, reply: bytes) -> None:
    async with bench(answers(0.1, reply), pool_size=2, **PROBE) as there:
        await trio.sleep(1.0)
        assert there.pool.staff.ready == 2
        figures = there.pool.figures
        assert (figures.granted, figures.denied, figures.unavailable, figures.late) == (0, 0, 0, 0)


async def test_people_wait_for_it(autojump_clock) -> None:
    site = Site(starts=2.0)
    async with site.pool(pool_size=2, **PROBE):
        login = await site.login().done()
        assert (login.verdict, login.seconds) == (YES, pytest.approx(2.02, abs=0.01))


async def test_what_changes_something_waits_for_it_too(autojump_clock) -> None:
    site = Site(starts=2.0)
    async with site.pool(pool_size=1, **PROBE):
        change = await site.login("new", command="setpass").done()
        assert (change.verdict, change.seconds) == (YES, pytest.approx(2.02, abs=0.01))


@pytest.mark.parametrize("play", [dies_reading, hangs], ids=["dies", "hangs"])
async def test_one_that_fails_it_is_a_failed_start(autojump_clock, logged: list[str], play) -> None:
    async with bench(play, pool_size=2, start_timeout=10.0, **PROBE) as there:
        await trio.sleep(300.0)
        assert there.pool.figures.failures > 5
        assert len(there.started) <= 2 * 300 / 10 + 12
        assert len({program for program in there.programs if program.state is not State.GONE}) <= 2
    assert len([line for line in logged if "pool is down" in line]) == 1
    assert not [line for line in logged if "question=" in line], "nobody asked it"


async def test_a_successor_that_fails_it_does_not_take_over(autojump_clock) -> None:
    async with bench([answers(), hangs, answers()], max_age=100.0, start_timeout=5.0, **PROBE) as there:
        await trio.sleep(104.0)
        old, failed = there.programs
        assert (old in there.alive, failed in there.alive) == (True, True)
        await trio.sleep(20.0)
        assert failed not in there.alive
        assert there.alive == [there.programs[2]]
        assert failed.signals == [(pytest.approx(105.3, abs=0.2), 9)]


# --- idle programs ---------------------------------------------------------------------------------------


async def test_idle_programs_are_asked_it_again_now_and_then(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=2, **PROBE) as there:
        await trio.sleep(600.0)
        assert 2 * 600 / 80 <= len(probed(site)) <= 2 * 600 / 60 + 2
        assert len(there.programs) == 2


async def test_an_error_of_ours_ends_only_the_program_that_was_to_be_asked_again(autojump_clock, monkeypatch) -> None:
    async with bench(answers(), pool_size=2, probe_interval=60.0, **PROBE) as there:
        await trio.sleep(1.0)
        faults = fail_once(monkeypatch, there.pool.staff, "probe")
        await trio.sleep(120.0)
        assert not faults
        assert [program.state is State.GONE for program in there.programs] in (
            [True, False, False],
            [False, True, False],
        )


async def test_zero_is_only_at_the_start(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=2, probe_interval=0, max_age=0, **PROBE):
        await trio.sleep(6000.0)
        assert len(probed(site)) == 2


async def test_programs_that_are_asked_are_not_probed(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=1, **PROBE):
        await site.crowd(1, 200.0)
        assert len(probed(site)) == 1


async def test_a_lost_connection_is_found_before_anybody_notices(autojump_clock) -> None:
    """A firewall forgot the connections of programs that were idle for an hour: they hang when they are asked."""
    site = Site()
    async with site.pool(pool_size=2, **PROBE) as there:
        await site.crowd(5, 2.0)
        lost = there.alive
        site.hanging.update(lost)
        await trio.sleep(3600.0)
        assert not set(lost) & set(there.alive)
        logins = await site.crowd(5, 10.0)
        assert (logins.failed, logins.late) == (0, 0)
        assert site.innocent == []


async def test_who_comes_while_one_is_probed_is_answered_by_another(autojump_clock) -> None:
    site = Site(seconds=0.5)
    async with site.pool(pool_size=2, **PROBE):
        await trio.sleep(62.0)
        for _ in range(400):
            login = await site.login().done()
            assert login.seconds <= 1.0 + 1e-6
            await trio.sleep(0.3)


async def test_while_the_back_end_stands_still_a_probe_kills_nobody(autojump_clock, logged: list[str]) -> None:
    site = Site()
    async with site.pool(pool_size=2, pool_max=8, **PROBE) as there:
        await trio.sleep(55.0)
        before = there.alive
        site.stall(25.0)
        await trio.sleep(60.0)
        assert site.killed == []
        assert before == [program for program in before if program in there.alive]
        logins = await site.crowd(5, 5.0)
        assert (logins.failed, logins.late) == (0, 0)
    assert not [line for line in logged if "does harm" in line]


async def test_it_leaves_nobody_without_a_program(autojump_clock) -> None:
    """A probe that hangs the only program: whoever comes waits no longer than for any login that hangs it."""
    async with bench([answers_once_and_then(hangs), answers()], pool_max=2, probe_interval=10.0, **PROBE) as there:
        await trio.sleep(15.5)
        assert there.programs[0].query is not None
        answer = await there.ask(timeout=4.0).done()
        assert answer.verdict is not UNAVAILABLE
        assert answer.seconds < 1.0
