"""Which pool starts a program next: one at a time, those that clients wait for first, the rest not too often."""

import os
from collections.abc import Iterator

import pytest
import trio
from support.inmemory.pools import Bench, answers, bench, drive, hangs, lives

from bridge.daemon.service import drive as drive_in_trio
from bridge.loop.reactor import Reactor
from bridge.loop.timer import FOREVER
from bridge.pool.starts import AT_ONCE, Starts
from bridge.protocol.query import Verdict

MISSING = FileNotFoundError(2, "No such file or directory")


class Pools:
    """Pools by name, each with a number of programs to start; those started are in `started`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reactor = Reactor(clock=lambda: self.now)
        self.starts = Starts(self.reactor.call_at, lambda: self.now)
        self.started: list[str] = []

    def pool(self, name: str, due: int = 1, pressing: bool = False) -> "FakePool":
        pool = FakePool(name, due, pressing, self.started)
        self.starts.plan(pool, self.now)
        return pool

    def run(self, until: float) -> None:
        """Drive them until then, at each time the timer is set to."""
        while (when := self.now + self.reactor.pause()) <= until:
            self.now = when
            self.reactor.run_once()
        self.now = until


class FakePool:
    def __init__(self, name: str, due: int, pressing: bool, started: list[str]) -> None:
        self.name, self.due, self.pressing = name, due, pressing
        self._started = started

    def start_due(self) -> bool:
        if self.due:
            self.due -= 1
            self._started.append(self.name)
        return self.due > 0


@pytest.fixture
def pools() -> Iterator[Pools]:
    there = Pools()
    yield there
    there.reactor.close()


def test_one_at_a_time(pools: Pools) -> None:
    pools.pool("a", due=3)
    for count in (1, 2, 3):
        pools.reactor.run_once()
        assert len(pools.started) == count
    pools.reactor.run_once()
    assert pools.reactor.pause() == FOREVER


def test_pools_take_turns(pools: Pools) -> None:
    for name in "abc":
        pools.pool(name, due=2)
    pools.run(pools.now)
    assert pools.started == [*"abcabc"]


def test_where_somebody_waits_is_first(pools: Pools) -> None:
    for name in "abc":
        pools.pool(name)
    pools.pool("d", due=2, pressing=True)
    pools.run(pools.now)
    assert pools.started == [*"ddabc"]


def test_one_that_is_asked_overtakes_all_that_are_not(pools: Pools) -> None:
    crowd = [pools.pool("nobody") for _ in range(1000)]
    pools.run(pools.now)
    assert len(pools.started) == AT_ONCE
    crowd[-1].name, crowd[-1].pressing = "asked", True
    pools.starts.hasten(crowd[-1])
    pools.run(pools.now)
    assert pools.started[AT_ONCE:] == ["asked"]


def test_nobody_asks_for_thousands(pools: Pools) -> None:
    for _ in range(10_000):
        pools.pool("nobody", due=9)
    pools.run(pools.now + 60.0)
    assert AT_ONCE + 500 <= len(pools.started) <= AT_ONCE + 601


def test_a_thousand_that_are_asked_wait_for_no_token(pools: Pools) -> None:
    for _ in range(1000):
        pools.pool("asked", pressing=True)
    pools.run(pools.now)
    assert len(pools.started) == 1000


def test_not_before_its_time(pools: Pools) -> None:
    pool = pools.pool("a")
    pools.run(pools.now)
    pool.due = 1
    pools.starts.plan(pool, pools.now + 5.0)
    pools.run(pools.now + 4.9)
    assert pools.started == ["a"]
    pools.run(pools.now + 0.1)
    assert pools.started == ["a", "a"]


def test_a_crowd_does_not_keep_the_time_of_another(pools: Pools) -> None:
    """Its timer would fire ten times a second, except for one that is due in between."""
    for _ in range(1000):
        pools.pool("nobody")
    pools.run(pools.now)
    later = FakePool("later", 1, True, pools.started)
    pools.starts.plan(later, pools.now + 0.01)
    pools.run(pools.now + 0.02)
    assert pools.started[-1] == "later"


def test_before_the_first_look_at_events_only_so_many(pools: Pools) -> None:
    pools.pool("a", due=10_000, pressing=True)
    pools.starts.start_at_once()
    assert len(pools.started) == AT_ONCE


async def test_everybody_has_a_turn_between_starts(monkeypatch) -> None:
    """A reactor that always has events, and a pool that has lost all its programs.

    In each pass of trio one program is started and the events are handled.
    """
    monkeypatch.setattr("bridge.loop.reactor.SLICE", 0.004)
    reactor = Reactor()
    starts = Starts(reactor.call_at, reactor.clock)
    said: list[str] = []
    pool = FakePool("start", 64, True, said)
    event = os.eventfd(1)
    reactor.watch(event, lambda: said.append("event"))
    starts.plan(pool, reactor.clock())
    try:
        with trio.fail_after(60.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drive_in_trio, reactor)
                while pool.due:
                    await trio.sleep(0.001)
                nursery.cancel_scope.cancel()
    finally:
        reactor.close()
        os.close(event)
    assert said.count("start") == 64
    assert "start start start" not in " ".join(said)


# --- real pools ------------------------------------------------------------------------------------------


async def test_a_pool_that_died_at_work_is_complete_again_at_once(autojump_clock) -> None:
    async with bench(answers(0.1), pool_size=64, pool_max=64) as there:
        for answer in [there.ask() for _ in range(64)]:
            await answer.done()
        for program in [*there.alive]:
            program.signal(9)
        await trio.sleep(0.1)
        assert len(there.alive) == 64


async def test_a_pool_whose_programs_had_not_been_asked_is_complete_once_one_has_answered(autojump_clock) -> None:
    """Most of them died before they gave a reply: perhaps none can start."""
    async with bench(answers(), pool_size=64, pool_max=64) as there:
        await there.ask().done()
        for program in [*there.alive]:
            program.signal(9)
        await trio.sleep(0.05)
        assert len(there.alive) < 4
        assert (await there.ask().done()).verdict is Verdict.GRANTED
        await trio.sleep(0.1)
        assert len(there.alive) == 64


async def test_a_question_has_its_pool_tried_again_before_all_others(autojump_clock) -> None:
    async with bench([*[MISSING] * 4, answers()], pool_size=1, keeping=False) as there:
        crowd_out(there)
        there.pool.staff.plan()
        there.nursery.start_soon(drive, there.starter)
        await trio.sleep(1.0)
        assert there.started == []
        first = there.ask()
        assert (await first.done()).verdict is Verdict.UNAVAILABLE, "tried at least twice, in vain"
        assert first.seconds < 0.11
        assert len(there.started) >= 2
        await trio.sleep(1.0)
        second = there.ask()
        assert (await second.done()).verdict is Verdict.GRANTED


async def test_a_question_waits_for_a_start_that_is_overdue(autojump_clock) -> None:
    """A program that was missing at the last try may exist by now, and is tried before the question is given up."""
    async with bench([MISSING, answers()], pool_size=1, keeping=False) as there:
        crowd_out(there)
        there.fill()
        await trio.sleep(60.0)
        there.nursery.start_soon(drive, there.starter)
        answer = there.ask()
        assert (await answer.done()).verdict is Verdict.GRANTED
        assert answer.seconds < 0.1


def crowd_out(there: Bench) -> None:
    """Put ten thousand pools before this one that nobody asks."""
    for _ in range(10_000):
        there.starts.plan(FakePool("nobody", 9, False, []), there.clock())
    there.starts.start_at_once()


async def test_a_pool_says_when_it_has_its_first_program(autojump_clock) -> None:
    async with bench([MISSING, lives(5.0), hangs], pool_size=1, keeping=False) as there:
        there.keep()
        assert there.called == [0.0]
        await trio.sleep(10.0)
        assert there.called == [0.0, pytest.approx(5.0, abs=0.2)]
