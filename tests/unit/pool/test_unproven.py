"""Programs that have not answered yet: they get nothing that changes something, and what they say late is nobody's."""

import itertools

import pytest
import trio
from support.inmemory.plays import MISSING, NO, UNAVAILABLE, YES, answers_once_and_then, starts_slowly
from support.inmemory.pools import AUTH, SETPASS, Answer, InMemoryWorker, Play, answers, bench, hangs
from support.inmemory.site import Site

from bridge.protocol.frames import DENIED, GRANTED
from bridge.protocol.query import Query
from bridge.worker.state import State

CHANGING = ["setpass", "tryregister", "removeuser3"]


def changed(site: Site) -> list[float]:
    """When something was changed."""
    return [when for when, body in site.asked if not body.startswith((b"auth:", b"isuser:"))]


# --- what changes something ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", CHANGING)
@pytest.mark.parametrize("idle", [True, False])
async def test_it_waits_for_a_program_that_has_answered(autojump_clock, command: str, idle: bool) -> None:
    """There are new programs that are idle, or none."""
    site = Site(starts=6.0, seconds=0.7)
    async with site.pool(pool_size=2) as there:
        await trio.sleep(7.0)
        await site.login().done()
        there.programs[1].signal(15)
        await trio.sleep(0.1)
        busy = site.login()
        others = [] if idle else [site.login()]
        await trio.sleep(0.1)
        change = site.login("new", command=command)
        await change.done()
        assert change.verdict is YES
        assert [program.query for program in there.programs[2:]] == [None] if idle else True
        (when,) = changed(site)
        assert when == pytest.approx(busy.at, abs=0.2) or others
        assert change.at == pytest.approx(when + 0.7)


@pytest.mark.parametrize("command", CHANGING)
async def test_one_that_starts_while_it_waits_does_not_get_it(autojump_clock, command: str) -> None:
    site = Site(seconds=1.0)
    async with site.pool(pool_size=2) as there:
        await site.login().done()
        busy = site.login()
        change = site.login("new", command=command)
        await trio.sleep(0.1)
        idle = next(program for program in there.alive if not program.served)
        idle.signal(15)
        await trio.sleep(0.1)
        assert len(there.programs) == 3
        await change.done()
        assert change.verdict is YES
        (when,) = changed(site)
        assert when == pytest.approx(busy.at), "by the one that was busy"


@pytest.mark.parametrize("command", CHANGING)
async def test_never_is_it_given_to_one_that_is_starting_while_another_has_answered(
    autojump_clock, monkeypatch, command: str
) -> None:
    """Through renewals and deaths, with as many questions as they can bear."""
    site = Site(starts=3.0, seconds=0.02)
    proven: list[bool] = []
    hand_over = InMemoryWorker.hand_over

    def watch(program: InMemoryWorker, query: Query) -> bool:
        if query.body.startswith(command.encode()):
            others = (other for other in site.there.alive if other is not program)
            proven.append(program.served > 0 or not any(other.served for other in others))
        return hand_over(program, query)

    monkeypatch.setattr(InMemoryWorker, "hand_over", watch)
    async with site.pool(pool_size=3, max_requests=50) as there:
        await trio.sleep(4.0)
        await site.login().done()
        for _ in range(6):
            await site.crowd(30, 5.0, commands=("auth", command, "isuser"))
            next(program for program in there.alive if program.served).signal(15)
        assert len(there.programs) > 9
        assert len(proven) > 200
        assert all(proven)


@pytest.mark.parametrize("command", CHANGING)
async def test_if_none_has_answered_it_is_asked_and_its_program_killed_at_its_deadline(
    autojump_clock, command: str
) -> None:
    """What was refused must not happen half a minute later."""
    site = Site(starts=6.0)
    async with site.pool(pool_size=1) as there:
        change = await site.login("new", command=command).done()
        assert (change.verdict, change.seconds) == (UNAVAILABLE, pytest.approx(4.0))
        assert there.programs[0].signals == [(pytest.approx(4.0), 9)]
        await trio.sleep(60.0)
        assert changed(site) == []


async def test_if_none_has_answered_and_one_does_in_time_it_is_done(autojump_clock) -> None:
    site = Site(starts=2.0)
    async with site.pool(pool_size=2):
        change = await site.login("new", command="setpass").done()
        assert (change.verdict, change.seconds) == (YES, pytest.approx(2.01))


async def test_a_change_that_a_ready_program_did_not_make_in_time_is_not_made_later(autojump_clock) -> None:
    """Even while nobody else is answered, and others would be left to finish."""
    site = Site()
    async with site.pool(pool_size=2) as there:
        await site.crowd(5, 1.0)
        site.stall(10.0)
        (ready,) = (program for program in there.alive if program.served > 1)
        change = await site.login("new", command="setpass").done()
        assert (change.verdict, change.seconds) == (UNAVAILABLE, pytest.approx(4.0))
        await trio.sleep(0.1)
        assert ready.state is State.GONE
        assert site.killed == [ready]


async def test_a_change_that_waits_is_not_moved_to_another_program(autojump_clock) -> None:
    """It may have been read."""
    site = Site(starts=1.5)
    async with site.pool(pool_size=2) as there:
        change = site.login("new", command="setpass")
        assert there.programs[0].query is change.query
        site.login()
        await trio.sleep(1.55)
        await change.done()
        assert len(changed(site)) == 1


@pytest.mark.parametrize("busy", [AUTH, SETPASS])
@pytest.mark.parametrize("was_read", [True, False])
async def test_it_is_not_lost_when_the_last_proven_program_dies(autojump_clock, was_read: bool, busy: bytes) -> None:
    """A new one is idle, and it may be given to that: nobody else is there any more."""
    first = answers_once_and_then(hangs if was_read else starts_slowly(1.0, hangs))
    async with bench([first, answers(0.1), MISSING], pool_size=2, pool_max=2) as there:
        await there.ask().done()
        there.ask(busy)
        change = there.ask(b"setpass:bob:example.com:new")
        await trio.sleep(0.5)
        there.programs[0].signal(9)
        assert (await change.done()).verdict is YES
        assert change.seconds < 1.0


# --- late first replies ----------------------------------------------------------------------------------


def says(*what: tuple[float, bytes]) -> Play:
    """Writes these bytes, one after the other, each after so many seconds more, and then answers no."""

    async def play(program: InMemoryWorker) -> int | None:
        await program.frame()
        for seconds, data in what:
            await trio.sleep(seconds)
            program.say(data)
        return await answers(0.1, DENIED)(program)

    return play


async def test_a_late_first_reply_is_dropped_and_makes_the_program_ready(autojump_clock) -> None:
    async with bench(says((5.0, GRANTED)), pool_max=1) as there:
        first = await there.ask(b"auth:alice:example.com:a").done()
        assert first.verdict is UNAVAILABLE
        second = await there.ask(b"auth:bob:example.com:b").done()
        assert (second.verdict, second.seconds) == (NO, pytest.approx(1.1))
        assert there.pool.staff.ready == 1
        assert (there.pool.figures.granted, there.pool.figures.late) == (0, 1)
        assert len(there.programs) == 1


@pytest.mark.parametrize(
    "more",
    [
        [(0.0, GRANTED)],
        [(0.1, GRANTED)],
        [(0.0, GRANTED), (0.0, GRANTED)],
        [(0.0, b"\n")],
        [(0.0, b"PHP Warning: something")],
    ],
    ids=str,
)
@pytest.mark.parametrize("asked_at", [4.0, 4.9, 4.99, 5.05])
async def test_what_it_says_besides_kills_it_and_is_nobody_s_answer(autojump_clock, more, asked_at: float) -> None:
    """Its late reply, and something more: never is that the answer to the question after it."""
    async with bench([says((5.0, GRANTED), *more), answers(0.1, DENIED)]) as there:
        first = there.ask(b"auth:alice:example.com:a")
        await trio.sleep(asked_at)
        second = there.ask(b"auth:mallory:example.com:hunter2")
        for answer in (first, second):
            await answer.done()
        await trio.sleep(max(0.0, 5.5 - asked_at))
        assert first.verdict is UNAVAILABLE
        assert second.verdict is not YES
        assert there.pool.figures.granted == 0
        assert there.programs[0].state is State.GONE
        third = await there.ask(b"auth:mallory:example.com:hunter2").done()
        assert third.verdict is NO


async def test_nobody_s_late_reply_is_anybody_s(autojump_clock) -> None:
    """Programs that are late or not, start slowly or not, and answer yes to one account only."""
    asked: list[tuple[bytes, Answer]] = []

    async def play(program: InMemoryWorker) -> int:
        delays = itertools.cycle([0.01, 4.2, 0.3, 2.0, 4.05, 0.0, 7.0])
        await trio.sleep(program.pid % 7)
        while (body := await program.frame()) is not None:
            await trio.sleep(next(delays))
            program.say(GRANTED if body.startswith(b"auth:friend") else DENIED)
        return 0

    async with bench(play, pool_size=3, pool_max=8, max_requests=20) as there:
        for number in range(1500):
            user = b"friend" if number % 3 else b"foe"
            asked.append((user, there.ask(b"auth:%s%d:example.com:x" % (user, number))))
            await trio.sleep(0.11)
        for _, answer in asked:
            await answer.done()
            assert answer.seconds <= 4.0 + 1e-6
        verdicts = {user: {answer.verdict for who, answer in asked if who == user} for user in (b"friend", b"foe")}
        assert verdicts == {b"friend": {YES, UNAVAILABLE}, b"foe": {NO, UNAVAILABLE}}
        assert there.pool.figures.late > 20
