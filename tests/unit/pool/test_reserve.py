"""After a reload the old programs answer what the new ones do not, until one of these has shown that it does."""

import pytest
import trio
from support.inmemory.plays import MISSING, after
from support.inmemory.pools import AUTH, SETPASS, Answer, InMemoryWorker, Play, answers, dies_reading, hangs, made
from support.inmemory.reloads import Reloading, reloading

from bridge.protocol.frames import GRANTED
from bridge.protocol.query import Verdict

OLD = made("/old", pool_size=2)


def starts_in(seconds: float) -> Play:
    """A program that reads nothing before that."""

    async def play(program: InMemoryWorker) -> int:
        await trio.sleep(seconds)
        while await program.frame() is not None:
            program.say(GRANTED)
        return 0

    return play


def notes(heard: list[bytes]) -> Play:
    """A program that grants everything, and notes what it was asked."""

    async def play(program: InMemoryWorker) -> int:
        while (body := await program.frame()) is not None:
            heard.append(body)
            program.say(GRANTED)
        return 0

    return play


PLAYS: dict[str, Play | OSError] = {"/old": answers(), "/slow": starts_in(6.0), "/hangs": hangs, "/dies": dies_reading}


async def ask_steadily(there: Reloading, seconds: float) -> list[Answer]:
    """Ten questions a second, and their answers."""
    asked = []
    for _ in range(round(seconds * 10)):
        asked.append(there.ask())
        await trio.sleep(0.1)
    return [await answer.done() for answer in asked]


async def test_a_program_that_starts_slowly_costs_nobody_anything(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        await there.ask().done()
        assert await there.reload(made("/slow", pool_size=2)) == "", "it lived for a second, unasked"
        asked = await ask_steadily(there, 10.0)
        assert {answer.verdict for answer in asked} == {Verdict.GRANTED}
        assert max(answer.seconds for answer in asked) < 0.5
        assert there.alive("/old") == 0, "the new ones have answered"
        assert there.alive("/slow") == 2


async def test_a_change_waits_for_a_new_one(autojump_clock, monkeypatch) -> None:
    """It would be lost if the new ones have another database."""
    async with reloading(monkeypatch, OLD, {**PLAYS, "/starts": starts_in(2.5)}) as there:
        await there.ask().done()
        assert await there.reload(made("/starts", pool_size=2)) == ""
        served = [program.served for program in there.programs["/old"]]
        change = there.ask(SETPASS)
        new = there.ask()
        assert (await new.done()).verdict is Verdict.GRANTED
        asked = await ask_steadily(there, 2.0)
        assert {answer.verdict for answer in asked} == {Verdict.GRANTED}
        assert (await change.done()).verdict is Verdict.GRANTED
        assert change.seconds > 0.5
        assert sum(program.served for program in there.programs["/starts"]) >= 2
        assert sum(program.served for program in there.programs["/old"]) > sum(served)


async def test_if_nobody_asks_the_old_ones_go_when_any_start_is_over(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        await there.ask().done()
        assert await there.reload(made("/slow", pool_size=2, start_timeout=30.0)) == ""
        await trio.sleep(25.0)
        assert there.alive("/old") == 2
        await trio.sleep(10.0)
        assert there.alive("/old") == 0


@pytest.mark.parametrize("new", ["/hangs", "/dies"])
async def test_as_long_as_no_new_one_answers_the_old_ones_do(autojump_clock, monkeypatch, new: str) -> None:
    """Also while the new pool is down, and waits before it starts a program again."""
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        await there.ask().done()
        assert await there.reload(made(new, pool_size=2, start_timeout=5.0)) == ""
        asked = [there.ask(b"auth:user%d:example.com:hunter2" % number) for number in range(3)]
        asked += await ask_steadily(there, 60.0)
        assert {(await answer.done()).verdict for answer in asked} == {Verdict.GRANTED}
        assert there.alive("/old") >= 2


async def test_a_further_reload_leaves_the_old_ones_that_answer(autojump_clock, monkeypatch) -> None:
    """The first reload was a mistake, and the second one mends it."""
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        await there.ask().done()
        assert await there.reload(made("/hangs", pool_size=2)) == ""
        asked = await ask_steadily(there, 2.0)
        assert await there.reload(made("/slow", pool_size=2)) == ""
        asked += await ask_steadily(there, 10.0)
        assert {answer.verdict for answer in asked} == {Verdict.GRANTED}
        assert (there.alive("/old"), there.alive("/hangs"), there.alive("/slow")) == (0, 0, 2)


async def test_who_waits_for_a_new_one_is_not_refused_because_the_old_ones_are_down(
    autojump_clock, monkeypatch
) -> None:
    """The reload is what mends that."""
    async with reloading(monkeypatch, OLD, {**PLAYS, "/starts": starts_in(2.5)}) as there:
        await there.ask().done()
        there.plays["/old"] = MISSING
        for program in there.programs["/old"]:
            program.kill("gone")
        assert await there.reload(made("/starts", pool_size=2)) == ""
        started = there.programs["/starts"][0].born
        asked = there.ask()
        after(started + 2.5 - asked.asked, Verdict.GRANTED, await asked.done())


async def test_old_ones_are_asked_nothing_that_they_may_not_be_asked(autojump_clock, monkeypatch) -> None:
    heard: list[bytes] = []
    before = made("/old", pool_size=2, commands=["auth"])
    async with reloading(monkeypatch, before, {**PLAYS, "/old": notes(heard)}) as there:
        await there.ask().done()
        assert await there.reload(made("/slow", pool_size=2, commands=["auth", "setpass"])) == ""
        change, login = there.ask(SETPASS), there.ask()
        assert (await login.done()).verdict is Verdict.GRANTED
        await change.done()
        assert heard == [AUTH, AUTH]


async def test_a_new_one_that_had_to_be_alone_is_not_asked_what_waited_and_is_not_allowed_any_more(
    autojump_clock, monkeypatch
) -> None:
    heard: list[bytes] = []
    before = made("/old", pool_size=1, pool_max=1)
    async with reloading(monkeypatch, before, {**PLAYS, "/new": notes(heard)}) as there:
        await there.ask().done()
        there.file = made("/new", pool_size=1, pool_max=1, commands=["auth"])
        reload = there.request()
        await trio.sleep(0.5)
        change, login = there.ask(SETPASS), there.ask()
        assert await reload.told() == ""
        assert (await change.done()).verdict is Verdict.UNAVAILABLE
        assert (await login.done()).verdict is Verdict.GRANTED
        assert heard == [AUTH]


async def test_a_pool_that_was_replaced_is_not_said_to_be_down(autojump_clock, monkeypatch, logged: list[str]) -> None:
    """Its last questions may hang; nothing would say that it is back."""
    async with reloading(monkeypatch, OLD, {**PLAYS, "/new": answers()}) as there:
        (old,) = there.poolset.pools.values()
        assert await there.reload(made("/new", pool_size=2)) == ""
        old.is_down("no program answers")
        assert not [line for line in logged if "pool is down" in line]
        (new,) = there.poolset.pools.values()
        new.is_down("no program answers")
        assert [line for line in logged if "pool is down" in line]
