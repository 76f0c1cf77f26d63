"""One real program under one real Worker, and everything the Worker reports."""

import math
import os
import select
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import procfs
from support.inmemory.pools import Play
from support.inmemory.twins import InMemory, Kind, Real
from support.process import MARK
from support.programs.bad import Journal

from bridge.loop.reactor import Reactor
from bridge.protocol import frames
from bridge.protocol.codec import Codec
from bridge.protocol.query import Query, Verdict
from bridge.worker.spawn import start
from bridge.worker.state import State
from bridge.worker.stderrlines import Lines
from bridge.worker.worker import Worker

PATIENCE = 20.0
"""Seconds; reached only by a test that fails."""

AUTH = b"auth:alice:example.com:pw-alice"


class Ended:
    """How a program ended, as its worker reported it."""

    def __init__(self, query: Query | None, was_read: bool) -> None:
        self.query = query
        self.was_read = was_read


class Stage:
    """The owner of one Worker.

    Attributes:
      events: what the worker reported, by name, in order.
      verdicts: of the replies.
      reasons: why it failed.
      ended_with: what the worker reported at its end.
      stderr: lines the program wrote there, as they would be logged.
      pauses: when it had written too much to stderr.
      clock: the workers'; seconds.
      codec: what the programs speak.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.mark = uuid.uuid4().hex
        self.reactor = Reactor()
        self.events: list[str] = []
        self.verdicts: list[Verdict] = []
        self.reasons: list[str] = []
        self.stderr: list[str] = []
        self.pauses: list[float] = []
        self.ended_with: Ended | None = None
        self.workers: list[Worker] = []
        self.codec: Codec = frames

    @property
    def clock(self) -> Callable[[], float]:
        return self.reactor.clock

    @clock.setter
    def clock(self, clock: Callable[[], float]) -> None:
        self.reactor.clock = clock

    @property
    def worker(self) -> Worker:
        return self.workers[-1]

    def start(self, argv: Sequence[str], max_line: int = 4096) -> Worker:
        process = start(argv, "/", {**self.journal.environment, MARK: self.mark})
        worker = Worker(process, self.reactor, self, max_line, self.codec)
        worker.end.then(lambda: self.events.append("gone"))
        self.workers.append(worker)
        return worker

    # --- what the worker reports -------------------------------------------------------------------------

    def replied(self, worker: Worker, query: Query, verdict: Verdict) -> None:
        assert worker.query is None
        self.events.append("replied")
        self.verdicts.append(verdict)
        query.settle(verdict)

    def retired(self, worker: Worker) -> None:
        assert worker.state is not State.ASKABLE
        self.events.append("retired")

    def replies_in_pieces(self) -> None:
        self.worker.careful = True

    def failing(self, worker: Worker, reason: str) -> None:
        self.events.append("failing")
        self.reasons.append(reason)

    def ended(self, worker: Worker, query: Query | None, was_read: bool) -> None:
        assert worker.state is State.GONE
        self.events.append("ended")
        self.ended_with = Ended(query, was_read)

    def complained(self, worker: Worker, lines: Lines) -> None:
        self.stderr += map(str, lines)

    def may_not_kill(self, worker: Worker) -> None:
        self.events.append("may not kill")

    def settled(self, query: Query) -> None:
        """Nothing to do: the tests look at the query."""

    # --- what a test does --------------------------------------------------------------------------------

    def query(self, body: bytes = AUTH) -> Query:
        return Query(body, time.monotonic() + PATIENCE, self)

    def give(self, body: bytes = AUTH) -> Query:
        query = self.query(body)
        assert self.worker.give(query)
        assert self.worker.query is query
        return query

    def until(self, done: Callable[[], object]) -> None:
        """Handle events until `done` is true."""
        waiting = select.poll()
        waiting.register(self.reactor.fileno(), select.POLLIN)
        until = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < until, f"it never happened: {self.events} {self.reasons}"
            waiting.poll(20)  # the journal, which some wait for, tells nobody
            self.reactor.run_once()
            for worker in self.workers:
                paused = worker._stderr._pause.when - 0.25
                if paused < math.inf and paused not in self.pauses:
                    self.pauses.append(paused)

    def until_gone(self) -> Ended:
        self.until(lambda: self.worker.state is State.GONE)
        assert self.ended_with is not None
        return self.ended_with

    def ask(self, body: bytes = AUTH) -> Verdict:
        """One question and its reply."""
        count = len(self.verdicts)
        self.give(body)
        self.until(lambda: len(self.verdicts) > count)
        return self.verdicts[-1]

    def until_noted(self, *kinds: str) -> list[int]:
        """Wait until programs have noted such an event; returns their pids."""
        self.until(lambda: self.journal.pids(*kinds))
        return self.journal.pids(*kinds)

    def close(self) -> None:
        for worker in self.workers:
            if worker.state is not State.GONE:
                worker.reap(PATIENCE)
        self.reactor.close()

    def survivors(self) -> list[int]:
        """Programs and their children that are still there."""
        return procfs.having(MARK, self.mark)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "events")


@pytest.fixture
def stage(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage; after the test no process, zombie or descriptor may be left."""
    monkeypatch.chdir(os.getcwd())
    before = set(os.listdir("/proc/self/fd"))
    others = {child.pid for child in procfs.children(os.getpid())}  # of a test that failed
    stage = Stage(journal)
    yield stage
    stage.close()
    until = time.monotonic() + PATIENCE
    while survivors := stage.survivors():
        if time.monotonic() > until:
            for pid in survivors:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"{len(survivors)} processes were left behind")
        select.select([], [], [], 0.01)
    assert {child.pid for child in procfs.children(os.getpid())} <= others
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.fixture(params=["real", "in memory"])
async def actors(request, nursery, monkeypatch) -> Any:
    """Makes workers of one kind: `make(code, play)`."""
    monkeypatch.chdir(os.getcwd())
    made: list[Real] = []

    def make(code: str, play: Play) -> Kind:
        if request.param == "in memory":
            return InMemory(play, nursery)
        made.append(Real(code))
        return made[-1]

    yield make
    for real in made:
        if real.worker.state is not State.GONE:
            real.worker.reap(PATIENCE)
        real.reactor.close()
