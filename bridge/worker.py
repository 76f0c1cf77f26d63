"""One program, one query at a time.

  - A frame is written whole, with one write, and only to a program that has answered the one before.
  - Exactly four bytes are a reply, and only while a query is with the program.  Anything else is a protocol
    error, and a program that made one is killed: what it says next could belong to anything.
  - A reply while the query's frame is still unread in the pipe is no answer to it: a protocol error.  A "no", too: once
    taken for an answer, it would have every later answer of that program belong to the query before.
  - An idle program's output is looked at before it gets a query, and reads ask for more than four bytes: a
    second reply that is already there is seen.
  - What became of a query that was with a program when it ended is only said once the process is gone, and
    says whether the frame had been read at all: one that nobody read was never asked.
  - A program is always ended with its whole process group.

The pool that owns a worker hears of everything; the worker itself decides nothing.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from fcntl import ioctl
from termios import FIONREAD
from typing import Protocol

from bridge.alarm import FOREVER
from bridge.frames import frame, may_become_reply, verdict_of
from bridge.launch import Process
from bridge.messages import Query, Verdict, nothing
from bridge.stderr import Asked, Stderr
from bridge.stderrlines import Lines, StderrLines
from bridge.switchboard import ARRIVING, Switchboard

_REPLY_READ = 256
"""Bytes: more than a reply has, so that anything behind it is seen, and as much of a PHP warning as the log shows.
Asking for more than 400 takes a tenth more time for each reply, since Python gets so large a buffer elsewhere."""

_unread = array.array("i", [0])
"""Where FIONREAD puts how many bytes of a frame the program has not read; one for all, as making one for each look
would take a third more time."""

_SHOWN = 120
"""Characters of a protocol error that the log shows: enough to recognise a PHP warning by."""


class Owner(Protocol):
    """Whoever lends the worker out: the pool."""

    def replied(self, worker: Worker, query: Query, verdict: Verdict) -> None:
        """The program answered well; it is free again."""

    def left(self, worker: Worker) -> None:
        """The program may not be asked any more; called once for each."""

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
      born: seconds on the pool's clock.
      query: the one the program has, or `None`.
      served: good replies so far.
      milestone: number of good replies at which the pool wants to have a look; 0 once it is to leave.
      tired: it has served enough, and is only asked where no other is idle.
      timed_from: when its query was handed over, if its reply is to be timed.
      reason: why it failed, if it did.
      status: its exit status, or minus the signal that ended it, once it is gone.
      usable: it may be given a query; false from the moment it fails or is told to leave.
      gone: the process has been reaped.
      proved, when_unusable, when_gone: called at its first good reply; when it may not be asked any more;
        when it is gone.
    """

    def __init__(
        self,
        process: Process,
        board: Switchboard,
        owner: Owner,
        born: float,
        max_line: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pid = process.pid
        self.born = born
        self.query: Query | None = None
        self.served = 0
        self.milestone: float = 1
        self.tired = False
        self.timed_from: float | None = None
        self.reason = ""
        self.usable = True
        self.gone = False
        self.status = 0
        self.proved: Callable[[], None] = nothing
        self.when_unusable: Callable[[], None] = nothing
        self.when_gone: Callable[[], None] = nothing
        self._process = process
        self._board = board
        self._owner = owner
        self._stdin, self._stdout = process.stdin, process.stdout
        look = select.poll()  # a read that would block takes three times as long
        look.register(process.stdout, select.POLLIN)
        self._look = look.poll
        self._partial = b""
        self._asked = Asked(max_line)
        self._remember = self._asked.add
        self._stderr = Stderr(process.stderr, board, self._read_stderr, self._asked, clock)
        try:
            board.watch(process.stdout, self._readable, ARRIVING)
            self._stderr.watch()
            board.watch(process.exited, self._exited)
        except OSError:
            for descriptor in (process.stdout, process.stderr, process.exited):
                board.unwatch(descriptor)
            raise

    def give(self, query: Query) -> bool:
        """Hand `query` to the idle program.

        Returns:
          False if the program turned out to be unusable; it has not seen the query then.
        """
        if not self.usable or (self._look(0) and not self._is_silent()):
            return False
        return self.hand_over(query)

    def hand_over(self, query: Query) -> bool:
        """`give` for a program that has been looked at in this very moment: its reply has just been read."""
        body = frame(query.body)
        self._remember(query.body)
        try:
            written = os.write(self._stdin, body)
        except OSError as error:  # EPIPE: it closed its stdin; EAGAIN: it never read what it answered
            self.kill(f"its stdin cannot be written ({error.strerror})")
            return False
        self.query = query
        if written < len(body):
            self.kill("its stdin took only a part of a frame")
        return True

    def close_stdin(self) -> None:
        """Tell the program to leave, as ejabberd does."""
        self._retire()
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def signal(self, number: int) -> None:
        """Send a signal to the program's whole process group."""
        if not self.gone:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def kill(self, reason: str) -> None:
        """End the program now.  Its query stays with it until the process is gone."""
        if self._retire():
            self._owner.failing(self, reason)
        self.signal(signal.SIGKILL)

    def release(self) -> Query | None:
        """Take the query away from a program that will not be asked again: its time is over."""
        query, self.query = self.query, None
        return query

    def reap(self, seconds: float) -> None:
        """Kill and wait for at most `seconds`: when nobody drives the switchboard any more."""
        self._retire()
        self.signal(signal.SIGKILL)
        if self.gone:
            return
        exited = select.poll()
        exited.register(self._process.exited, select.POLLIN)
        if exited.poll(seconds * 1000):
            os.waitpid(self.pid, 0)
        self._close()

    def _retire(self) -> bool:
        """No more queries from here on; false if that was so before."""
        was_usable, self.usable = self.usable, False
        if was_usable:
            self._owner.left(self)
            self.when_unusable()
        return was_usable

    def _is_silent(self) -> bool:
        """Whether an idle program did not say something unasked, and has not ended."""
        try:
            data = os.read(self._stdout, _REPLY_READ)
        except BlockingIOError:
            return True
        self._misbehaved(data)
        return False

    def _readable(self) -> None:
        try:
            data = os.read(self._stdout, _REPLY_READ)
        except BlockingIOError:
            return
        if self._partial and data:
            data, self._partial = self._partial + data, b""
        query, verdict = self.query, verdict_of(data)
        if query is not None and self.usable:
            if verdict is not None:
                ioctl(self._stdin, FIONREAD, _unread)
                if not _unread[0]:  # else it cannot mean a question that is still in the pipe
                    self.query = None
                    self.served += 1
                    self._owner.replied(self, query, verdict)
                    return
            elif data and may_become_reply(data):
                self._partial = data
                return
        self._misbehaved(data)

    def _misbehaved(self, data: bytes) -> None:
        if not data:
            self._board.unwatch(self._stdout)
        if not self.usable:
            return  # it is leaving, and may do so in its own way
        if not data:
            self.kill("it ended" if not self._partial else "it ended in the middle of a reply")
        else:
            what = "bytes nobody asked for" if self.query is None else "something that is no reply"
            self.kill(f"it wrote {what}: {self._shown(data)}")

    def _shown(self, data: bytes) -> str:
        """The beginning of what a program wrote, without secrets."""
        said, asked = StderrLines(self._asked), len(self._asked)
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
        # A reply that was written before the end is still in the pipe, and so are the last words.
        if self.query is not None and self.usable:
            self._readable()
        self.kill("it ended")  # whatever it left behind in its process group
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        query, was_read = self.query, self._was_read()
        for lines in self._stderr.last_words(self._number_asked()):
            self._owner.complained(self, lines)
        self.query = None
        self._close()
        self._owner.ended(self, query, was_read)
        self.when_gone()

    def _was_read(self) -> bool:
        """Whether the program has taken anything of the last frame out of its stdin."""
        if self.query is None or self._stdin < 0:
            return True
        ioctl(self._stdin, FIONREAD, _unread)
        return _unread[0] < len(self.query.body) + 2

    def _close(self) -> None:
        self.gone = True
        self.close_stdin()
        for descriptor in (self._process.stdout, self._process.stderr, self._process.exited):
            self._board.unwatch(descriptor)
            os.close(descriptor)
        self._asked.forget()
