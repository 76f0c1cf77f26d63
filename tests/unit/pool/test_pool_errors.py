"""An error of ours costs a pool no query and no program's place; nor does one of whoever asked."""

import contextlib
from collections.abc import Callable

import pytest
import trio
from support.inmemory.pools import Answer, answers, bench, dies_reading, fail_once, hangs

from bridge.protocol.query import Query, Verdict
from bridge.worker.worker import Worker


class Fault(Exception):
    """Its text is a secret."""


class BadAsker(Answer):
    """Raises when a query is settled; may first withdraw everything it has asked."""

    def __init__(self, withdraw: Callable[[object], None] | None = None) -> None:
        super().__init__()
        self.told: list[Query] = []
        self.errors: list[Exception] = []
        self.withdraw = withdraw

    def settled(self, query: Query) -> None:
        self.told.append(query)
        raise Fault

    def failed(self, error: Exception) -> None:
        self.errors.append(error)
        if self.withdraw is not None:
            self.withdraw(self)


@pytest.mark.parametrize("play", [answers(0.01), hangs, dies_reading], ids=["answers", "times out", "dies"])
@pytest.mark.parametrize("withdraws", [False, True])
async def test_a_pool_does_not_mind_who_fails_over_a_verdict(autojump_clock, play, withdraws: bool) -> None:
    async with bench([play, answers(0.01)], pool_size=1) as there:
        bad = BadAsker(there.pool.withdraw if withdraws else None)
        queries = [Query(b"setpass:a:h:x", there.clock() + 4.0, bad) for _ in range(20)]
        there.pool.ask(queries)
        good = [there.ask(timeout=9.0) for _ in range(5)]
        for one in good:
            await one.done()
        with trio.fail_after(60):
            while len(bad.told) < 20:
                await trio.sleep(0.1)
        assert [type(error) for error in bad.errors] == [Fault] * 20
        assert bad.told and {*map(id, bad.told)} == {*map(id, queries)}, "each is told once"
        assert [one.verdict for one in good] == [Verdict.GRANTED] * 5
        assert not there.pool.in_flight
        assert there.pool.staff.usable in (1, 2), "perhaps with a spare"


async def test_a_pool_s_own_error_does_not_lose_the_query_of_a_dead_program(autojump_clock, monkeypatch) -> None:
    """Only the pool knows of it, and its client would wait for ever."""
    async with bench(dies_reading) as there:

        def fail(_queries: object) -> None:
            raise MemoryError

        monkeypatch.setattr(there.pool.waiting, "add", fail)
        answer = there.ask()
        worker = there.programs[0]
        worker._owner = Suppressing(there.pool)
        await answer.done()
        assert answer.verdict is Verdict.UNAVAILABLE


class Suppressing:
    """A pool as a worker on a reactor sees it: what it raises goes elsewhere."""

    def __init__(self, pool: object) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> object:
        method = getattr(self._pool, name)

        def call(*arguments: object) -> object:
            with contextlib.suppress(MemoryError):
                return method(*arguments)
            return None

        return call


async def test_no_memory_to_start_a_program_is_a_start_that_failed(autojump_clock) -> None:
    async with bench([MemoryError(), MemoryError(), answers()]) as there:  # type: ignore[list-item]
        assert not there.pool.staff.hopeless
        await trio.sleep(5.0)
        answer = there.ask()
        await answer.done()
        assert answer.verdict is Verdict.GRANTED


async def test_a_new_program_that_cannot_be_asked_is_replaced(autojump_clock, monkeypatch) -> None:
    async with bench(answers(), keeping=False) as there:
        fail_once(monkeypatch, there.pool.staff, "employ")
        there.keep()
        answer = there.ask()
        await answer.done()
        assert answer.verdict is Verdict.GRANTED
        assert len(there.programs) == 2


async def test_an_error_while_a_program_is_killed_for_time_loses_neither_its_query_nor_its_place(
    autojump_clock, monkeypatch
) -> None:
    async with bench([hangs, answers()]) as there:
        reported: list[Exception] = []
        there.reactor.report = reported.append
        failing = there.pool.failing
        errors = [MemoryError()]

        def fail_once(worker: Worker, reason: str) -> None:
            if errors:
                raise errors.pop()
            failing(worker, reason)

        monkeypatch.setattr(there.pool, "failing", fail_once)
        late = await there.ask(b"setpass:alice:example.com:new").done()
        assert late.verdict is Verdict.UNAVAILABLE
        assert late.seconds == pytest.approx(4.0)
        await trio.sleep(2.0)
        assert [type(error) for error in reported] == [MemoryError]
        again = there.ask()
        await again.done()
        assert again.verdict is Verdict.GRANTED


async def test_an_error_over_the_overload_s_line_loses_no_query(autojump_clock, monkeypatch) -> None:
    async with bench(answers(1.2), pool_max=1) as there:
        there.reactor.report = lambda _: None
        await there.ask().done()
        await there.ask().done()
        errors = [MemoryError()]

        def fail_once(*_: object) -> None:
            if errors:
                raise errors.pop()

        monkeypatch.setattr("bridge.pool.overload.log.warning", fail_once)
        asked = [there.ask() for _ in range(3)]
        await trio.sleep(0.3)
        there.pool.service_time.note(2.0, 4.0)
        await trio.sleep(30.0)
        assert all(answer.is_there for answer in asked)
