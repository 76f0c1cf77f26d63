"""A real worker and one in memory, to be put through the same scenes."""

import math
import select
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import trio

from bridge.loop.reactor import Reactor
from bridge.protocol import frames
from bridge.protocol.query import Query, StandIn, Verdict
from bridge.worker.spawn import start
from bridge.worker.state import State
from bridge.worker.stderrlines import Lines
from bridge.worker.worker import Worker
from support.inmemory.pools import AUTH, InMemoryWorker, Play

PATIENCE = 20.0
PROGRAM = """
import os, signal, sys

def frame():
    head = os.read(0, 2)
    return len(head) == 2 and os.read(0, head[0] << 8 | head[1])

def say(data): os.write(1, data)

GRANTED, DENIED = b"\\0\\2\\0\\1", b"\\0\\2\\0\\0"
"""


class Owner:
    """Records what it is told.

    Attributes:
      queries: those that were replied to.
    """

    def __init__(self) -> None:
        self.events: list[object] = []
        self.queries: list[Query] = []

    def replied(self, worker: Worker, query: Query, verdict: Verdict) -> None:
        self.queries.append(query)
        self.events.append(("replied", query.body, verdict, worker.query, worker.served))

    def retired(self, worker: Worker) -> None:
        self.events.append(("retired", worker.state))

    def replies_in_pieces(self) -> None:
        """No program here writes in pieces."""

    def failing(self, worker: Worker, reason: str) -> None:
        self.events.append("failing")

    def ended(self, worker: Worker, query: Query | None, was_read: bool) -> None:
        body = query.body if query else None
        self.events.append(("ended", body, was_read if query else None, worker.status, worker.state, worker.query))

    def complained(self, worker: Worker, lines: Lines) -> None:
        """Only a real program has a stderr."""

    def may_not_kill(self, worker: Worker) -> None:
        """No program here changes its user."""

    def settled(self, query: Query) -> None:
        """Nothing to do: the tests look at the query."""


class Real:
    """A real program: a piece of Python after PROGRAM."""

    def __init__(self, code: str) -> None:
        self.owner = Owner()
        self.reactor = Reactor()
        process = start((sys.executable, "-I", "-S", "-B", "-c", PROGRAM + code), "/", {})
        self.worker = Worker(process, self.reactor, self.owner, 4096, frames)

    async def until(self, done: Callable[[], object]) -> None:
        waiting = select.poll()
        waiting.register(self.reactor.fileno(), select.POLLIN)
        until = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < until, self.owner.events
            waiting.poll(100)
            self.reactor.run_once()


class InMemory:
    """A worker in memory, which behaves as `play` does."""

    def __init__(self, play: Play, nursery: trio.Nursery) -> None:
        self.owner = Owner()
        self.worker = cast("Worker", InMemoryWorker(cast("Any", self.owner), play, nursery, lambda: None))

    async def until(self, done: Callable[[], object]) -> None:
        with trio.fail_after(PATIENCE):
            while not done():
                await trio.lowlevel.checkpoint()


Kind = Real | InMemory


def give(actor: Kind, body: bytes = AUTH) -> Query:
    query = Query(body, math.inf, actor.owner)
    assert actor.worker.give(query)
    assert actor.worker.query is query
    return query


def watched(actor: Kind) -> None:
    """Also record what its supervisor waits for."""
    worker, events = actor.worker, actor.owner.events
    worker.retirement.then(lambda: events.append("retirement"))
    worker.end.then(lambda: events.append("end"))


def is_stand_in(there: Query | None, query: Query) -> bool:
    """Whether it takes the place of `query`."""
    return isinstance(there, StandIn) and there.of is query and there.body == query.body


GOOD = "while frame(): say(GRANTED)"
RETIRED = [("retired", State.RETIRED), "retirement"]
FAILED = [*RETIRED, "failing"]


def end(body: bytes | None = None, was_read: bool | None = None, status: int = 0) -> list[object]:
    return [("ended", body, was_read, status, State.GONE, None), "end"]
