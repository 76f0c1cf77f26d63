"""Programs without processes: what a Pool and its Supervisor see of a Worker, played by a coroutine on trio's clock.

    async def one_answer(program):          # a play: what one program does, from its start to its exit
        await program.frame()
        program.say(GRANTED)
        return 1                            # exit status

    async with bench(plays=one_answer, pool_size=2) as pool:
        answer = pool.ask()
        await answer.done()

Time is the autojump clock's: these tests wait for hours in milliseconds.  tests/contract/test_worker_twin.py puts
`InMemoryWorker` and the real Worker through the same scenes, to check that they behave alike.
"""

import contextlib
import itertools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple, cast

import pytest
import trio
import trio.testing

from bridge.config.load import load
from bridge.config.settings import Settings
from bridge.loop.reactor import Reactor
from bridge.pool.pool import Pool
from bridge.pool.starts import Starts
from bridge.pool.supervisor import Supervisor
from bridge.protocol.frames import DENIED, GRANTED
from bridge.protocol.query import Query, StandIn, Verdict
from bridge.worker.latch import Latch
from bridge.worker.state import Fault, State, after
from bridge.worker.worker import Owner, Worker

Play = Callable[["InMemoryWorker"], Awaitable[int | None]]

AUTH, SETPASS = b"auth:alice:example.com:hunter2", b"setpass:alice:example.com:hunter2"
REPLIES = {GRANTED: Verdict.GRANTED, DENIED: Verdict.DENIED}
PATIENCE = 24 * 3600.0
"""Virtual seconds: reached only by a test that fails."""

_pids = itertools.count(1001)


class InMemoryWorker:
    """A Worker's public side over a coroutine.

    Attributes (besides those of a Worker):
      born: when it was started.
      ignores: signals that do nothing; SIGKILL only for a process the kernel itself cannot end.
      signals: those that were sent, with their times.
      input_closed: when the program's stdin was closed, or None.
      ended_at: when the process was gone, or None.
    """

    def __init__(self, owner: Owner, play: Play, nursery: trio.Nursery, changed: Callable[[], None]) -> None:
        self.pid = next(_pids)
        self.state = State.ASKABLE
        self.query: Query | None = None
        self.served = 0
        self.milestone: float = 1
        self.blamed: Query | None = None
        self.careful = True
        self.fault = Fault.ENDED
        self.status = 0
        self.retirement = Latch()
        self.end = Latch()
        self.born = trio.current_time()
        self.ignores: set[int] = set()
        self.signals: list[tuple[float, int]] = []
        self.input_closed: float | None = None
        self.ended_at: float | None = None
        self._owner = owner
        self._changed = changed
        self._deaf = False
        self._is_unread = False
        self._previous: Query | None = None
        self._frames_in, self._frames = trio.open_memory_channel[Query](1)
        self._scope = trio.CancelScope()
        nursery.start_soon(self._run, play)

    # --- the program's side ------------------------------------------------------------------------------

    async def frame(self) -> bytes | None:
        """Read one question; None at end of input."""
        try:
            query = await self._frames.receive()
        except trio.EndOfChannel:
            return None
        self._is_unread = False
        return query.body

    def say(self, data: bytes) -> None:
        """Write on stdout."""
        query, verdict = self.query, REPLIES.get(data)
        if self.state is not State.ASKABLE:
            return
        if query is None or self._is_unread:
            self.blamed = self._previous if verdict is not None else None
            self.kill("it wrote bytes nobody asked for")
        elif verdict is None:
            self.blamed = query if data[:4] in REPLIES and data[4:] in REPLIES else None
            self.kill("it wrote something that is not a reply")
        else:
            self.query, self._previous = None, query
            self.served += 1
            cast("Pool", self._owner).replied(cast("Worker", self), query, verdict)

    def close_input(self) -> None:
        """The program closes its stdin and lives on."""
        self._deaf = True

    async def _run(self, play: Play) -> None:
        with self._scope:
            self.status = await play(self) or 0
        self._retire("it ended")
        query, self.query = self.query, None
        self.state = after(self.state, State.GONE)
        self.ended_at = trio.current_time()
        self._close()
        self._changed()
        self._owner.ended(cast("Worker", self), query, query is None or not self._is_unread)
        self.end.set()

    # --- the bridge's side -------------------------------------------------------------------------------

    def give(self, query: Query) -> bool:
        return self.state is State.ASKABLE and self.hand_over(query)

    def hand_over(self, query: Query) -> bool:
        if self._deaf or self.state is State.GONE:
            self.kill("its stdin cannot be written")
            return False
        self._frames_in.send_nowait(query)
        self.query, self._is_unread = query, True
        return True

    def close_stdin(self) -> None:
        self._retire()
        self._close()

    def signal(self, number: int) -> None:
        if self.state is State.GONE:
            return
        self.signals.append((trio.current_time(), number))
        if number not in self.ignores:
            self.status = -number
            self._scope.cancel()

    def kill(self, reason: str, fault: Fault = Fault.INTERNAL) -> None:
        if self.state is State.ASKABLE:
            self.fault = fault
        try:
            self._retire(reason)
        finally:
            self.signal(signal.SIGKILL)

    def failed(self, error: Exception) -> None:
        self.kill("internal error")

    def release(self) -> Query | None:
        query = self.query
        if query is not None and query.verdict is None:
            self.query = StandIn(query.body, query)
        return query

    def was_read(self) -> bool:
        return self.query is None or not self._is_unread

    def reap(self, seconds: float) -> None:
        self._retire()
        self.signal(signal.SIGKILL)

    def _retire(self, reason: str = "") -> None:
        before, self.state = self.state, after(self.state, State.RETIRED)
        if self.state is not before:
            self._changed()
            self._owner.retired(cast("Worker", self))
            self.retirement.set()
            if reason:
                self._owner.failing(cast("Worker", self), reason)

    def _close(self) -> None:
        self._frames_in.close()
        if self.input_closed is None:
            self.input_closed = trio.current_time()


# --- plays -----------------------------------------------------------------------------------------------


def answers(seconds: float = 0.0, reply: bytes = GRANTED) -> Play:
    """Answers every question after this many seconds; exits at end of input."""

    async def play(program: InMemoryWorker) -> int | None:
        while await program.frame() is not None:
            await trio.sleep(seconds)
            program.say(reply)
        return 0

    return play


def lives(seconds: float, status: int = 1) -> Play:
    """Lives for this many seconds, reads nothing, and exits."""

    async def play(program: InMemoryWorker) -> int | None:
        await trio.sleep(seconds)
        return status

    return play


async def hangs(program: InMemoryWorker) -> int | None:
    """Reads, and never answers; exits at end of input."""
    while await program.frame() is not None:
        pass
    return 0


async def dies_reading(program: InMemoryWorker) -> int | None:
    """Its first question kills it."""
    await program.frame()
    return 1


async def stays(program: InMemoryWorker) -> int | None:
    """Answers, and ignores the end of its input."""
    await answers()(program)
    await trio.sleep_forever()
    return 0


# --- errors of ours ---------------------------------------------------------------------------------------


def fail_once(patch: pytest.MonkeyPatch, owner: object, name: str) -> list[MemoryError]:
    """Have the method of this `name` raise at its first call; returns the error, until it was raised."""
    method, faults = getattr(owner, name), [MemoryError()]

    def fail_at_first(*arguments: object) -> object:
        if faults:
            raise faults.pop()
        return method(*arguments)

    patch.setattr(owner, name, fail_at_first)
    return faults


# --- the bench -------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """How many programs are alive at one moment, and how many of them may be asked."""

    at: float
    alive: int
    usable: int


class Answer:
    """One question and its outcome; fails if it is answered twice."""

    def __init__(self) -> None:
        self.asked = trio.current_time()
        self.at = -1.0
        self.query: Query | None = None
        self.then: Callable[[], None] = _nothing
        self._event = trio.Event()

    def settled(self, query: Query) -> None:
        assert not self._event.is_set(), "settled twice"
        self.at = trio.current_time()
        self._event.set()
        self.then()

    @property
    def is_there(self) -> bool:
        return self._event.is_set()

    @property
    def verdict(self) -> Verdict:
        assert self.is_there and self.query is not None
        return self.query.verdict

    @property
    def seconds(self) -> float:
        assert self.is_there
        return self.at - self.asked

    async def done(self) -> "Answer":
        with trio.fail_after(PATIENCE):
            await self._event.wait()
        return self


class Bench:
    """A pool, its supervisor, its timer, and programs that follow `plays`.

    Attributes:
      plays: by the number of the start, from 0; the last goes on for ever.  An OSError is a start that fails.
      programs: every one that was started, in order.
      started: when each start was tried.
      changes: how many programs there were, whenever that changed.
      called: when the pool called for its supervisor.
    """

    def __init__(
        self, nursery: trio.Nursery, settings: Settings, plays: Sequence[Play | OSError | MemoryError]
    ) -> None:
        assert settings.program is not None
        self.plays = list(plays)
        self.programs: list[InMemoryWorker] = []
        self._alive: list[InMemoryWorker] = []  # of these, without those that were gone when it was last looked at
        self.started: list[float] = []
        self.changes: list[Change] = []
        self.called: list[float] = []
        self.nursery = nursery
        self.clock = trio.current_time
        self.reactor = Reactor(clock=self.clock)
        self.starter = Reactor(clock=self.clock)  # which nobody drives where a test is to start programs
        self.starts = Starts(self.starter.call_at, self.clock)
        launch = cast("Any", self._launch)
        self.pool = Pool(
            "default", settings.program, settings, self.reactor, self.starts, self._call_supervisor, launch
        )
        self.supervisor = Supervisor(self.pool)

    @property
    def alive(self) -> list[InMemoryWorker]:
        self._alive = [program for program in self._alive if program.state is not State.GONE]
        return [*self._alive]

    def ask(self, body: bytes = AUTH, *, timeout: float = 4.0) -> Answer:
        """Ask as a session does."""
        answer = Answer()
        answer.query = Query(body, self.clock() + timeout, answer)
        self.pool.ask([answer.query])
        return answer

    def keep(self) -> None:
        """Start the programs and then the supervisor, as the service does."""
        self.pool.staff.plan()
        self.starts.start_at_once()
        self.nursery.start_soon(drive, self.starter)
        self.nursery.start_soon(self.supervisor.run)

    def fill(self) -> None:
        """Start `pool_size` programs, and leave it at that."""
        for _ in range(self.pool.program.pool_size):
            self.pool.staff.start()

    def _call_supervisor(self, pool: Pool) -> None:
        self.called.append(self.clock())
        self.supervisor.look()

    def _launch(self, pool: Pool) -> InMemoryWorker:
        play = self.plays[min(len(self.started), len(self.plays) - 1)]
        self.started.append(self.clock())
        if isinstance(play, OSError | MemoryError):
            raise play
        program = InMemoryWorker(pool, play, self.nursery, self._count)
        self.programs.append(program)
        self._alive.append(program)
        self._count()
        return program

    def _count(self) -> None:
        usable = sum(program.state is State.ASKABLE for program in self.alive)
        self.changes.append(Change(self.clock(), len(self.alive), usable))


def made(*argv: str, **changes: object) -> Settings:
    """Settings as `load` makes them, with these keys and this program."""
    return load(None, changes, argv or ["/program"])


@contextlib.asynccontextmanager
async def bench(
    plays: Play | OSError | Sequence[Play | OSError | MemoryError], *, keeping: bool = True, **changes: object
) -> AsyncIterator[Bench]:
    """A pool at work, in virtual time; `keeping=False` leaves starting programs to the test.

    A key that is None has its default.
    """
    several = plays if isinstance(plays, Sequence) else [plays]
    async with trio.open_nursery() as nursery:
        keys = {"pool_size": 1, "pool_max": 64, **changes}
        there = Bench(nursery, made(**{key: value for key, value in keys.items() if value is not None}), several)
        nursery.start_soon(drive, there.reactor)
        if keeping:
            there.keep()
            await trio.testing.wait_all_tasks_blocked()
        yield there
        nursery.cancel_scope.cancel()
    there.reactor.close()
    there.starter.close()


async def drive(reactor: Reactor) -> None:
    """As the service does it, in virtual time, and a hair late as with real clocks: what is early by a rounding error
    would stay so for ever.
    """
    turns, since = 0, trio.current_time()
    while True:
        with trio.move_on_after(reactor.pause() + 1e-7):
            await trio.lowlevel.wait_readable(reactor.fileno())
        reactor.run_once()
        if trio.current_time() > since + 0.01:
            turns, since = 0, trio.current_time()
        turns += 1
        assert turns < 50_000, "it does not come to rest"


def _nothing() -> None:
    pass
