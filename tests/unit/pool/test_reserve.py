"""After a reload the old programs answer what the new ones do not, until one of these has shown that it does."""

import pytest
import trio
from support.inmemory.pools import AUTH, SETPASS, Answer, InMemoryWorker, Play, answers, hangs, made
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


PLAYS: dict[str, Play | OSError] = {"/old": answers(), "/slow": starts_in(6.0), "/hangs": hangs}


async def ask_steadily(there: Reloading, seconds: float, body: bytes = AUTH) -> list[Answer]:
    """Ten questions a second, and their answers."""
    asked = []
    for _ in range(round(seconds * 10)):
        asked.append(there.ask(body))
        await trio.sleep(0.1)
    return [await answer.done() for answer in asked]


@pytest.mark.parametrize("body", [AUTH, SETPASS])
async def test_a_program_that_starts_slowly_costs_nobody_anything(autojump_clock, monkeypatch, body: bytes) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        await there.ask().done()
        assert await there.reload(made("/slow", pool_size=2)) == "", "it lived for a second, unasked"
        asked = await ask_steadily(there, 10.0, body)
        assert {answer.verdict for answer in asked} == {Verdict.GRANTED}
        assert max(answer.seconds for answer in asked) < 0.5
        if body is AUTH:  # a change proves no program while there is another
            assert there.alive("/old") == 0, "the new ones have answered"
        assert there.alive("/slow") == 2


async def test_if_nobody_asks_the_old_ones_go_when_any_start_is_over(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        await there.ask().done()
        assert await there.reload(made("/slow", pool_size=2, start_timeout=30.0)) == ""
        await trio.sleep(25.0)
        assert there.alive("/old") == 2
        await trio.sleep(10.0)
        assert there.alive("/old") == 0


async def test_as_long_as_no_new_one_answers_the_old_ones_do(autojump_clock, monkeypatch) -> None:
    async with reloading(monkeypatch, OLD, PLAYS) as there:
        await there.ask().done()
        assert await there.reload(made("/hangs", pool_size=2, start_timeout=5.0)) == ""
        asked = await ask_steadily(there, 60.0)
        assert {answer.verdict for answer in asked} == {Verdict.GRANTED}
        assert there.alive("/old") >= 2
