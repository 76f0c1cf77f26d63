"""The rounds of a pool, in virtual time: what is late, who is killed for it, and who may hold how much."""

import math
import random

import pytest
import trio
from support.inmemory.plays import UNAVAILABLE, YES
from support.inmemory.pools import Answer, bench, hangs
from support.inmemory.site import Logins, Site


async def all_done(logins: list[Answer]) -> None:
    for login in logins:
        await login.done()


# --- their times -----------------------------------------------------------------------------------------


async def test_every_question_ends_at_its_deadline_whatever_the_others_are(autojump_clock) -> None:
    chance = random.Random(7)
    async with bench(hangs, pool_size=4) as there:
        asked: list[tuple[float, Answer]] = []
        for number in range(200):
            timeout = chance.choice([0.05, 0.3, 1.0, 4.0])
            asked.append((timeout, there.ask(b"auth:user%d:example.com:x" % number, timeout=timeout)))
            await trio.sleep(chance.random() * 0.05)
        for timeout, answer in asked:
            await answer.done()
            assert answer.verdict is UNAVAILABLE
            assert answer.seconds <= max(timeout, 0.1) + 1e-5


async def test_ten_a_second_while_there_is_something_and_none_otherwise(autojump_clock, monkeypatch) -> None:
    site = Site(seconds=0.5)
    async with site.pool(pool_size=4) as there:
        await trio.sleep(1.0)
        rounds: list[float] = []
        make = there.pool._timer.action
        monkeypatch.setattr(there.pool._timer, "action", lambda: (rounds.append(there.clock()), make()))
        await site.crowd(4, 10.0)
        assert 50 <= len(rounds) <= 110
        await trio.sleep(5.0)
        count = len(rounds)
        await trio.sleep(3000.0)
        assert len(rounds) == count
        assert there.reactor.pause() == math.inf


async def test_a_quick_pool_needs_none_for_a_question_in_between(autojump_clock, monkeypatch) -> None:
    """One round after the first question, and then a timer that is not set again with each."""
    site = Site()
    async with site.pool(pool_size=2) as there:
        await trio.sleep(1.0)
        rounds: list[float] = []
        make = there.pool._timer.action
        monkeypatch.setattr(there.pool._timer, "action", lambda: (rounds.append(there.clock()), make()))
        for _ in range(1000):
            await site.login().done()
        assert len(rounds) <= 10 * 1000 * site.seconds + 10


# --- who is killed for time ------------------------------------------------------------------------------


async def test_one_that_has_had_its_time_while_another_could_have_answered(autojump_clock) -> None:
    """Nobody else asks, but a ready program is idle: it is the question."""
    site = Site()
    async with site.pool(pool_size=2) as there:
        await all_done([site.login() for _ in range(2)])
        login = await site.login("hang").done()
        assert login.seconds == pytest.approx(4.0)
        await trio.sleep(0.2)
        assert set(site.killed) == site.hung
        assert len(there.alive) == 2


@pytest.mark.parametrize("seconds", [3.0, 3.9])
async def test_not_one_that_answers_just_in_time(autojump_clock, seconds: float) -> None:
    site = Site()
    async with site.pool(pool_size=2) as there:
        await site.crowd(5, 1.0)
        site.seconds = seconds
        slow = site.login()
        await trio.sleep(0.1)
        site.seconds = 0.01
        others = await site.crowd(5, 6.0)
        assert (slow.verdict, slow.seconds) == (YES, pytest.approx(seconds))
        assert (others.failed, site.killed) == (0, [])
        assert there.pool.figures.failures == 0


async def test_the_log_says_with_what_and_for_how_long_and_never_its_text(autojump_clock, logged: list[str]) -> None:
    site = Site()
    async with site.pool(pool_size=2):
        await site.crowd(5, 1.0)
        site.login("hang-hunter2", "mallory")
        site.login("hang-Grüße", "mallöry")
        await site.crowd(5, 8.0)
    failed = [line for line in logged if "program failed" in line]
    assert sorted(line.partition('question="')[2].partition('"')[0] for line in failed) == [
        "auth, 37 bytes, ASCII",
        "auth, 38 bytes, with multibyte characters",
    ]
    assert all('reason="it gave no reply in time, for 4.' in line for line in failed)
    assert not [line for line in logged if "mall" in line or "hunter2" in line or "Gr" in line or "hang-" in line]


# --- who may hold how much -------------------------------------------------------------------------------


def held(site: Site, address: str) -> int:
    queries = (program.query for program in site.there.alive)
    return sum(query is not None and query.address == address for query in queries)


async def test_one_address_holds_half_of_the_programs_while_others_wait(autojump_clock) -> None:
    site = Site(seconds=0.5)
    async with site.pool(pool_size=4, pool_max=4) as there:
        await trio.sleep(0.5)
        await site.crowd(2, 3.0)
        many = Logins(site.login(address="192.0.2.1") for _ in range(12))
        await trio.sleep(0.2)
        assert held(site, "192.0.2.1") == 4, "nobody else is there"
        others = Logins()
        for _ in range(20):
            others.append(site.login(address="198.51.100.7"))
            others.append(site.login())
            await trio.sleep(0.25)
            if there.clock() > 4.6 and len(there.pool.waiting) > 2:
                assert held(site, "192.0.2.1") <= 2
        await all_done([*many, *others])
        assert others.failed == 0
        assert max(login.seconds for login in others) < 2.5


async def test_what_hangs_for_one_address_is_not_everybody_s_trouble(autojump_clock) -> None:
    """Another account each time, and more than there may be programs."""
    site = Site()
    async with site.pool(pool_size=2, pool_max=4):
        await site.crowd(5, 1.0)
        for number in range(30):
            site.login("hang", f"mallory{number}", address="192.0.2.1")
        others = await site.crowd(5, 15.0)
        assert others.failed <= 0.02
        assert site.innocent == []


async def test_an_unknown_address_is_bounded_by_nothing(autojump_clock) -> None:
    """It is that of all clients of servers that do not tell."""
    site = Site(seconds=0.5)
    async with site.pool(pool_size=4, pool_max=4):
        await trio.sleep(0.5)
        await site.crowd(2, 3.0)
        logins = Logins(site.login() for _ in range(12))
        await trio.sleep(0.2)
        assert held(site, "") == 4
        await all_done(logins)
        assert (logins.failed, max(login.seconds for login in logins)) == (0, pytest.approx(1.5))
