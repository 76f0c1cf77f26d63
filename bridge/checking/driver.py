"""One fresh process of a program under trial, started as the pool starts it, and asked step by step.

Everything blocks, with a deadline.  A process belongs to one thread.  Its stdout and stderr are read whenever we wait,
so that it never blocks because of us.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import signal
import termios
import time
from collections.abc import Callable

import attrs

from bridge.checking.dialects import Dialect
from bridge.protocol.query import Verdict
from bridge.worker.pieces import ALONE
from bridge.worker.spawn import Process

QUIET = 0.2
"""Seconds to listen on after a reply: what a program writes besides comes with it, or right behind it."""

_STRANGE = 0.5
"""Seconds without output after which something that is no reply is taken to be complete."""

_MOMENT = 0.005
"""Seconds between two looks at what it has not read."""

_MOST = 1 << 16
"""Bytes of output kept: more than any warning, and enough of a flood to tell what it is."""

_PIECES = 20
"""Reads that empty a pipe, and find its end, unless somebody goes on writing: it holds 16 pages at most."""


@attrs.frozen
class Answer:
    """What came back.

    Attributes:
      data: all that was written to stdout, but a line end that was owed.
      seconds: until as many bytes were there as a reply has at least, or until we gave up.
      waited: whether we gave up because the time was over.
      exit: the exit status, minus the signal's number if one ended it; `None` while it runs.
      dialect: what was spoken.
    """

    data: bytes = attrs.field(repr=False)  # a program may write what it was asked
    seconds: float
    waited: bool
    exit: int | None
    dialect: Dialect

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, if this is a reply and nothing else."""
        return self.dialect.verdict_of(self.data)

    @property
    def first(self) -> Verdict | None:
        """The verdict of the reply with which it begins."""
        return next(iter(self.dialect.replies(self.data)[0]), None)

    @property
    def is_double(self) -> bool:
        """Whether it begins with more than one reply."""
        return len(self.dialect.replies(self.data)[0]) > 1


class Program:
    """A process under trial.

    Attributes:
      started, spoke_at: when, as `time.monotonic` has it; the latter is that of the first bytes on stdout.
      stdout: what has not been taken yet.
      stderr: all of it, up to a bound.
      exit: see `Answer`.
      alone: digits that stood alone for so long that they count.
      owed: line ends that came with or before the next reply.
      waits: whether to wait for a line end behind a digit.
    """

    def __init__(self, process: Process, dialect: Dialect, *, waits: bool = True) -> None:
        self.process = process
        self.dialect = dialect
        self.alone = self.owed = 0
        self.waits = waits
        self._owes = False
        self.pid = process.pid
        self.started = time.monotonic()
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.exit: int | None = None
        self.spoke_at = 0.0
        self._open = {process.stdout: self.stdout, process.stderr: self.stderr}
        self._poll = select.poll()
        for descriptor in (*self._open, process.exited):
            self._poll.register(descriptor, select.POLLIN)

    def ask(self, body: bytes, seconds: float, quiet: float = QUIET) -> Answer:
        """Send a question, and wait for its reply."""
        self.send(self.dialect.framed(body), seconds)
        return self.reply(seconds, quiet)

    def send(self, data: bytes, seconds: float) -> None:
        """Write everything, if the program takes it in time."""
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.process.stdin, select.POLLOUT)
        while data and time.monotonic() < until:
            try:
                data = data[os.write(self.process.stdin, data) :]
            except BlockingIOError:
                self.listen(0.01)
            except OSError:  # it has closed its stdin, or ended: its reply will tell
                return

    def reply(self, seconds: float, quiet: float = QUIET, count: int = 1) -> Answer:
        """Wait for so many replies, and then listen whether there is more; takes everything."""
        begun = time.monotonic()
        there = self.wait(lambda: self.dialect.has_replies(self.heard, count) or self.is_done, seconds)
        took = time.monotonic() - begun
        if there and not self.is_done:
            self._let_it_end()
            if count == 1 and self.dialect.verdict_of(self.heard) is None:
                quiet = _STRANGE
        while quiet and len(self.stdout) < _MOST and self._goes_on(quiet):
            pass
        if self.is_done:
            self.ends_within(QUIET)  # its exit status comes a little later than the end of its output
        return Answer(self.take(), took, not there, self.exit, self.dialect)

    def take(self) -> bytes:
        """All that is on stdout, but a line end that was owed."""
        data = self.heard
        self.owed += len(data) < len(self.stdout)
        self.stdout.clear()
        if data:
            self._owes = data.endswith((b"0", b"1"))
        return data

    @property
    def heard(self) -> bytes:
        """What is on stdout, but a line end that was owed."""
        data = bytes(self.stdout)
        if self._owes:
            if data == b"\r":
                return b""  # half of one
            for end in (b"\n", b"\r\n"):
                if data.startswith(end):
                    return data[len(end) :]
        return data

    def _let_it_end(self) -> None:
        """Wait for the line end behind a digit, as long as that may come."""
        if not self.stdout.endswith((b"0", b"1", b"\r")):
            return
        if not self.waits or not self.wait(lambda: self.stdout.endswith(b"\n") or self.is_done, ALONE):
            self.alone += 1

    def _goes_on(self, quiet: float) -> bool:
        """Whether there is more on stdout before it has been quiet for so long."""
        before = len(self.stdout)
        self.wait(lambda: len(self.stdout) > before or self.is_done, quiet)
        return len(self.stdout) > before

    @property
    def is_deaf(self) -> bool:
        """Whether it has closed its stdin."""
        poll = select.poll()
        poll.register(self.process.stdin, 0)
        return bool(poll.poll(0))

    def unread(self) -> int:
        """Bytes of what we sent that nobody has read yet."""
        count = array.array("i", [0])
        fcntl.ioctl(self.process.stdin, termios.FIONREAD, count)
        return count[0]

    def until_read(self, seconds: float) -> None:
        """Read until it has taken all that we sent, or for so long: a busy machine may keep it from that."""
        until = time.monotonic() + seconds
        while self.unread() and not self.is_done and time.monotonic() < until:
            self.listen(_MOMENT)

    def listen(self, seconds: float) -> None:
        """Read for so long, or until it has ended."""
        self.wait(lambda: self.is_done, seconds)

    def wait(self, enough: Callable[[], bool], seconds: float) -> bool:
        """Read until it is enough; returns whether it was in time."""
        until = time.monotonic() + seconds
        while not enough():
            left = max(0.0, until - time.monotonic())
            for descriptor, _ in self._poll.poll(left * 1000):
                self._ready(descriptor)
            if not left:
                return enough()
        return True

    @property
    def is_done(self) -> bool:
        """Whether nothing more can come: it has ended, or closed its stdout."""
        return self.exit is not None or self.process.stdout not in self._open

    def ends_within(self, seconds: float) -> bool:
        """Whether the process ends in that time."""
        return self.wait(lambda: self.exit is not None, seconds)

    def close_input(self) -> None:
        """End of input."""
        with contextlib.suppress(OSError):
            os.close(self.process.stdin)
        self.process.stdin = -1

    def signal(self, number: int) -> bool:
        """Send a signal to its process group; returns whether we may."""
        try:
            os.killpg(self.pid, number)
        except PermissionError:
            return False
        except ProcessLookupError:
            pass
        return True

    def close(self, patience: float = 0.3) -> None:
        """End it, by force if need be; one that we may not kill is left.  It stays a zombie until `forget`."""
        if self.process.stdin >= 0:
            self.close_input()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.ends_within(patience):
                break
            self.signal(number)
        else:
            self.ends_within(1)
        self.signal(signal.SIGKILL)  # its children
        self.listen(0)

    def forget(self) -> None:
        """Reap it, and close what is open."""
        if self.exit is not None:
            self.process.wait()
        for descriptor in (self.process.exited, self.process.stdout, self.process.stderr):
            os.close(descriptor)

    def _ready(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._read(descriptor)
            return
        self._poll.unregister(descriptor)
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        for other in [*self._open]:
            for _ in range(_PIECES):
                self._read(other)
        if found is not None:
            self.exit = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def _read(self, descriptor: int) -> None:
        kept = self._open.get(descriptor)
        if kept is None:
            return
        try:
            data = os.read(descriptor, _MOST)
        except BlockingIOError:
            return
        if data and kept is self.stdout and not self.spoke_at:
            self.spoke_at = time.monotonic()
        kept += data[: _MOST - len(kept)]
        if not data:
            self._poll.unregister(descriptor)
            del self._open[descriptor]

    @property
    def output_is_open(self) -> bool:
        """Whether somebody still can write to its stdout or stderr."""
        for descriptor in [*self._open]:
            for _ in range(_PIECES):
                self._read(descriptor)
        return bool(self._open)


def session(leader: int) -> list[int]:
    """The processes in this session: a wrapper's work is done by its children."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            if int(fields[3]) == leader and fields[0] != b"Z":
                found.append(int(name))
    return found


def memory(leader: int) -> int:
    """Bytes of memory that the session's processes have to themselves or share, each counted."""
    pages = 0
    for pid in session(leader):
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:
            pages += int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(leader: int) -> int:
    """Descriptors that the session's processes have open; those of other users' cannot be counted."""
    count = 0
    for pid in session(leader):
        with contextlib.suppress(OSError):
            count += len(os.listdir(f"/proc/{pid}/fd"))
    return count


def seconds_of_cpu(leader: int) -> float:
    """What the session's processes have used so far."""
    ticks = 0
    for pid in session(leader):
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
