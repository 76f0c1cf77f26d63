"""Whatever fails in a pool, once or for a while: no query is lost, no program's place, and no error is met for ever."""

import contextlib
import inspect
import itertools
import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest
from support.clock import Clock
from support.inmemory.pools import made
from support.model.workers import PipeEnds

import bridge.pool
from bridge.loop.reactor import Reactor
from bridge.pool.pool import Pool
from bridge.pool.starts import Starts
from bridge.protocol import frames
from bridge.protocol.query import Query, Verdict
from bridge.worker.state import State
from bridge.worker.worker import Worker

STEP = 0.05
"""Seconds."""

LATE = 1.0 + 0.1 + 3 * STEP
"""Seconds after its deadline in which a query ends at the latest: a timer's action that raised is tried again."""

TURNS = 100
"""Times that the reactor may be driven without any time passing."""

SHORT, LONG = 2.0, 12.0
"""Seconds in which questions come while something fails."""

ELSEWHERE = {"descriptors", "poolset", "proof", "router", "supervisor"}
"""Modules that are not the pool's own."""

SAFE = {
    *("give_up", "time_out", "refuse", "settled"),  # they settle the query first of all
    *(
        "ahead",
        "elsewhere",
        "once_more",
        "_last",
        "_start_for",
        "_joined",
    ),  # they have the query, and do this for whatever they call
    *("ended", "retired", "discard", "_forget", "_forget_asker", "_look_ahead", "_tidy_up"),  # need no memory to begin
}
"""Not made to fail: what they call is."""

ENDS = {"close", "withdraw", "take_all_of", "all_of", "__init__", "__repr__"}
"""What is called as something begins or ends."""


def functions() -> Iterator[tuple[type, str]]:
    """Whatever a pool calls of its own, and of its programs."""
    for module in pkgutil.iter_modules(bridge.pool.__path__, "bridge.pool."):
        if module.name.rpartition(".")[2] not in ELSEWHERE:
            for _, owner in inspect.getmembers(import_module(module.name), inspect.isclass):
                if owner.__module__ == module.name:
                    for name, value in vars(owner).items():
                        if inspect.isfunction(value) and name not in SAFE | ENDS:
                            yield owner, name
    for name in ("_is_silent", "_retire", "release", "was_read", "kill", "close_stdin"):
        yield Worker, name


class Fault:
    """Has a function raise.

    Attributes:
      calls: how often it was called since the fault was armed.
      until: when it ends, at the latest.
    """

    def __init__(self, owner: type, name: str, patch: pytest.MonkeyPatch, clock: Clock) -> None:
        self.calls = 0
        self.until = 0.0
        self._first, self._clock = 0, clock
        function = vars(owner)[name]

        def call(*arguments: object, **keywords: object) -> object:
            self.calls += 1
            if self.calls >= self._first and clock() < self.until:
                if self._is_single:
                    self.until = 0.0
                raise MemoryError(function.__qualname__)
            return function(*arguments, **keywords)

        patch.setattr(owner, name, call)

    def arm(self, first: int, seconds: float = 0.0) -> None:
        """Have call number `first` from now on fail, and all others for so many seconds."""
        self.calls, self._first, self._is_single = 0, first, not seconds
        self.until = self._clock() + (seconds or float("inf"))


class Client:
    """Asks once, and is gone if that raises.

    Attributes:
      open: its queries that have no verdict.
    """

    def __init__(self, twice: list[Query]) -> None:
        self.open: set[Query] = set()
        self.is_gone = False
        self._twice = twice

    def settled(self, query: Query) -> None:
        if query in self.open:
            self.open.remove(query)
        elif not self.is_gone:
            self._twice.append(query)

    def failed(self, error: Exception) -> None:
        raise AssertionError from error


class Program(Worker):
    """Reads a step later, and answers another step later, unless its question tells it otherwise."""

    def __init__(self, pool: Pool, starts: int) -> None:
        self.starts = starts
        self.ends = PipeEnds()
        self.frame: bytes | None = None
        self.alive = True
        super().__init__(self.ends.process, pool.reactor, pool, pool.settings.max_line, frames)

    def step(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if self.starts:
                self.starts -= 1
            elif self.frame is None:
                self.frame = self.ends.read()
                if self.frame is None:
                    self.signal(0)
            elif b"dies" in self.frame:
                self.signal(9)
            elif b"slow" in self.frame:
                self.frame = self.frame.replace(b"slow", b"", 1)
            elif b"hangs" not in self.frame:
                self.frame = None
                self.ends.write(b"\0\2\0\1")

    def signal(self, number: int) -> None:
        if self.alive:
            self.alive = False
            self.ends.exit(-number)


class Site:
    """A pool, its clients and its programs, on a clock of its own."""

    def __init__(self, clock: Clock) -> None:
        self.errors: list[Exception] = []
        self.clock = clock
        self.fault_ended = 0.0
        self.reactor = Reactor(self.errors.append, self.clock)
        settings = made(pool_size=2, pool_max=4, answer_timeout=4, start_timeout=6)
        assert settings.program is not None
        self.started = 0
        self.programs: list[Program] = []
        starts = Starts(self.reactor.call_at, self.clock, self.errors.append)
        self.pool = Pool("default", settings.program, settings, self.reactor, starts, lambda _: None, self._launch)
        self.pool.staff.plan()
        self.clients: list[Client] = []
        self.told_twice: list[Query] = []

    def _launch(self, pool: Pool) -> Worker:
        self.started += 1
        if self.started % 7 == 6:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.programs.append(Program(pool, 30 if self.started % 3 == 0 else 0))
        return self.programs[-1]

    def ask(self, *bodies: bytes) -> list[Query]:
        client = Client(self.told_twice)
        queries = [Query(body, self.clock() + 4.0, client, "192.0.2.1" if b"a" in body else "") for body in bodies]
        client.open.update(queries)
        try:
            self.pool.ask(queries)
        except MemoryError:
            client.is_gone = True
            self.pool.withdraw(client)
        else:
            self.clients.append(client)
        return queries

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.clock.now += STEP
            self.programs = [program for program in self.programs if program.alive]
            for program in self.programs:
                program.step()
            for turn in itertools.count():
                assert turn < TURNS, "it does not come to rest"
                self.reactor.run_once()
                if self.reactor.pause() > 0:
                    break
            self.clients = [client for client in self.clients if client.open]
            for query in itertools.chain.from_iterable(client.open for client in self.clients):
                assert self.clock() < max(query.deadline, self.fault_ended) + LATE, "lost"
            assert not self.told_twice

    def crowd(self, seconds: float) -> None:
        """All kinds of questions, so that everything in a pool has something to do."""
        ends = self.clock() + seconds
        for number in itertools.count():
            if self.clock() >= ends:
                break
            user = b"user%d:h" % (number % 5)
            self.ask(b"auth:%s:secret" % user, b"isuser:" + user, b"isuser:" + user, b"setpass:%s:new" % user)
            self.ask(b"isuser:carol:h", b"setpass:carol:h:new")
            if number % 8 == 1:
                self.ask(b"auth:eve:h:hangs")
            self.ask(b"auth:eve:h:hunter2%d" % number)
            if number % 8 == 3:
                self.ask(b"isuser:dies%d:h" % (number % 2), b"setpass:dies:h:hunter2")
            if number % 16 == 5:
                self.ask(*[b"auth:user%d:h:%s" % (other, b"slow" * 10) for other in range(50)])
            self.run(0.3)

    def check(self) -> None:
        """Everything is as it should be when nobody asks."""
        self.run(9.0)
        assert self.pool.in_flight == 0
        assert not self.pool.waiting and not self.pool.waiting.hurried
        ready = [worker for worker in self.pool.workers if worker.state is State.ASKABLE]
        idle = [*self.pool.idle]
        assert len({*idle}) == len(idle)
        busy = [worker for worker in ready if worker.query is not None]
        assert {*idle} | {*busy} == {*ready}
        assert self.pool.staff.usable == len(ready)
        (query,) = self.ask(b"auth:alice:h:hunter2")
        self.run(3.0)
        assert query.verdict is Verdict.GRANTED

    def close(self) -> None:
        for worker in [*self.pool.workers]:
            worker.reap(0.0)
        self.reactor.close()


FUNCTIONS = {f"{owner.__name__}.{name}": (owner, name) for owner, name in functions()}


@contextlib.contextmanager
def site(*faults: str) -> Iterator[tuple[Site, dict[str, Fault]]]:
    """A site, and faults in these functions that may be armed."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        there = {name: Fault(*FUNCTIONS[name], patch, clock) for name in faults}
        site = Site(clock)
        try:
            site.run(1.0)
            yield site, there
        finally:
            for fault in there.values():
                fault.until = 0.0
            site.close()


def test_one_fault_after_the_other() -> None:
    with site(*FUNCTIONS) as (there, faults):
        for name, fault in faults.items():
            print(name)  # the last one before a failure
            fault.arm(1)
            there.crowd(SHORT)
            fault.until = 0.0
        there.check()
        assert len(there.errors) > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_fault(name: str) -> None:
    for first, seconds in [(1, 0.0), (10, 0.0), (1, 3.0)]:
        with site(name) as (there, faults):
            faults[name].arm(first, seconds)
            there.fault_ended = there.clock() + seconds
            there.crowd(LONG)
            if faults[name].calls < first:
                break
            there.check()


def test_no_fault() -> None:
    with site(*FUNCTIONS) as (there, faults):
        there.crowd(LONG)
        there.check()
        assert not there.errors
        assert sum(fault.calls > 0 for fault in faults.values()) > 120, "the others are called by nobody here"
