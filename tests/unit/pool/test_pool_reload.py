"""A reload, with real programs: unchanged ones go on, new ones start first, replaced ones drain."""

import os
import select
import time
from collections.abc import Callable, Iterator

import attrs
import pytest
import trio
from support import procfs
from support.inmemory.pools import made
from support.programs.bad import CHAMELEON, habit

from bridge.config.settings import ProgramSettings, Settings
from bridge.pool.pool import Pool
from bridge.pool.poolset import DEFAULT, PoolSet
from bridge.pool.supervisor import Supervisor
from bridge.protocol.query import REFUSED, Query, Verdict

PATIENCE = 20.0
LONG = 60.0
YES = Verdict.GRANTED
GOOD = habit("good")
SLOW = b"auth:slow200-alice:example.com:pw-slow200-alice"
AUTH = b"auth:alice:example.com:pw-alice"


class Asker:
    def settled(self, query: Query) -> None:
        """Nothing to do: the tests look at the query."""


class Works:
    """A PoolSet, and what drives it."""

    def __init__(self, settings: Settings) -> None:
        self.poolset = PoolSet(settings)
        self.apply(settings)

    def apply(self, settings: Settings) -> tuple[list[Pool], list[Pool]]:
        """Put `settings` in force, and let all programs start; the new pools and the replaced ones."""
        change = self.poolset.prepare(settings)
        replaced = self.poolset.adopt(change)
        self.poolset.starts.start_at_once()
        return [*change.new.values()], replaced

    def ask(self, line: bytes = AUTH) -> Query:
        (query,) = self.poolset.router.ask([line], Asker())
        return query

    def until(self, done: Callable[[], object]) -> None:
        waiting = select.poll()
        waiting.register(self.poolset.reactor.fileno(), select.POLLIN)
        until = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < until
            waiting.poll(20)
            self.poolset.reactor.run_once()

    def answer(self, line: bytes = AUTH) -> Verdict:
        query = self.ask(line)
        self.until(lambda: query.settled)
        return query.verdict


@pytest.fixture
def works(monkeypatch) -> Iterator[Callable[[Settings], Works]]:
    monkeypatch.chdir(os.getcwd())
    monkeypatch.setattr("bridge.pool.poolset._REAP", PATIENCE)  # on a busy machine the killed take their time
    before = set(os.listdir("/proc/self/fd"))
    others = {child.pid for child in procfs.children(os.getpid())}  # of another test
    there: list[Works] = []

    def make(settings: Settings) -> Works:
        there.append(Works(settings))
        return there[-1]

    yield make
    for each in there:
        each.poolset.close()
    assert {child.pid for child in procfs.children(os.getpid())} <= others
    assert set(os.listdir("/proc/self/fd")) <= before


def of(*argv: str, **changes: object) -> Settings:
    """With time for programs that start on a busy machine."""
    return made(*argv, **{"answer_timeout": LONG, **changes})


def plain(**changes: object) -> Settings:
    return of(*CHAMELEON, pool_size=2, **changes)


def with_program(settings: Settings, **changes: object) -> Settings:
    assert settings.program is not None
    return attrs.evolve(settings, program=attrs.evolve(settings.program, **changes))


def pids(pool: Pool) -> set[int]:
    return {worker.pid for worker in pool.workers}


def test_the_same_program_goes_on(works) -> None:
    there = works(plain(env={"A": "1"}))
    pool = there.poolset.pools[DEFAULT]
    before = pids(pool)
    assert there.apply(plain(env={"A": "1"}, answer_timeout=LONG / 2, window=7, max_requests=9)) == ([], [])
    assert there.poolset.pools == {DEFAULT: pool}
    assert pids(pool) == before
    assert pool.settings.max_requests == 9
    assert there.answer() is YES


@pytest.mark.parametrize(
    "changes",
    [
        {"argv": GOOD},
        {"env": {"A": "2"}},
        {"cwd": "/tmp"},
        {"pool_size": 3},
        {"commands": frozenset({"auth"})},
    ],
    ids=str,
)
def test_whatever_makes_it_another_program_replaces_it(works, changes: dict[str, object]) -> None:
    there = works(plain(env={"A": "1"}))
    old = there.poolset.pools[DEFAULT]
    new, replaced = there.apply(with_program(plain(env={"A": "1"}), **changes))
    assert replaced == [old]
    assert new == [there.poolset.pools[DEFAULT]]
    assert new[0] is not old
    assert there.poolset.draining == {old}
    assert len(new[0].workers) == new[0].program.pool_size, "it is there before the old one goes"
    assert len(old.workers) == 2
    assert there.answer() is YES


def test_what_was_asked_of_the_old_one_is_answered_by_it(works) -> None:
    there = works(plain())
    old = there.poolset.pools[DEFAULT]
    asked = [there.ask(SLOW) for _ in range(3)]
    assert old.in_flight == 3
    there.apply(of(*habit("denies"), pool_size=1))
    assert there.answer() is Verdict.DENIED
    there.until(lambda: not old.in_flight)
    assert [query.verdict for query in asked] == [YES] * 3


def test_time_runs_out_for_what_drains_as_well(works) -> None:
    there = works(plain(answer_timeout=0.3))
    query = there.ask(b"auth:hang-alice:example.com:x")
    there.apply(made(*GOOD, pool_size=1))
    there.until(lambda: query.settled)
    assert query.verdict is Verdict.UNAVAILABLE


def test_a_shorter_time_counts_for_what_is_in_flight(works) -> None:
    there = works(plain())
    query = there.ask(b"auth:hang-alice:example.com:x")
    there.apply(plain(answer_timeout=0.3))
    there.until(lambda: query.settled)
    assert query.verdict is Verdict.UNAVAILABLE


def test_hosts_come_and_go(works) -> None:
    settings = plain()
    other = ProgramSettings(
        argv=habit("denies"),
        pool_size=1,
        pool_max=1,
        commands=frozenset({"auth"}),
        cwd="/",
        env={},
        probe="",
        protocol="ejabberd",
    )
    there = works(settings)
    default = there.poolset.pools[DEFAULT]
    line = b"auth:alice:other.example:pw-alice"
    assert there.answer(line) is YES

    new, replaced = there.apply(attrs.evolve(settings, hosts={"other.example": other}))
    assert [pool.name for pool in new] == ["other.example"]
    assert replaced == []
    assert there.answer(line) is Verdict.DENIED
    assert there.ask(b"isuser:alice:other.example") is REFUSED
    assert there.answer() is YES

    there.apply(attrs.evolve(settings, program=None, hosts={"other.example": other}))
    assert there.ask(AUTH) is REFUSED
    assert there.poolset.draining == {default}
    assert there.answer(line) is Verdict.DENIED

    new, _ = there.apply(settings)
    assert new == [there.poolset.pools[DEFAULT]]
    assert there.answer(line) is YES


def test_what_waits_is_handed_over_if_it_is_one_line_to_programs_that_read_lines(works) -> None:
    """It passed the checks for a program that reads frames."""
    settings = plain()
    there = works(settings)
    pool = there.poolset.pools[DEFAULT]
    for number in range(pool.program.pool_max):
        there.ask(f"auth:hang-{number}:example.com:x".encode())
    two_lines = there.ask("auth:eve:example.com:x\u2028isuser:alice:example.com".encode())
    too_long = there.ask(AUTH + b"x" * 1000)
    fine = there.ask()
    assert not (two_lines.settled or too_long.settled or fine.settled)
    (new,) = there.poolset.prepare(with_program(settings, protocol="generic")).new.values()
    pool.hand_over(new)
    assert (two_lines.verdict, too_long.verdict) == (Verdict.UNAVAILABLE, Verdict.UNAVAILABLE)
    assert fine in new.waiting


def test_one_that_cannot_be_started_does_not_stop_a_reload(works) -> None:
    there = works(plain())
    there.apply(made("/nowhere/program", pool_size=1))
    assert there.answer() is Verdict.UNAVAILABLE
    there.apply(plain())
    assert there.answer() is YES


def test_nothing_is_left_of_many_reloads(works) -> None:
    """The fixture counts processes and descriptors."""
    there = works(plain())
    for number in range(6):
        there.ask(SLOW)
        there.apply(plain(env={"A": str(number)}))
    there.poolset.close()
    there.poolset = PoolSet(plain())


async def test_a_replaced_pool_is_stopped_as_any_other(works) -> None:
    there = works(plain())
    old = there.poolset.pools[DEFAULT]
    there.apply(of(*GOOD, pool_size=1))
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drive, there)
            await Supervisor(old).stop()
            nursery.cancel_scope.cancel()
    assert old.workers == {}
    assert there.answer() is YES


async def _drive(there: Works) -> None:
    while True:
        await trio.lowlevel.wait_readable(there.poolset.reactor.fileno())
        there.poolset.reactor.run_once()


def test_the_summary_counts(works) -> None:
    there = works(plain())
    there.answer()
    assert there.poolset.summary().startswith("2 of 2 programs up, 0 in flight, 1 answered")
    assert not there.poolset.is_overdue()


def test_who_leaves_after_a_reload_takes_back_what_waits_for_the_old_programs(works) -> None:
    """Above all one that would change something: nobody would be told."""
    settings = made(*habit("silent"), pool_size=1)
    there = works(settings)
    asker = Asker()
    queries = there.poolset.router.ask([AUTH, b"setpass:alice:example.com:new"], asker)
    there.apply(with_program(settings, env={"A": "2"}))
    there.poolset.router.withdraw(asker, queries)
    assert [query.settled for query in queries] == [False, True], "the first one is with a program"
