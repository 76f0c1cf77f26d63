"""Clients on real pipes, sockets and terminals, in front of a pool that only records; the test moves the clock.

No program is asked here: `Desk` keeps the queries, and a test settles them as it likes.
"""

import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from typing import Any, cast

from bridge.clients.budget import Budget
from bridge.clients.lockstep import LockstepSession
from bridge.clients.pipelined import PipelinedSession
from bridge.clients.reception import Reception, Session
from bridge.clients.tagged import TaggedSession
from bridge.loop.reactor import Reactor
from bridge.loop.streams import Borrowed, borrow, connected, owned
from bridge.pool.pool import Pool
from bridge.pool.router import Router
from bridge.protocol.query import Query, Verdict
from bridge.terminal.gate import Gate
from bridge.terminal.watcher import Look, Watcher
from support.clock import Clock
from support.inmemory.pools import made

PATIENCE = 20.0
"""Seconds; reached only by a test that fails."""

YES, NO, UNAVAILABLE = Verdict.GRANTED, Verdict.DENIED, Verdict.UNAVAILABLE


class Desk:
    """A pool as a Router sees it, which keeps the queries.

    Attributes:
      asked: every query, in order.
      verdict: given at once, if it is set.
      left: clients that were said to be gone.
    """

    def __init__(self) -> None:
        program = made().program
        assert program is not None
        self.program = program
        self.asked: list[Query] = []
        self.verdict: Verdict | None = None
        self.left: list[object] = []

    def ask(self, queries: Sequence[Query]) -> None:
        self.asked.extend(queries)
        if self.verdict is not None:
            for query in queries:
                query.settle(self.verdict)

    def withdraw(self, asker: object) -> None:
        """Nothing waits here: every query is with a program."""
        self.left.append(asker)

    @property
    def lines(self) -> list[bytes]:
        return [query.body for query in self.asked]


class Eyes:
    """A Watcher that sees what the test says; the last look is repeated for ever."""

    def __init__(self, *looks: Look) -> None:
        self.looks = list(looks) or [Look.WAITING]
        self.times = 0
        self.sees = True

    def look(self) -> Look:
        self.times += 1
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def show(self, *looks: Look) -> None:
        self.looks[:] = looks

    def describe(self) -> str:
        return "scripted"

    @property
    def watcher(self) -> Watcher:
        return cast("Watcher", self)


class Client:
    """One session and the other ends of its streams.

    Attributes:
      to, of: descriptors the client writes to and reads from.
      source, sink: the session's own.
      ends: the same, as streams.
      over: how often the session said that it is over.
    """

    def __init__(self, to: int, of: int, **changes: object) -> None:
        self.to, self.of = to, of
        self.clock = Clock()
        self.reactor = Reactor(clock=self.clock)
        self.desk = Desk()
        self.settings = made(**changes)
        self.router = Router(self.settings, self.clock)
        self.router.connect(self.settings, cast("Pool", self.desk), {})
        self.over = 0
        self.session: Any = None

    def pipelined(self, source: Borrowed, sink: Borrowed, budget: Budget | None = None) -> None:
        session = PipelinedSession(source, sink, self.router, self.reactor, self._over, budget=budget)
        self._take(source, sink, session)

    def tagged(self, source: Borrowed, sink: Borrowed, budget: Budget | None = None) -> None:
        """Begin behind the client's first line, whose answer has been read."""
        self._take(source, sink, TaggedSession(source, sink, self.router, self.reactor, self._over, budget))
        self.run_once()
        assert self.got() == b"1\n"

    def received(self, source: Borrowed, sink: Borrowed) -> None:
        """Let the client's first line decide, as in a daemon."""
        budget = Budget()
        reception = Reception(source, sink, self.router, self.reactor, self._over, self._served, budget)
        self._take(source, sink, reception)

    def _served(self, session: Session) -> None:
        self.session = session

    def lockstep(self, source: Borrowed, sink: Borrowed, gate: Gate | None) -> None:
        self._take(source, sink, LockstepSession(source, sink, self.router, self.reactor, self._over, gate))

    def borrowing(self, source: int, sink: int, kind: str) -> None:
        """Begin with a session on descriptors that stay the caller's."""
        ends = borrow(source, os.O_RDONLY), borrow(sink, os.O_WRONLY)
        begin = {"lockstep": self._alone, "pipelined": self.pipelined, "tagged": self.tagged, "any": self.received}
        begin[kind](*ends)

    def _alone(self, source: Borrowed, sink: Borrowed) -> None:
        self.lockstep(source, sink, gate=None)

    def _take(self, source: Borrowed, sink: Borrowed, session: Reception | Session) -> None:
        self.source, self.sink = source.descriptor, sink.descriptor
        self.ends = source, sink
        self.session = session

    def _over(self) -> None:
        self.over += 1

    @property
    def is_quiet(self) -> bool:
        """Whether the reactor has nothing to do, once it has done what there was."""
        self.run_once()
        return not self._is_due()

    def _is_due(self) -> bool:
        waiting = select.poll()
        waiting.register(self.reactor.fileno(), select.POLLIN)
        return bool(waiting.poll(0)) or self.reactor.pause() == 0.0

    # --- what the client does ----------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Write, and wait until all of it has come to the session, which has not been told of it yet."""
        there = unread(self.source) + len(data)
        os.write(self.to, data)
        until = time.monotonic() + PATIENCE
        while unread(self.source) < there:  # a terminal passes it on in its own time
            assert time.monotonic() < until, "the terminal lost bytes"
            select.select([], [], [], 0.0005)

    def send_some(self, data: bytes) -> int:
        """Write what there is room for, and say how much; raises BlockingIOError if there is none."""
        return os.write(self.to, data)

    def run_once(self) -> None:
        """Let the session handle what there is; more than a slice of it, should the machine be busy."""
        for _ in range(50):
            self.reactor.run_once()
            if not self._is_due():
                break

    def says(self, data: bytes) -> None:
        """Send, and let the session handle it."""
        self.send(data)
        self.run_once()

    def wait(self, seconds: float) -> None:
        """Time passes, and the session's timer rings whenever it is due; bytes are heard of when it has passed."""
        until = self.clock.now + seconds
        while (first := self.reactor._timers.first) <= until:
            self.clock.now = max(self.clock.now, first)
            self.reactor._ring()
        self.clock.now = until
        self.run_once()

    def end_input(self) -> None:
        """Close only the side that is written to."""
        self._end(self.to, socket.SHUT_WR)

    def end_output(self) -> None:
        """Close only the side that is read from."""
        self._end(self.of, socket.SHUT_RD)

    def _end(self, descriptor: int, half: int) -> None:
        if self.to != self.of:
            os.close(descriptor)
            return
        with socket.socket(fileno=os.dup(descriptor)) as stream:
            stream.shutdown(half)

    def got(self) -> bytes:
        """Everything the client can read now."""
        data = b""
        with contextlib.suppress(BlockingIOError, OSError):
            while piece := os.read(self.of, 65536):
                data += piece
        return data

    def settle(self, number: int, verdict: Verdict = YES) -> None:
        """The pool has decided about its query of this number."""
        self.desk.asked[number].settle(verdict)
        self.run_once()


def unread(descriptor: int) -> int:
    """Bytes that can be read without waiting."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0])


@contextlib.contextmanager
def on_pipes(*, kind: str = "pipelined", **changes: object) -> Iterator[Client]:
    """A client on two pipes; its kind is a session's, or `any` if its first line is to decide."""
    (source, to), (of, sink) = os.pipe(), os.pipe()
    os.set_blocking(of, False)
    with _client(Client(to, of, **changes)) as client:
        client.borrowing(source, sink, kind)
        os.close(source)
        os.close(sink)
        yield client


@contextlib.contextmanager
def on_socket(
    *,
    kind: str = "pipelined",
    pair: tuple[socket.socket, socket.socket] | None = None,
    **changes: object,
) -> Iterator[Client]:
    """A client on one stream socket, the second of `pair`."""
    ours, theirs = pair or socket.socketpair()
    theirs.setblocking(False)
    other = theirs.detach()
    with ours, _client(Client(other, other, **changes)) as client:
        client.borrowing(ours.fileno(), ours.fileno(), kind)
        ours.close()
        yield client


@contextlib.contextmanager
def on_connection(budget: Budget | None = None, kind: str = "pipelined", **changes: object) -> Iterator[Client]:
    """A client of the daemon, which has a `budget` for all of them; its kind is `pipelined` or `tagged`."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    other = theirs.detach()
    with _client(Client(other, other, **changes)) as client:
        begin = client.tagged if kind == "tagged" else client.pipelined
        begin(*connected(ours), budget=budget)
        yield client


@contextlib.contextmanager
def on_terminal(eyes: Eyes, **changes: object) -> Iterator[Client]:
    """A lockstep client on a program's terminal, in raw mode, watched by `eyes`."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(slave, False)
    os.set_blocking(master, False)
    with _client(Client(master, master, **changes)) as client:
        client.lockstep(owned(slave), owned(os.dup(slave)), Gate(eyes.watcher))
        yield client


@contextlib.contextmanager
def _client(client: Client) -> Iterator[Client]:
    try:
        yield client
    finally:
        client.session.close()
        client.reactor.close()
        for descriptor in {client.to, client.of}:
            with contextlib.suppress(OSError):  # closed by the test
                os.close(descriptor)
