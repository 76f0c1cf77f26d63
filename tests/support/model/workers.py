"""The two kinds of workers the model runs with, each before a `Program`: in memory, and the real one on real pipes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import trio

from bridge.pool.pool import Pool
from bridge.protocol import frames
from bridge.protocol.frames import may_become_reply
from bridge.protocol.query import Query
from bridge.worker.spawn import Process
from bridge.worker.state import Fault, State
from bridge.worker.worker import Owner, Worker
from support.inmemory.pools import InMemoryWorker
from support.model.programs import Frame, Program

_FIRST_PID = 1 << 22
"""Above any that Linux gives to a process: nothing here is one."""

_pids = itertools.count(_FIRST_PID)


if TYPE_CHECKING:
    _Worker = Worker
else:
    _Worker = object


class Watch(Protocol):
    """Told what workers do, before they do it."""

    def handing(self, program: Program, query: Query) -> None: ...

    def handed(self, program: Program, frame: Frame) -> None: ...

    def killing(self, program: Program, reason: str) -> None: ...


class _Played(_Worker):
    """What any worker does is told to its program, and to whoever watches both."""

    program: Program
    watch: Watch

    def hand_over(self, query: Query) -> bool:
        self.watch.handing(self.program, query)
        done = super().hand_over(query)
        if self.query is query:
            self.watch.handed(self.program, self.program.handed(query))
        return done

    def kill(self, reason: str, fault: Fault = Fault.INTERNAL) -> None:
        self.watch.killing(self.program, reason)
        super().kill(reason, fault)

    def signal(self, number: int) -> None:
        if self.state is not State.GONE:
            self.program.signalled(number)

    def close_stdin(self) -> None:
        super().close_stdin()
        self.program.input_ended()


class InMemory(_Played, InMemoryWorker):
    """A worker in memory.  It tells a reply that was written before the question was read, as the real one does."""

    def __init__(self, pool: Pool, program: Program, watch: Watch, nursery: trio.Nursery) -> None:
        super().__init__(_owner(pool), _waits, nursery, lambda: None)
        self.program, self.watch = program, watch
        self._part = b""
        program.ends = self

    # --- the program's side ------------------------------------------------------------------------------

    def read(self) -> bytes | None:
        try:
            query = self._frames.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return None
        self._is_unread = False
        return query.body

    def write(self, data: bytes) -> None:
        is_unread = self._is_unread
        self.program.world.when_seen(lambda: self._written(data, is_unread))

    def _written(self, data: bytes, is_unread: bool) -> None:
        self._is_unread = self._is_unread or is_unread  # when it was written
        data, self._part = self._part + data, b""
        query = self.query
        if query is not None and not self._is_unread and may_become_reply(data) and len(data) < 4:
            self._part = data
            return
        self.say(data)

    def complain(self, data: bytes) -> None:
        """Only a real program has a stderr."""

    def exit(self, status: int) -> None:
        self.status = status
        self._scope.cancel()


class OnPipes(_Played, Worker):
    """The real worker.  Only the process is missing: the other ends of its pipes are the program's."""

    def __init__(self, pool: Pool, program: Program, watch: Watch, nursery: trio.Nursery) -> None:
        self.program, self.watch = program, watch
        ends = PipeEnds()
        program.ends = ends
        super().__init__(ends.process, pool.reactor, _owner(pool), pool.settings.max_line, frames)


class NoProcess(Process):
    """What a worker waits for, and does not signal.

    Attributes:
      status: how it ended.
    """

    __slots__ = ("status",)

    def wait(self) -> int:
        return self.status


class PipeEnds:
    """A program's ends of its pipes.

    Attributes:
      process: what the worker has of it, and closes.
    """

    def __init__(self) -> None:
        self._stdin, stdin = os.pipe()
        stdout, self._stdout = os.pipe()
        stderr, self._stderr = os.pipe()
        exited = os.eventfd(0, os.EFD_NONBLOCK)
        self._exited = os.dup(exited)
        for descriptor in (stdin, stdout, stderr, self._stdin):
            os.set_blocking(descriptor, False)
        self.process = NoProcess(next(_pids), exited, stdin, stdout, stderr)

    def read(self) -> bytes | None:
        head = os.read(self._stdin, 2)
        return os.read(self._stdin, int.from_bytes(head)) if head else None

    def write(self, data: bytes) -> None:
        os.write(self._stdout, data)

    def complain(self, data: bytes) -> None:
        os.write(self._stderr, data)

    def close_input(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def exit(self, status: int) -> None:
        self.process.status = status
        self.close_input()
        os.close(self._stdout)
        os.close(self._stderr)
        os.eventfd_write(self._exited, 1)
        os.close(self._exited)


Launch = Callable[[Pool, Program, Watch, trio.Nursery], Any]


def _owner(pool: Pool) -> Owner:
    return pool


async def _waits(program: InMemoryWorker) -> int | None:
    """A program that the test plays."""
    await trio.sleep_forever()
    return 0
