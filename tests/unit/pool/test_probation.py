"""Logins that make programs hang or exit, beside people who just log in, in virtual time."""

import pytest
import trio
import trio.testing
from support.inmemory.plays import UNAVAILABLE, YES
from support.inmemory.pools import Answer
from support.inmemory.site import Site, slow_but_for

ONE: dict[str, bool] = {}
SECRETS = {"secrets": True}
MANY = {"users": True, "secrets": True}
POOL_MAX = {2: 8, 4: 16, 16: 32}


def suspected(logged: list[str]) -> list[str]:
    return [line for line in logged if "does harm" in line]


async def convict_mallory(site: Site) -> None:
    """Others are answered before, while and after one login of hers hangs a program."""
    await site.crowd(5, 1.0)
    site.login("hang", "mallory")
    await site.crowd(5, 5.0)


# --- the table -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool_size", "starts"), slow_but_for([(2, 0.1), (4, 0.1), (16, 0.1), (2, 2.0)], (2, 4, 16), (0.1, 0.5, 2.0))
)
async def test_one_account_that_hangs_a_program_each_time_and_is_tried_again(
    autojump_clock, pool_size: int, starts: float
) -> None:
    site = Site(starts=starts)
    async with site.pool(pool_size=pool_size) as there:
        await trio.sleep(starts + 0.5)
        await site.crowd(5, 1.0)
        async with site.attack(1, "hang", pause=2.0) as tries:
            others = await site.crowd(5, 60.0)
            assert len(tries) > 10
        assert others.failed == 0
        assert others.late <= 0.01
        assert site.innocent == []
        assert max(change.alive for change in there.changes) <= POOL_MAX[pool_size]


@pytest.mark.parametrize(
    ("who", "failed", "late"),
    [(ONE, 0.0, 0.02), (SECRETS, 0.0, 0.02), (MANY, 0.01, 0.1)],
    ids=["one", "secrets", "many"],
)
@pytest.mark.parametrize(
    ("word", "starts", "seconds"),
    slow_but_for([("hang", 0.1, 20.0), ("exit", 0.1, 20.0)], ("hang", "exit"), (0.1, 0.5), (20.0, 60.0)),
)
async def test_four_logins_always_open(
    autojump_clock, word: str, starts: float, seconds: float, who: dict[str, bool], failed: float, late: float
) -> None:
    """Of one account with the same secret or another one each time, or of another account each time."""
    site = Site(starts=starts)
    async with site.pool(pool_size=4) as there:
        await trio.sleep(starts + 0.5)
        await site.crowd(5, 1.0)
        async with site.attack(4, word, **who):
            others = await site.crowd(5, seconds)
        assert others.failed <= failed
        assert others.late <= late
        assert site.innocent == []
        assert max(change.alive for change in there.changes) <= POOL_MAX[4]
        await site.crowd(5, 2.0)
        after = await site.crowd(5, 10.0)
        assert (after.failed, after.late) == (0, 0), "when the cause is gone, so is the effect"


@pytest.mark.parametrize("who", [ONE, SECRETS], ids=["one", "secrets"])
@pytest.mark.parametrize("word", ["hang", "exit"])
async def test_a_victim_whose_name_an_attacker_uses(autojump_clock, word: str, who: dict[str, bool]) -> None:
    """It has the right password, and logs in from the same address."""
    site = Site()
    async with site.pool(pool_size=4) as there:
        await site.crowd(5, 1.0)
        victims: list[Answer] = []
        async with site.attack(4, word, user="victim", **who), trio.open_nursery() as nursery:
            await site.crowd(5, 2.0)

            async def log_in() -> None:
                while True:
                    victims.append(await site.login(user="victim").done())
                    await trio.sleep(1.0)

            nursery.start_soon(log_in)
            others = await site.crowd(5, 30.0)
            nursery.cancel_scope.cancel()
        assert others.failed <= 0.01
        assert others.late <= 0.1
        assert len(victims) >= 10
        assert {victim.verdict for victim in victims} == {YES}
        assert site.innocent == []
        assert max(change.alive for change in there.changes) <= POOL_MAX[4]


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("pool_size", [2, 4])
async def test_a_victim_on_a_quiet_site(autojump_clock, pool_size: int, others: bool) -> None:
    """Whoever uses its name holds the only program that is ready, and nobody else asks the new ones."""
    site = Site()
    async with site.pool(pool_size=pool_size):
        await site.crowd(5, 1.0)
        victims: list[Answer] = []
        async with site.attack(1, "hang", user="victim", secrets=True, pause=1.0):
            for _ in range(30):
                if others and len(victims) % 10 == 9:
                    await site.login().done()
                victims.append(await site.login(user="victim").done())
                await trio.sleep(1.0)
        assert {victim.verdict for victim in victims} == {YES}
        assert site.innocent == []


@pytest.mark.parametrize("starts", [0.1, 2.0])
async def test_as_many_hang_as_there_are_programs_once(autojump_clock, starts: float) -> None:
    """Two logins were enough to put everybody out for as long as the load lasted."""
    site = Site(starts=starts)
    async with site.pool(pool_size=2):
        await trio.sleep(starts + 0.5)
        await site.crowd(10, 1.0)
        begun = site.there.clock()
        for number in range(2):
            site.login("hang", f"mallory{number}")
        others = await site.crowd(10, 30.0)
        assert others.failed <= 0.05
        assert others.refused_last < begun + 5.0
        assert others.since(begun + 5.0).late == 0
        assert site.innocent == []


async def test_twice_as_many_hang_as_there_are_programs_on_a_quiet_site(autojump_clock) -> None:
    """All programs that have ever answered are stuck, and those that were started instead have such a question, too."""
    site = Site()
    async with site.pool(pool_size=2):
        await site.crowd(5, 1.0)
        async with site.attack(4, "hang", users=True, secrets=True, pause=1.0):
            others = await site.crowd(1, 60.0)
        assert others.failed == 0


@pytest.mark.parametrize("pool_size", [2, 4])
async def test_as_many_hang_as_there_are_programs_before_any_has_answered(autojump_clock, pool_size: int) -> None:
    """Each may be a slow start, but nobody waits for that for half a minute."""
    site = Site()
    async with site.pool(pool_size=pool_size):
        await trio.sleep(0.5)
        for number in range(pool_size):
            site.login("hang", f"mallory{number}")
        others = await site.crowd(5, 20.0)
        assert others.failed == 0
        assert others.since(site.there.clock() - 18.0).late == 0


# --- who is guilty ---------------------------------------------------------------------------------------


async def test_what_hung_a_ready_program_while_others_were_answered_is_not_asked_again_for_a_while(
    autojump_clock, logged: list[str]
) -> None:
    site = Site()
    async with site.pool(pool_size=2) as there:
        await site.crowd(5, 1.0)
        hangs = site.login("hang", "mallory")
        others = await site.crowd(5, 5.0)
        assert hangs.verdict is UNAVAILABLE
        assert hangs.seconds == pytest.approx(4.0)
        assert len(site.hung) == 1
        again = site.login("hang", "mallory")
        assert (again.verdict, again.seconds) == (UNAVAILABLE, 0.0)
        assert there.pool.figures.suspected == 1
        others += await site.crowd(5, 15.0)
        site.login("hang", "mallory")
        others += await site.crowd(5, 5.0)
        assert len(site.hung) == 2, "ten seconds later it is tried again"
        assert others.failed == 0
    assert len(suspected(logged)) == 2
    assert all('question="auth, 29 bytes, ASCII"' in line for line in suspected(logged))
    assert "seconds=10" in suspected(logged)[0]
    assert "seconds=20" in suspected(logged)[1]
    assert not [line for line in logged if "mallory" in line or "hang" in line.partition("question=")[2]]


async def test_of_a_suspect_every_question_has_less_time_and_the_others_have_theirs(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=2):
        await convict_mallory(site)
        second, other = site.login("hang-2", "mallory"), site.login("hang-3", "malory")
        await site.crowd(5, 5.0)
        assert second.seconds <= 2.2
        assert other.seconds == pytest.approx(4.0)


async def test_nobody_is_guilty_where_nobody_is_answered(autojump_clock, logged: list[str]) -> None:
    """A single person asks, and perhaps it is the back end."""
    site = Site()
    async with site.pool(pool_size=2):
        await site.crowd(5, 1.0)
        await site.login("hang", "mallory").done()
        await trio.sleep(40.0)
        assert site.login("hang", "mallory").query.verdict is None  # type: ignore[union-attr]
    assert suspected(logged) == []


async def test_nobody_is_guilty_who_asks_first_after_a_pause(autojump_clock, logged: list[str]) -> None:
    """A firewall has forgotten all connections; new programs have new ones, and answer meanwhile."""
    site = Site()
    async with site.pool(pool_size=2) as there:
        await site.crowd(5, 1.0)
        await trio.sleep(10.0)
        site.hanging.update(there.alive)
        await site.crowd(1, 10.0)
        assert len(site.hung) == 2
        assert there.pool.figures.timeouts == 2
    assert suspected(logged) == []


@pytest.mark.parametrize("others", [True, False])
async def test_what_ended_two_programs_is_guilty_only_if_others_are_answered(
    autojump_clock, logged: list[str], others: bool
) -> None:
    site = Site()
    async with site.pool(pool_size=4):
        await site.crowd(5, 1.0)
        assert (await site.login("exit", "mallory").done()).verdict is UNAVAILABLE
        if others:
            await site.crowd(5, 2.0)
        await trio.sleep(2.0)
        asked = len(site.asked)
        await site.login("exit", "mallory").done()
        assert len(site.asked) == asked + (0 if others else 2)
    assert len(suspected(logged)) == others


async def test_what_ended_one_program_is_not_guilty(autojump_clock, logged: list[str]) -> None:
    """Programs die, and their question is asked once more."""
    site = Site()
    async with site.pool(pool_size=2) as there:
        await site.crowd(5, 1.0)
        site.seconds = 0.5
        login = site.login(user="alice")
        await trio.sleep(0.1)
        next(program for program in there.alive if program.query is not None).signal(15)
        site.seconds = 0.01
        await site.crowd(5, 2.0)
        assert login.verdict is YES
        assert there.pool.figures.retries == 1
        assert (await site.login(user="alice").done()).verdict is YES
    assert suspected(logged) == []


@pytest.mark.parametrize("starts", [0.1, 6.0])
async def test_a_slow_start_makes_nobody_guilty(autojump_clock, logged: list[str], starts: float) -> None:
    """People wait for it in vain, while others are answered."""
    site = Site(starts=starts, seconds=0.2)
    async with site.pool(pool_size=2) as there:
        await trio.sleep(starts + 0.5)
        await site.crowd(5, 2.0)
        site.starts = 6.0
        there.alive[0].signal(15)
        others = await site.crowd(4, 30.0)
        assert others.failed <= 0.01
    assert suspected(logged) == []


# --- how much suspects may have ---------------------------------------------------------------------------


@pytest.mark.parametrize("pool_size", [2, 4, 8])
async def test_all_suspects_together_hold_a_quarter_of_the_programs(autojump_clock, pool_size: int) -> None:
    """Convicted once, each has one question with a program at a time."""
    site = Site()
    async with site.pool(pool_size=pool_size) as there:
        await site.crowd(5, 1.0)
        for number in range(30):
            site.login("hang", f"mallory{number}")
            await site.crowd(5, 0.6)
        await site.crowd(5, 6.0)
        assert there.pool.probation.knows_any
        most, quarter = 0, max(1, there.pool.program.pool_max // 4)
        for number in range(30):
            site.login("hang-again", f"mallory{number}")
        for _ in range(80):
            await site.crowd(5, 0.1)
            held = [program.query for program in there.alive if program.query is not None]
            most = max(most, sum(b"hang-again" in query.body for query in held))
        assert 1 <= most <= quarter


async def test_one_account_has_one_question_with_a_program_at_a_time(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=16) as there:
        await convict_mallory(site)
        site.seconds = 0.2
        slow = [site.login(f"right-{number}", "mallory") for number in range(5)]
        await trio.sleep(0.1)
        assert sum(program.query is not None for program in there.alive) == 1
        for login in slow:
            assert (await login.done()).verdict is YES
        assert slow[-1].seconds == pytest.approx(1.0, abs=0.3)


async def test_a_minute_later_nothing_is_left_of_it(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=4) as there:
        await convict_mallory(site)
        assert there.pool.probation.knows_any
        await site.crowd(5, 61.0)
        assert not there.pool.probation.knows_any
        site.seconds = 0.2
        logins = [site.login(f"right-{number}", "mallory") for number in range(3)]
        for login in logins:
            assert (await login.done()).seconds == pytest.approx(0.2)


async def test_who_leaves_takes_back_what_waits_on_probation(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=2) as there:
        await convict_mallory(site)
        site.seconds = 2.0
        first, second = site.login("right-1", "mallory"), site.login("right-2", "mallory")
        await trio.sleep(0.1)
        assert there.pool.in_flight == 2
        assert second.query is not None
        there.pool.withdraw(second.query.asker)
        assert (second.verdict, there.pool.in_flight) == (UNAVAILABLE, 1)
        assert (await first.done()).verdict is YES


async def test_a_retry_on_probation_keeps_the_order_of_deadlines(autojump_clock) -> None:
    site = Site()
    async with site.pool(pool_size=2) as there:
        await convict_mallory(site)
        site.seconds = 2.0
        first = site.login("right-1", "mallory")
        await trio.sleep(0.5)
        for number in range(2, 5):
            site.login(f"right-{number}", "mallory")
        await trio.sleep(0.1)
        next(program for program in there.alive if program.query is first.query).signal(15)
        await trio.sleep(0.1)
        deadlines = [query.deadline for query in there.pool.probation]
        assert len(deadlines) == 3
        assert deadlines == sorted(deadlines)


async def test_what_no_program_has_read_is_on_probation_again(autojump_clock, monkeypatch) -> None:
    site = Site()
    async with site.pool(pool_size=2) as there:
        await convict_mallory(site)
        site.seconds = 1.0
        login = site.login("right", "mallory")
        site.login(user="alice")
        holder = next(program for program in there.alive if program.query is login.query)
        await trio.sleep(0.05)
        monkeypatch.setattr(holder, "_is_unread", True)
        holder.signal(15)
        await trio.testing.wait_all_tasks_blocked()
        assert [*there.pool.probation] == [login.query]
        assert (await login.done()).verdict is YES
