"""One program, one query at a time.

  - A frame is written whole, with one write, and only to a program that has answered the one before.
  - Exactly four bytes are a reply, and only while a query is with the program.  Anything else is a protocol
    error, and a program that made one is killed: what it says next could belong to anything.
  - A reply, or the first bytes of one, that was written before the query's frame was taken out of the pipe is no answer
    to it, but a second one to the query before (`pipes` says how this is known): a protocol error.  A "no", too: once
    taken for an answer, it would have every later answer of that program belong to the query before.
  - An idle program's output is looked at before it gets a query, and reads ask for more than four bytes: a
    second reply that is already there is seen.
  - What became of a query that was with a program when it ended is only said once the process is gone, and
    says whether the frame had been read at all: one that nobody read was never asked.
  - A program is always ended with its whole process group.
  - An error in here ends the program, and nobody else: its query is asked again or unavailable, as for any death.

The pool that owns a worker hears of everything; the worker itself decides nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Protocol

from bridge.log.events import describe
from bridge.log.text import escaped
from bridge.loop.reactor import ARRIVING, Reactor
from bridge.loop.timer import FOREVER
from bridge.protocol.checks import command_of
from bridge.protocol.frames import header, may_become_replies, may_become_reply, verdict_of
from bridge.protocol.query import Query, Verdict
from bridge.worker.latch import Latch
from bridge.worker.spawn import Process
from bridge.worker.state import State, after
from bridge.worker.stderr import Asked, Stderr
from bridge.worker.stderrlines import Lines, StderrLines
from bridge.worker.stdinpipe import StdinPipe

_REPLY_READ = 256
"""Bytes: more than a reply has, so that anything behind it is seen, and as much of a PHP warning as the log shows.
Asking for more than 400 takes a tenth more time for each reply, since Python gets so large a buffer elsewhere."""


_read, _write, _READY = os.read, os.write, State.READY  # looked up once

_SHOWN = 120
"""Characters of a protocol error that the log shows: enough to recognise a PHP warning by."""


class Owner(Protocol):
    """Whoever lends the worker out: the pool."""

    def replied(self, worker: Worker, query: Query, verdict: Verdict) -> None:
        """The program answered well; it is free again."""

    def retired(self, worker: Worker) -> None:
        """The program may not be asked any more; called once for each."""

    def replies_in_pieces(self) -> None:
        """The first part of a reply came alone, or may have done so: all such programs have to be `careful`."""

    def failing(self, worker: Worker, reason: str) -> None:
        """The program did what it must not and is being killed, or ended by itself."""

    def ended(self, worker: Worker, query: Query | None, was_read: bool) -> None:
        """The process is gone.  `query` was with it; `was_read` is false if nobody ever read its frame."""

    def complained(self, worker: Worker, lines: Lines) -> None:
        """The program wrote on stderr; secrets are masked in what is shown of it."""

    def paused(self, worker: Worker) -> None:
        """The program wrote too much on stderr: `resume` is to be called at `resumes_at`."""


class Worker:
    """A running program.

    Attributes:
      pid: of the process, for the log.
      state: whether it may be given a query, and is there at all.
      query: the one the program has, or `None`.
      served: good replies so far.
      careful: it may write its replies in pieces.
      status: its exit status, or minus the signal that ended it, once it is gone.
      retirement: it is READY no more; its owner has heard of that.
      end: it is GONE; its owner has heard of that.
    """

    def __init__(
        self,
        process: Process,
        reactor: Reactor,
        owner: Owner,
        max_line: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pid = process.pid
        self.state = State.READY
        self.query: Query | None = None
        self.served = 0
        self.careful = True
        self.status = 0
        self.retirement = Latch()
        self.end = Latch()
        self._process = process
        self._reactor = reactor
        self._owner = owner
        self._input, self._stdout = process.stdin, process.stdout
        self._taken = reactor.taken
        look = select.poll()  # a read that would block takes three times as long
        look.register(process.stdout, select.POLLIN)
        self._look = look.poll
        self._partial = b""
        self._previous: Query | None = None  # the one that it answered last
        self._asked = Asked(max_line)
        self._remember = self._asked.add
        self._stderr = Stderr(process.stderr, reactor, self._read_stderr, self._asked, clock)
        try:
            self._stdin = StdinPipe(process.stdin, reactor)
            reactor.watch(process.stdout, self._readable, ARRIVING)
            self._stderr.watch()
            reactor.watch(process.exited, self._exited)
        except BaseException:
            for descriptor in process.descriptors():
                reactor.unwatch(descriptor)
            raise

    def give(self, query: Query) -> bool:
        """Hand `query` to the idle program.

        Returns:
          False if the program may not be asked any more, or no pipe can be had that takes so long a query: it is still
          READY then.  It has not seen the query.
        """
        try:
            if self.state is not _READY or (self._look(0) and not self._is_silent()):
                return False
        except Exception as error:
            self.failed(error)
            return False
        return self.hand_over(query)

    def hand_over(self, query: Query) -> bool:
        """`give` for a program that has been looked at in this very moment: its reply has just been read."""
        stdin = self._stdin
        try:
            body = query.body
            frame = header(len(body)) + body
            if (stdin.above or len(frame) > stdin.most) and not stdin.fit(len(frame)):
                return False
            self._remember(body)
            written = _write(self._input, frame)
        except OSError as error:  # EPIPE: it closed its stdin; EAGAIN: it never read what it answered
            self.kill(f"its stdin cannot be written ({error.strerror})")
            return False
        except Exception as error:  # perhaps because of the query, which may not end one program after the other
            self.query = query
            self.failed(error)
            return True
        self._taken.discard(self._input)
        self.query = query
        if written < len(frame):
            self.kill("its stdin took only a part of a frame")
        return True

    def close_stdin(self) -> None:
        """Tell the program to leave, as ejabberd does."""
        self._retire()
        self._stdin.close()
        self._input = -1  # somebody else's number from now on

    def signal(self, number: int) -> None:
        """Send a signal to the program's whole process group."""
        if self.state is not State.GONE:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def kill(self, reason: str) -> None:
        """End the program now.  Its query stays with it until the process is gone."""
        try:
            if self._retire():
                self._owner.failing(self, reason)
        finally:
            self.signal(signal.SIGKILL)

    def failed(self, error: Exception) -> None:
        """Something went wrong in here: what this program says next could be taken for anything."""
        reason = "internal error"
        try:
            reason = f"{reason}: {describe(error)}"
        finally:
            try:
                self.kill(reason)
            finally:  # or the same might go wrong again
                self.state = after(self.state, State.MUTED)

    def release(self) -> Query | None:
        """Take the query away from a program that will not be asked again: its time is over."""
        query, self.query = self.query, None
        return query

    def reap(self, seconds: float) -> None:
        """Kill and wait for at most `seconds`: when nobody drives the reactor any more."""
        self._retire()
        self.signal(signal.SIGKILL)
        if self.state is State.GONE:
            return
        exited = select.poll()
        exited.register(self._process.exited, select.POLLIN)
        if exited.poll(seconds * 1000):
            os.waitpid(self.pid, 0)
        self._close()

    def _retire(self) -> bool:
        """No more queries from here on; false if that was so before."""
        before, self.state = self.state, after(self.state, State.RETIRED)
        if self.state is before:
            return False
        self._owner.retired(self)
        self.retirement.set()
        return True

    def _is_silent(self) -> bool:
        """Whether an idle program did not say something unasked, and has not ended."""
        try:
            data = _read(self._stdout, _REPLY_READ)
        except BlockingIOError:
            return True
        self._misbehaved(data)
        return False

    def _readable(self) -> None:
        try:
            data = _read(self._stdout, _REPLY_READ)
        except BlockingIOError:
            return
        if self._partial and data:
            data, self._partial = self._partial + data, b""
        query, verdict = self.query, verdict_of(data)
        if query is not None and self.state is _READY and (self._input in self._taken or self._stdin.looks_taken()):
            if verdict is not None:
                if self.careful:  # nothing that was told of what has just been read may be left
                    self._reactor.unwatch(self._stdout)
                    self._reactor.watch(self._stdout, self._readable, ARRIVING)
                self.query = None
                self._previous = query
                self.served += 1
                self._owner.replied(self, query, verdict)
                return
            if data and may_become_reply(data):
                self._partial = data
                self._owner.replies_in_pieces()
                return
        self._misbehaved(data)

    def _misbehaved(self, data: bytes) -> None:
        if not data:
            self._reactor.unwatch(self._stdout)
        if self.state is not _READY:
            return  # it is leaving, and may do so in its own way
        if not data:
            self.kill("it ended" if not self._partial else "it ended in the middle of a reply")
        else:
            self._owner.replies_in_pieces()  # or perhaps it does, which can look so, though hardly ever
            what = "bytes nobody asked for" if self.query is None else "something that is no reply"
            self.kill(f"it wrote {what}{self._explained(data)}: {self._shown(data)}")

    def _explained(self, data: bytes) -> str:
        """In brackets, as far as it can be told, what `data` is instead: for whoever has to mend the program."""
        query, previous = self.query, self._previous
        first, rest = verdict_of(data[:4]), data[4:]
        if query is not None and first is not None and self._has_taken():
            if may_become_replies(rest):
                return f" (two replies to {command_of(query.body)}, the first one {first.value})"
            return " (a reply, and a line end behind it)" if not rest.strip(b"\r\n") else ""
        if may_become_replies(data):
            if previous is not None and previous.verdict is not None:
                return f" (a second reply to {command_of(previous.body)}, which was {previous.verdict.value})"
            return " (a reply before it had read the question)" if query is not None else " (a reply)"
        if not data.strip(b"\r\n"):
            return " (a blank line)"
        return " (a blank line, and a reply)" if may_become_replies(data.lstrip(b"\r\n")) else ""

    def _has_taken(self) -> bool:
        """Whether the program had taken its question out of the pipe before it wrote what has just been read."""
        return self._input in self._taken or self._stdin.looks_taken()

    def _shown(self, data: bytes) -> str:
        """The beginning of what a program wrote, without secrets; it may have been asked long before."""
        if not data.strip(b"\0\1\2\r\n"):
            return escaped(data.decode())
        said, asked = StderrLines(self._asked), self._number_asked()
        return " ".join(map(str, [*said.feed(data, asked), *said.finish(asked)]))[:_SHOWN]

    @property
    def resumes_at(self) -> float:
        """When `resume` is to be called, on the pool's clock; infinity for most programs."""
        return self._stderr.resumes_at

    def resume(self) -> None:
        """Read the program's stderr again after a pause."""
        self._stderr.resume()

    def _read_stderr(self) -> None:
        if lines := self._stderr.read(self._number_asked()):
            self._owner.complained(self, lines)
        if self._stderr.is_flood:
            self.kill("it floods its stderr")
        if self._stderr.resumes_at < FOREVER:
            self._owner.paused(self)

    def _number_asked(self) -> int:
        return self.served + (self.query is not None)

    def _exited(self) -> None:
        if self.state not in (State.MUTED, State.GONE):
            self._hear_out()
        self.kill("it ended")  # whatever it left behind in its process group
        with contextlib.suppress(ChildProcessError):  # an error cut us short the last time
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        query, was_read = self.query, self._was_read()
        self._close()
        self.query = None
        try:
            self._owner.ended(self, query, was_read)
        finally:
            self.end.set()

    def _hear_out(self) -> None:
        """A reply that was written before the end is still in the pipe, and so are the last words."""
        if self.query is not None and self.state is _READY:
            self._readable()
        for lines in self._stderr.last_words(self._number_asked()):
            self._owner.complained(self, lines)

    def _was_read(self) -> bool:
        """Whether the program has taken anything of the last frame out of its stdin."""
        if self.query is None or self._stdin.descriptor < 0:
            return True
        return self._stdin.unread() < len(self.query.body) + 2

    def _close(self) -> None:
        self.state = after(self.state, State.GONE)
        self.close_stdin()
        for descriptor in (self._process.stdout, self._process.stderr, self._process.exited):
            self._reactor.unwatch(descriptor)
            os.close(descriptor)
        self._previous = None
        self._asked.forget()
