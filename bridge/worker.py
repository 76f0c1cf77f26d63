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
  - An error in here ends the program, and nobody else: its query is asked again or unavailable, as for any death.

The pool that owns a worker hears of everything; the worker itself decides nothing.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import signal
from collections.abc import Callable
from fcntl import ioctl
from termios import FIONREAD
from typing import Protocol

from bridge.checks import secret_of
from bridge.frames import frame, may_become_reply, verdict_of
from bridge.launch import Process
from bridge.log import describe
from bridge.messages import Query, Verdict, nothing
from bridge.stderrlines import StderrLines
from bridge.switchboard import ARRIVING, Switchboard

_REPLY_READ = 256
"""Bytes: more than a reply has, so that anything behind it is seen, and as much of a PHP warning as the log shows.
Asking for more than 400 takes a tenth more time for each reply, since Python gets so large a buffer elsewhere."""

_STDERR_READ = 65536

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

    def complained(self, worker: Worker, lines: list[str]) -> None:
        """The program wrote on stderr; secrets are masked."""


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

    def __init__(self, process: Process, board: Switchboard, owner: Owner, born: float, max_line: int) -> None:
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
        self._said = StderrLines(max_line)
        self._previous: Query | None = None  # its secret may still come out on stderr
        self._heard_out = False  # it is not listened to any more
        try:
            board.watch(process.stdout, self._readable, ARRIVING)
            board.watch(process.stderr, self._read_stderr)
            board.watch(process.exited, self._exited)
        except BaseException:
            for descriptor in (process.stdout, process.stderr, process.exited):
                board.unwatch(descriptor)
            raise

    def give(self, query: Query) -> bool:
        """Hand `query` to the idle program.

        Returns:
          False if the program turned out to be unusable; it has not seen the query then.
        """
        try:
            if not self.usable or (self._look(0) and not self._is_silent()):
                return False
        except Exception as error:
            self.failed(error)
            return False
        return self.hand_over(query)

    def hand_over(self, query: Query) -> bool:
        """`give` for a program that has been looked at in this very moment: its reply has just been read."""
        try:
            body = frame(query.body)
            written = os.write(self._stdin, body)
        except OSError as error:  # EPIPE: it closed its stdin; EAGAIN: it never read what it answered
            self.kill(f"its stdin cannot be written ({error.strerror})")
            return False
        except Exception as error:  # perhaps because of the query, which may not end one program after the other
            self.query = query
            self.failed(error)
            return True
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
        try:
            if self._retire():
                self._owner.failing(self, reason)
        finally:
            self.signal(signal.SIGKILL)

    def failed(self, error: Exception) -> None:
        """Something went wrong in here: what this program says next could be taken for anything."""
        self._heard_out = True  # or the same might go wrong again
        reason = "internal error"
        try:
            reason = f"{reason}: {describe(error)}"
        finally:
            self.kill(reason)

    def release(self) -> Query | None:
        """Take the query away from a program that will not be asked again: its time is over."""
        query, self.query, self._previous = self.query, None, self.query
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
                    self._previous = query
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
        said, secrets = StderrLines(_REPLY_READ), self._secrets()
        return " ".join([*said.feed(data, secrets), *said.finish(secrets)])[:_SHOWN]

    def _read_stderr(self) -> None:
        try:
            data = os.read(self._process.stderr, _STDERR_READ)
        except BlockingIOError:
            return
        if not data:
            self._board.unwatch(self._process.stderr)
        elif lines := self._said.feed(data, self._secrets()):
            self._owner.complained(self, lines)

    def _secrets(self) -> list[bytes]:
        """What must not come out of this program's stderr into the log."""
        queries = (self.query, self._previous)
        return [secret for query in queries if query and (secret := secret_of(query.body))]

    def _exited(self) -> None:
        if not self._heard_out:
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
            self.when_gone()

    def _hear_out(self) -> None:
        """A reply that was written before the end is still in the pipe, and so are the last words."""
        if self.query is not None and self.usable:
            self._readable()
        self._read_stderr()
        if lines := self._said.finish(self._secrets()):
            self._owner.complained(self, lines)

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
        self._previous = None
