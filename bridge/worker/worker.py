"""One program, one query at a time.

  - A frame (or a line: the program's `Codec` tells) is written whole, with one write, and only to a program that has
    answered the previous one.
  - A reply is exactly what the codec takes for one, while the program has a query.  Anything else is a protocol error,
    and a program that made one is killed: its next reply could belong to any query.
  - A reply, or its first bytes, written before the program had read the query's frame does not answer that query; it is
    a second reply to the previous one, and a protocol error (`stdinpipe` says how this is known).  This goes for a "no"
    too: taken for an answer, it would shift every later reply of that program by one query.
  - An idle program's output is checked before it gets a query, and reads request more than a reply has, so that a
    second one that is already there is noticed.
  - A query whose program ends is reported only once the process is gone, together with whether the frame had been read
    at all: if not, the query was never asked.
  - A program is always killed with its whole process group.
  - An error in this module ends only the program: its query is asked again or unavailable, as for any death.

A worker reports everything to the pool that owns it, and decides nothing itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import Protocol

from bridge.log.events import describe
from bridge.loop.reactor import ARRIVING, Reactor
from bridge.loop.timer import FOREVER
from bridge.protocol.codec import Codec
from bridge.protocol.query import Query, StandIn, Verdict
from bridge.worker.latch import Latch
from bridge.worker.misbehaviour import protocol_error
from bridge.worker.pieces import Pieces
from bridge.worker.spawn import Process
from bridge.worker.state import Fault, State, after
from bridge.worker.stderr import Asked, Stderr
from bridge.worker.stderrlines import Lines
from bridge.worker.stdinpipe import StdinPipe

_REPLY_READ = 256
"""Bytes: more than a reply has, so that anything after it is noticed, and as much of a PHP warning as the log shows.
Requesting more than 400 takes a tenth more time per reply, as Python allocates larger buffers differently."""

_read, _write, _ASKABLE = os.read, os.write, State.ASKABLE  # looked up once


class Owner(Protocol):
    """The worker's owner: a pool."""

    def replied(self, worker: Worker, query: Query, verdict: Verdict) -> None:
        """The program gave a valid reply and is free again."""

    def retired(self, worker: Worker) -> None:
        """The program may not be asked any more; called once for each worker."""

    def replies_in_pieces(self) -> None:
        """The first part of a reply came alone, or may have: all programs of this kind have to be `careful`."""

    def failing(self, worker: Worker, reason: str) -> None:
        """The program broke a rule and is being killed, or has ended by itself."""

    def ended(self, worker: Worker, query: Query | None, was_read: bool) -> None:
        """The process is gone.  It had `query`; `was_read` is false if nothing of its frame was ever read."""

    def complained(self, worker: Worker, lines: Lines) -> None:
        """The program wrote on stderr; secrets are masked when a line is shown."""

    def may_not_kill(self, worker: Worker) -> None:
        """The program has changed its user, and we may not kill it; called once for such a worker."""


class Worker:
    """A running program.

    Args:
      max_line: bytes of the longest question.
      codec: what it speaks.

    Attributes:
      pid: of the process, for the log.
      state: see `state`.
      query: the one the program has, or `None`.
      served: valid replies so far.
      milestone: number of them at which its owner looks at it; set by its owner.
      blamed: the query to which it gave a second reply, if it did.
      careful: it may write its replies in pieces.
      fault: why it failed, if it did.
      status: its exit status, or minus the signal that ended it, once it is gone.
      retirement: set when it is no longer ASKABLE, and its owner has been told.
      end: set when it is GONE, and its owner has been told.
    """

    def __init__(self, process: Process, reactor: Reactor, owner: Owner, max_line: int, codec: Codec) -> None:
        self.pid = process.pid
        self.state = State.ASKABLE
        self.query: Query | None = None
        self.served = 0
        self.milestone: float = 1
        self.blamed: Query | None = None
        self.careful = True
        self.fault = Fault.INTERNAL
        self.status = 0
        self.retirement = Latch()
        self.end = Latch()
        self._process = process
        self._reactor = reactor
        self._owner = owner
        self._stdout = process.stdout
        look = select.poll()  # a read that would block takes three times as long
        look.register(process.stdout, select.POLLIN)
        self._look = look.poll
        self._codec = codec
        self._headers, self._verdict_of = codec.headers, codec.verdict_of
        self._pieces = Pieces(codec)
        self._alone = reactor.call_at(FOREVER, self._count_alone)
        self._previous: Query | None = None  # the last one it answered
        self._may_kill = True
        self._asked = Asked(max_line)
        self._remember = self._asked.add
        self._stderr = Stderr(process.stderr, reactor, self._read_stderr, self._asked)
        try:
            self._stdin = StdinPipe(process.stdin, reactor, len(codec.headers) - 1)
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
          False if the query was not handed over: the program may not be asked any more; or it is still ASKABLE, and no
          pipe is large enough for the query.
        """
        try:
            if self.state is not _ASKABLE or (self._look(0) and not self._is_silent()):
                return False
        except Exception as error:
            self.failed(error)
            return False
        return self.hand_over(query)

    def hand_over(self, query: Query) -> bool:
        """`give` without checking the program's output: for one whose reply has just been read."""
        stdin, remember = self._stdin, self._remember
        try:
            body = query.body
            size = len(body)
            if size <= stdin.short:  # most of the time
                frame = self._headers[size] + body
            elif stdin.fit(self._codec.overhead + size):
                frame = self._codec.framed(body)
            else:
                return False
            remember(body)
            try:
                written = _write(stdin.descriptor, frame)
            except OSError as error:  # EPIPE: it closed its stdin; EAGAIN: it never read what it answered
                self.kill(f"its stdin cannot be written ({error.strerror})", Fault.INPUT)
                return False
        except Exception as error:  # perhaps because of the query, which must not end one program after another
            self.query = query
            self.failed(error)
            return True
        stdin.taken = False
        self.query = query
        if written < len(frame):
            self.kill("its stdin took only part of a frame", Fault.INPUT)
        return True

    def close_stdin(self) -> None:
        """Tell the program to exit, as ejabberd does."""
        self._retire()
        self._stdin.close()

    def signal(self, number: int) -> None:
        """Send a signal to the program's whole process group."""
        if self.state is State.GONE:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        if number == signal.SIGKILL and self._may_kill:
            self._make_sure()

    def _make_sure(self) -> None:
        """Kill the program itself: killing its group succeeds if a single member of it may be killed."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:
            if not self._exits_within(0.0):  # a zombie is nobody's trouble
                self._may_kill = False
                self._owner.may_not_kill(self)

    def _exits_within(self, seconds: float) -> bool:
        exited = select.poll()
        exited.register(self._process.exited, select.POLLIN)
        return bool(exited.poll(seconds * 1000))

    def kill(self, reason: str, fault: Fault = Fault.INTERNAL) -> None:
        """Kill the program.  Its query stays with it until the process is gone."""
        try:
            if self._retire():
                self.fault = fault
                self._owner.failing(self, reason)
        finally:
            self.signal(signal.SIGKILL)

    def failed(self, error: Exception) -> None:
        """Kill the program after an error of ours: its next reply could belong to any query."""
        reason = "internal error"
        self._take_back()
        try:
            reason = f"{reason}: {describe(error)}"
        finally:
            try:
                self.kill(reason)
            finally:  # or the same error might happen again
                self.state = after(self.state, State.MUTED)

    def _take_back(self) -> None:
        """If it has given a reply of which nobody was told, this is as if there had been none."""
        previous = self._previous
        if self.query is None and previous is not None and previous.verdict is None:
            self.query = previous

    def release(self) -> Query | None:
        """Take the query from the program, which is left with a `StandIn`: its reply, if it comes, is nobody's."""
        query = self.query
        if query is not None and query.verdict is None:
            self.query = StandIn(query.body, query)
        return query

    def reap(self, seconds: float) -> None:
        """Kill the program and wait for it, for at most `seconds`; used when the reactor no longer runs."""
        self._retire()
        self.signal(signal.SIGKILL)
        if self.state is State.GONE:
            return
        if self._exits_within(seconds):
            self._process.wait()
        self._close()

    def _retire(self) -> bool:
        """Retire the program; false if it was retired before."""
        before, self.state = self.state, after(self.state, State.RETIRED)
        if self.state is before:
            return False
        self._owner.retired(self)
        self.retirement.set()
        return True

    def _is_silent(self) -> bool:
        """Whether an idle program has neither written anything nor ended; otherwise it is killed."""
        try:
            data = _read(self._stdout, _REPLY_READ)
        except BlockingIOError:
            return True
        rest = self._pieces.join(data)
        if rest is None:  # a line end that was owed
            self._leave_queue()
            return True
        self._misbehaved(rest, whole=len(rest) >= len(data))
        return False

    def _readable(self) -> None:
        try:
            data = _read(self._stdout, _REPLY_READ)
        except BlockingIOError:
            return
        query, verdict = self.query, self._verdict_of(data)
        if verdict is None or query is None or self.careful or not self._stdin.taken or self.state is not _ASKABLE:
            verdict = self._examined(data)
            if verdict is None or query is None:
                return
        self.query = None
        self._previous = query
        self.served += 1
        self._owner.replied(self, query, verdict)

    def _examined(self, data: bytes) -> Verdict | None:
        """The program's verdict, if its question has been read, and `data` is a reply or completes one."""
        pieces = self._pieces
        joined = pieces.join(data)
        if joined is None:
            if self.query is None:
                self._leave_queue()
            return None
        if self.query is not None and self.state is _ASKABLE and self._has_taken():
            verdict = self._verdict_of(joined)
            if verdict is not None:
                if self.careful:
                    self._leave_queue()
                return verdict
            if joined and self._codec.may_become_reply(joined):
                self._alone.cancel()  # of an earlier one
                self._alone.set(self._reactor.clock() + pieces.keep(joined))
                self.careful = True
                self._owner.replies_in_pieces()
                return None
        self._misbehaved(joined, whole=len(joined) >= len(data))
        return None

    def _leave_queue(self) -> None:
        """Leave no place in epoll's queue from a piece just read; see `stdinpipe`."""
        self._reactor.unwatch(self._stdout)
        self._reactor.watch(self._stdout, self._readable, ARRIVING)

    def _count_alone(self) -> None:
        """Nothing has followed the beginning of a reply: it is one by itself, or none."""
        if self.state is not _ASKABLE or not self._pieces.begun:
            return
        if self._look(0):
            self._readable()
        else:
            self._leave_queue()
            self._take_alone()
            if self._pieces.begun:
                self._misbehaved(self._pieces.begun, whole=True)

    def _take_alone(self) -> None:
        query, verdict = self.query, self._pieces.count()
        if query is not None and verdict is not None:
            self.query = None
            self._previous = query
            self.served += 1
            self._owner.replied(self, query, verdict)

    def _misbehaved(self, data: bytes, whole: bool) -> None:
        """Kill the program for `data`; if that is not `whole`, a line end that was owed stood before it."""
        if not data:
            self._reactor.unwatch(self._stdout)
        if self.state is not _ASKABLE:
            return  # it is exiting, and may write what it likes
        if not data:
            if self._pieces.begun:  # which counts now, if it ever would
                self._take_alone()
            self.kill("it ended in the middle of a reply" if self._pieces.begun else "it ended", Fault.ENDED)
        else:
            self._owner.replies_in_pieces()  # just in case: pieces can, rarely, look like this
            taken = self.query if self._has_taken() else None
            previous = self._previous if whole else None
            reason, self.blamed = protocol_error(
                self._codec, data, self.query, taken, previous, self._asked, self._number_asked()
            )
            self.kill(reason, Fault.OUTPUT)

    def _has_taken(self) -> bool:
        """Whether the program had read its question before it wrote what has just been read."""
        return self._stdin.taken or self._stdin.looks_taken()

    def _read_stderr(self) -> None:
        if lines := self._stderr.read(self._number_asked()):
            self._owner.complained(self, lines)
        if self._stderr.is_flood:
            self.kill("it floods its stderr", Fault.STDERR)

    def _number_asked(self) -> int:
        return self.served + (self.query is not None)

    def _exited(self) -> None:
        if self.state not in (State.MUTED, State.GONE):
            self._read_last_output()
        self.kill("it ended", Fault.ENDED)  # and what may be left of its process group
        with contextlib.suppress(ChildProcessError):  # already reaped, if an error cut us short the last time
            self.status = self._process.wait()
        query, was_read = self.query, self.was_read()
        self._close()
        self.query = None
        try:
            self._owner.ended(self, query, was_read)
        finally:
            self.end.set()

    def _read_last_output(self) -> None:
        """Read a reply written before the end, which is still in the pipe, and the rest of stderr."""
        if self.query is not None and self.state is _ASKABLE:
            self._readable()
            if self._pieces.begun:
                self.signal(signal.SIGKILL)  # or a child of its could go on with that
                self._readable()  # does anything follow?
            if self._pieces.begun:
                self._take_alone()
        for lines in self._stderr.last_words(self._number_asked()):
            self._owner.complained(self, lines)

    def was_read(self) -> bool:
        """Whether the program has read anything of the last frame."""
        if self.query is None or self._stdin.descriptor < 0:
            return True
        return self._stdin.unread() < len(self.query.body) + self._codec.overhead

    def _close(self) -> None:
        self.state = after(self.state, State.GONE)
        self._alone.cancel()
        self.close_stdin()
        for descriptor in (self._process.stdout, self._process.stderr, self._process.exited):
            self._reactor.unwatch(descriptor)
            os.close(descriptor)
        self._stderr.close()
        self._previous = None
        self._asked.forget()
