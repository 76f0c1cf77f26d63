"""Tells whether the client, the process at the other end of our terminal, is waiting for our answer right now.

An answer that nobody waits for stays in the terminal and becomes the answer to the next question: a login
with a wrong password would succeed.  It cannot be taken back (tcflush on this side does not reach what the
other side has not read), but before an answer is written, /proc shows whether the client waits.

Who is watched: the client holds the master of our terminal /dev/pts/N, a ptmx descriptor whose fdinfo says
`tty-index: N`.  Its children inherit that (lpty does not set close-on-exec), so of our ancestors that have it,
the *outermost* is the client; one whose standard input is our terminal is a wrapper script, never the client.

What is read, the best that the system lets us see:
1. `by its system call` (/proc/PID/syscall, for whoever may ptrace it: the same uid, unless yama forbids): a
   thread is in read, select or poll on exactly this master, or in epoll_wait on a set that waits for it.  A
   running thread does not count as waiting: even with the master in its epoll set it may be about to take it
   out, having just read something else as the answer.
2. `by its wait channel` (/proc/PID/wchan): the main thread is in some select or poll.  That could be on
   another descriptor, and means something only if the main loop uses epoll: not without an epoll descriptor.
3. Nothing: another uid, hidepid, a client that is not dumpable, an old kernel.

Limits:
- The client can give up between a look and the write.  A look makes that gap short; nothing closes it.
- A client that waits in another way is never WAITING: io_uring, nested epoll sets, polling with read.
- A poll that was stopped and continued (SIGSTOP, a debugger) is BUSY: the kernel says restart_syscall.
- Where ptmx is not in a devpts, and the devpts that belongs to it cannot be seen (another root directory), a
  terminal with the same number in another container would be taken for ours.

Cost of a look, in order of magnitude (virtual x86-64 machine, Python 3.11): 8 µs for a client in select, read
or poll, or a busy one; 4 µs by its wait channel; 20 µs for an epoll set, plus 1 µs for each descriptor in it
(10 ms for 10,000).  The first look reads the links of all the client's descriptors, 2 µs each.
"""

import enum
import errno
import os
import struct
import time
from collections.abc import Callable

from . import procfs

# Seconds between two searches for a client that could not be seen.
SEARCH_INTERVAL = 1.0
# Seconds for which one sleep is seen without its wait channel until the kernel is taken for one that shows none.
SILENCE = 0.2
# Longest pollfd array that is read; a longer one belongs to some other main loop.
MAX_POLLFDS = 4096

POLLIN = EPOLLIN = 0x1
POLLRDNORM = EPOLLRDNORM = 0x40
# An int argument is the low half of a register.
INT = 0xFFFFFFFF

# What /proc/PID/syscall says for a zombie.
_DEAD = b"-1 0x0 0x0"
_EVENTPOLL = "anon_inode:[eventpoll]"

# Errors that are about us at the moment, not about the client.
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN}


class Look(enum.Enum):
    """What the client is doing.  When in doubt it is BUSY or ELSEWHERE, never WAITING."""

    WAITING = "waiting"  # for us: it will read what is written now as the answer to its question
    ELSEWHERE = "elsewhere"  # in its main loop (epoll) without us: nobody will read the answer any more
    BUSY = "busy"  # running, or waiting for something else: look again
    UNSEEN = "unseen"  # nothing can be concluded


class Watcher:
    """Watches the client of one terminal.  Nothing here raises.

    It searches for the client when first asked, and at most once a second while it cannot be seen.  It
    keeps a few descriptors of /proc open, all close-on-exec, until `close`.

    Args:
      terminal_fd: our side of the terminal; it is not read, and the caller closes it.
      proc: where proc is mounted.
      clock: seconds, monotonic.
    """

    def __init__(self, terminal_fd: int, *, proc: str = "/proc", clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal_fd = terminal_fd
        self._proc = proc
        self._clock = clock
        self._client: _View | None = None
        self._search_at = float("-inf")
        self._reason = ""

    def look(self) -> Look:
        """What the client is doing right now."""
        if self._client is None:
            self._search()
        if self._client is None:
            return Look.UNSEEN
        try:
            return self._client.look()
        except OSError as error:
            if error.errno in _PASSING:
                return Look.BUSY
            self._lose(_reason(error))
        except (ValueError, IndexError) as error:
            self._lose(f"not understood: {error}")
        return Look.UNSEEN

    @property
    def sees(self) -> bool:
        """Whether the client could be seen at the last look."""
        if not self._reason and self._client is None:
            self._search()
        return self._client is not None

    def describe(self) -> str:
        """One short text for the log: who is watched and how, or why nobody is."""
        if self.sees and self._client is not None:
            return f"client pid {self._client.pid} {self._client.means}"
        return f"client not visible ({self._reason})"

    def close(self) -> None:
        """Close what was kept open; a later look searches again."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._reason = ""
        self._search_at = float("-inf")

    def _lose(self, reason: str) -> None:
        assert self._client is not None
        self._client.close()
        self._client = None
        self._reason = reason

    def _search(self) -> None:
        """Search for the client, unless that was done a moment ago."""
        now = self._clock()
        if now < self._search_at:
            return
        self._search_at = now + SEARCH_INTERVAL
        try:
            self._client, self._reason = _find(self._terminal_fd, self._proc, self._clock)
        except OSError as error:
            self._reason = _reason(error)
        except (ValueError, IndexError) as error:
            self._reason = f"not understood: {error}"


def _reason(error: OSError) -> str:
    text = (error.strerror or str(error)).lower()
    return f"{text} on {error.filename}" if error.filename else text


# --- Who is the client? ---


def _find(terminal_fd: int, proc: str, clock: Callable[[], float]) -> "tuple[_View | None, str]":
    """The client of this terminal, or None and why it cannot be seen."""
    terminal = os.fstat(terminal_fd)
    if os.major(terminal.st_rdev) != procfs.PTY_SLAVE_MAJOR:
        return None, "not on a pseudo-terminal"
    index = os.minor(terminal.st_rdev)
    refused = ""
    holder, masters = 0, set[int]()
    for generation, pid in enumerate(procfs.ancestors(proc)):
        try:
            found = procfs.masters(f"{proc}/{pid}", terminal)
        except OSError as error:
            # Says nothing about those further up.  That init cannot be seen is normal, and not the reason.
            if not refused and (pid != 1 or generation == 0):
                refused = _reason(error)
        else:
            if found:
                holder, masters = pid, found
    if not holder:
        return None, refused or f"no ancestor holds the master of /dev/pts/{index}"
    if procfs.is_stdin(f"{proc}/{holder}", terminal):
        return None, refused or f"only a wrapper, pid {holder}, holds the master of /dev/pts/{index}"
    views = _BySystemCall(f"{proc}/{holder}", holder, index), _ByWaitChannel(f"{proc}/{holder}", holder, index, clock)
    return _first_open(views, masters)


def _first_open(views: "tuple[_View, ...]", masters: set[int]) -> "tuple[_View | None, str]":
    reasons: list[str] = []
    for view in views:
        try:
            view.open(masters)
        except OSError as error:
            view.close()
            reasons.append(_reason(error))
        else:
            return view, ""
    return None, "; ".join(reasons)


# --- What does it do? ---


class _View:
    """A way of watching one client.  `open` and `look` raise OSError if it is gone or cannot be seen (any more)."""

    means = ""

    def __init__(self, home: str, pid: int, index: int) -> None:
        self.pid = pid
        self._home = home
        self._index = index
        self._masters: dict[int, procfs.Kept] = {}
        self._kept: list[procfs.Kept] = []

    def open(self, masters: set[int]) -> None:
        self._masters = {number: self._keep(f"fdinfo/{number}") for number in masters}

    def look(self) -> Look:
        raise NotImplementedError

    def close(self) -> None:
        while self._kept:
            self._kept.pop().close()

    def _keep(self, name: str) -> procfs.Kept:
        kept = procfs.Kept(f"{self._home}/{name}")
        self._kept.append(kept)
        return kept

    def _check(self, number: int) -> None:
        """Raise if this descriptor is no longer our master: closed, or its number reused."""
        if procfs.tty_index(self._masters[number].read()) != self._index:
            raise FileNotFoundError(errno.ENOENT, "no master any more", self._masters[number].path)

    def _is_in(self, epoll: int) -> int | None:
        """The master's descriptor, if this epoll set of the client waits to read from it."""
        entries = procfs.read_all(f"{self._home}/fdinfo/{epoll}")
        for number in self._masters:
            if procfs.epoll_events(entries, number) & (EPOLLIN | EPOLLRDNORM):
                return number
        return None


class _BySystemCall(_View):
    """Watches the system call that each thread is in, and its arguments."""

    means = "by its system call"

    def open(self, masters: set[int]) -> None:
        super().open(masters)
        machine = procfs.machine(self._home)
        if machine is None:
            raise OSError(errno.ENOSYS, "a machine whose system calls are not known", f"{self._home}/exe")
        self._machine = machine
        self._call = self._keep("syscall")
        # Opening it proves little: the kernel checks permission at every read.
        self._call.read()
        self._memory: procfs.Kept | None
        try:
            self._memory = self._keep("mem")
        except (PermissionError, FileNotFoundError):
            self._memory = None

    def look(self) -> Look:
        seen = self._classify(self._call.read())
        if seen is Look.WAITING:
            return seen
        for thread in os.listdir(f"{self._home}/task"):
            if thread == str(self.pid):
                continue
            try:
                other = self._classify(procfs.read(f"{self._home}/task/{thread}/syscall"))
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended meanwhile
            if other is Look.WAITING:
                return other
            if other is Look.BUSY:
                # This may be the thread that will wait for us.
                seen = other
        return seen

    def _classify(self, line: bytes) -> Look:
        """What a thread is doing, from its line: `number argument1 ... argument6 sp pc`, or `running`."""
        words = line.split()
        kind = self._machine.waits.get(words[0]) if len(words) == 9 else None
        if kind is None:
            if line.startswith(_DEAD):
                raise ProcessLookupError(errno.ESRCH, "ended", self._call.path)
            return Look.BUSY
        first, second = int(words[1], 16), int(words[2], 16)
        if kind == procfs.EPOLL:
            try:
                master = self._is_in(first & INT)
            except FileNotFoundError:
                return Look.BUSY  # left the call and closed the set meanwhile
            if master is None:
                return Look.ELSEWHERE
        elif kind == procfs.READ:
            master = first & INT if first & INT in self._masters else None
        elif kind == procfs.SELECT:
            master = self._in_fd_set(first & INT, second)
        else:
            master = self._in_pollfds(first, second)
        if master is None:
            # A main loop on select, or a database that is asked before we are: we cannot tell which.
            return Look.BUSY
        self._check(master)
        return Look.WAITING

    def _in_fd_set(self, count: int, readfds: int) -> int | None:
        """The master's descriptor, if a select over the descriptors below `count` waits to read from it."""
        for number in self._masters:
            if number >= count or readfds == 0:
                continue
            if self._memory is None:
                # lpty's select is on one descriptor only, which is therefore the highest of the set.
                if number + 1 == count:
                    return number
                continue
            byte = self._peek(readfds + self._machine.fd_set_byte(number), 1)
            if byte and byte[0] >> number % 8 & 1:
                return number
        return None

    def _in_pollfds(self, address: int, count: int) -> int | None:
        """The master's descriptor, if a poll over this array waits to read from it."""
        if not 0 < count <= MAX_POLLFDS:
            return None
        entry = struct.Struct(self._machine.pollfd)
        array = self._peek(address, count * entry.size)
        for number, events, _ in entry.iter_unpack(array[: len(array) // entry.size * entry.size]):
            if number in self._masters and events & (POLLIN | POLLRDNORM):
                return int(number)
        return None

    def _peek(self, address: int, size: int) -> bytes:
        """The client's memory at that address; empty if it cannot be read."""
        if self._memory is None:
            return b""
        try:
            found = self._memory.read(size, address)
        except (OSError, OverflowError):
            return b""  # not mapped: the call has returned meanwhile
        if not found:
            # The descriptor stays bound to the program that ran when it was opened.
            raise OSError(errno.ESTALE, "runs another program", self._memory.path)
        return found


class _ByWaitChannel(_View):
    """Watches the place in the kernel where the main thread sleeps."""

    means = "by its wait channel"

    def __init__(self, home: str, pid: int, index: int, clock: Callable[[], float]) -> None:
        super().__init__(home, pid, index)
        self._clock = clock
        self._silent_sleep = b""
        self._silent_since = 0.0

    def open(self, masters: set[int]) -> None:
        super().open(masters)
        self._epolls = [number for number, link in procfs.links(self._home) if link == _EVENTPOLL]
        if not self._epolls:
            raise OSError(errno.ENODATA, "no main loop on epoll, so its wait channel tells nothing")
        self._channel = self._keep("wchan")
        self._channel.read()

    def look(self) -> Look:
        channel = self._channel.read()
        if b"select" in channel or b"poll_schedule" in channel:
            self._check(min(self._masters))
            return Look.WAITING
        if b"ep_poll" in channel or b"epoll" in channel:
            for epoll in self._epolls:
                master = self._is_in(epoll)
                if master is not None:
                    self._check(master)
                    return Look.WAITING
            return Look.ELSEWHERE
        self._refuse_if_silent()
        return Look.BUSY

    def _refuse_if_silent(self) -> None:
        """Raise if this kernel shows `0` even for a sleeping thread; a running one always shows `0`.

        Since Linux 6.12, so does one that has only just gone to sleep on a busy CPU, until others have had their turns.
        """
        sleep = procfs.slept(procfs.read(f"{self._home}/status"))
        if sleep is None or self._channel.read() not in (b"0", b""):
            return
        if procfs.slept(procfs.read(f"{self._home}/status")) != sleep:
            return
        if sleep != self._silent_sleep:
            self._silent_sleep, self._silent_since = sleep, self._clock()
        elif self._clock() - self._silent_since >= SILENCE:
            raise OSError(errno.ENODATA, "not shown while it sleeps", self._channel.path)
