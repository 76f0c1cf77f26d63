"""Where log lines go: stderr, a file, the journal, syslog.  Nothing here blocks.

  - A full target (an unread pipe, a busy journal, a full disk) loses the line.  `Outlet` counts lost lines,
    and says so before the next line that gets through.
  - If a target cannot be reached, the line goes to the next one; it is tried again after a second.
  - stderr is shared with other processes: it is never switched to non-blocking.

`socket` takes milliseconds to import, and most short commands log nothing: it is imported only when needed.
"""

from __future__ import annotations

import abc
import errno
import os
import select
import stat
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bridge.log.events import event
from bridge.log.text import cut

if TYPE_CHECKING:
    import socket

IDENTIFIER = "extauth-bridge"

JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"

AGAIN = 1.0
"""Seconds until an unreachable target is tried again, and between checks whether a file was rotated away."""

_FULL = frozenset({errno.EAGAIN, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOBUFS, errno.ENOMEM})

_FACILITY = 3
"""LOG_DAEMON, as for Prosody's own lines and for everything that reaches the journal through stderr.  The lines
report on programs, not on logins: auth.log would be the wrong place, and other tools watch it."""


class Line:
    """One line for the log.

    Args:
      priority: syslog's, 0 to 7.
      level: its name.
      when: seconds since the epoch.
      text: printable, without a newline.
    """

    __slots__ = ("level", "priority", "text", "when")

    def __init__(self, priority: int, level: str, when: float, text: str) -> None:
        self.priority = priority
        self.level = level
        self.when = when
        self.text = text


class Target(abc.ABC):
    """Somewhere lines can go.

    Attributes:
      name: as `log.target` has it.
      retry_at: time on the outlet's clock before which it is not tried again.
    """

    name = ""
    retry_at = 0.0

    @abc.abstractmethod
    def send(self, line: Line) -> None:
        """Write one line, at once or not at all.

        Raises:
          OSError: it was not written, or only in part.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Close its descriptors."""


class Outlet:
    """The targets in order of preference.  A line goes to the first that can be reached.

    Args:
      wanted: the first one was configured, so the log says once if it could not be reached.
      clock: seconds.

    Attributes:
      lost: lines that reached no target since the last one that did.
    """

    def __init__(self, targets: Sequence[Target], wanted: bool, clock: Callable[[], float]) -> None:
        self.lost = 0
        self._targets = targets
        self._wanted = targets[0] if wanted else None
        self._missed = ""
        self._clock = clock

    def send(self, line: Line) -> None:
        """Write one line, or count it as lost."""
        now = self._clock()
        for target in self._targets:
            if now < target.retry_at:
                continue
            try:
                self._report_losses(target, line.when)
                target.send(line)
                return
            except OSError as error:
                if error.errno in _FULL:
                    break
                target.retry_at = now + AGAIN
                if target is self._wanted:
                    self._wanted = None
                    self._missed = event("", target=target.name, error=errno.errorcode.get(error.errno or 0, "unknown"))
        self.lost += 1

    def close(self) -> None:
        """Close all targets."""
        for target in self._targets:
            target.close()

    def _report_losses(self, target: Target, when: float) -> None:
        """Log what is missing from the log, now that a target seems reachable."""
        if self._missed:
            target.send(_warning(when, f"log target could not be reached{self._missed}"))
            self._missed = ""
        if self.lost:
            target.send(_warning(when, f"log lines lost count={self.lost}"))
            self.lost = 0


class _Stream(Target):
    """A descriptor that lines of text are written to."""

    def __init__(self) -> None:
        self._fd = -1
        self._torn = False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, line: Line, style: Callable[[Line], str]) -> None:
        """Write at most PIPE_BUF bytes at once: a pipe takes them atomically or not at all."""
        # A full disk or a stopped terminal takes only part of a line: the next line must not continue it.
        data = b"\n" * self._torn + cut(style(line), select.PIPE_BUF - 2) + b"\n"
        written = self._put(data)
        self._torn = written < len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _put(self, data: bytes) -> int:
        return os.write(self._fd, data)


class Stderr(_Stream):
    """Standard error as it is now, whatever that descriptor becomes later.

    Args:
      fd: its descriptor.
    """

    name = "stderr"

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._style = _dated
        self._socket: socket.socket | None = None
        self._shared = False
        try:
            status = os.fstat(fd)
            self._fd, self._shared = _private(fd, status.st_mode)
        except OSError:  # closed: whatever gets that number later is not ours to write to
            return
        if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
            self._style = _prefixed
        if stat.S_ISSOCK(status.st_mode):
            import socket

            self._socket = socket.socket(fileno=self._fd)

    def send(self, line: Line) -> None:
        self._write(line, self._style)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        super().close()

    def _put(self, data: bytes) -> int:
        if self._socket is not None:
            import socket

            return self._socket.send(data, socket.MSG_DONTWAIT)
        if self._shared and not _is_writable(self._fd):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return super()._put(data)


class File(_Stream):
    """A file that is appended to, created with mode 0600, and reopened when it was rotated away.

    Args:
      path: the file.
      terminals: whether it may be a terminal (/dev/tty, /dev/stderr), which could be the client's.
      clock: seconds.
    """

    def __init__(self, path: str, terminals: bool, clock: Callable[[], float]) -> None:
        super().__init__()
        self.name = f"file:{path}"
        self._path = path
        self._terminals = terminals
        self._clock = clock
        self._look_at = 0.0

    def send(self, line: Line) -> None:
        if self._fd >= 0 and self._clock() >= self._look_at:
            self._look_at = self._clock() + AGAIN
            if not self._is_current():
                self.close()
        if self._fd < 0:
            self._open()
        self._write(line, _dated)

    def _is_current(self) -> bool:
        try:
            named = os.stat(self._path)
        except OSError:
            return False
        return os.path.samestat(named, os.fstat(self._fd))

    def _open(self) -> None:
        # Non-blocking because of FIFOs and devices.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
        fd = os.open(self._path, flags, 0o600)
        if not self._terminals and os.isatty(fd):
            os.close(fd)
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        self._fd = fd
        self._torn = False
        self._look_at = self._clock() + AGAIN


class _Datagrams(Target):
    """A Unix socket that takes each line as one datagram.

    Args:
      path: the socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def send(self, line: Line) -> None:
        if self._socket is None:
            import socket

            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        text = line.text
        while True:
            datagram = self._datagram(line, text.encode("utf-8", "backslashreplace"))
            try:
                # Unconnected, so that a restarted daemon is reached without reconnecting.
                self._socket.sendto(datagram, self._path)
                return
            except OSError as error:
                if error.errno != errno.EMSGSIZE or len(text) < 100:
                    raise
            text = text[: len(text) // 2] + "…"

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @abc.abstractmethod
    def _datagram(self, line: Line, text: bytes) -> bytes: ...


class Syslog(_Datagrams):
    """/dev/log, in the short form of RFC 3164: local syslog daemons add time and host themselves."""

    name = "syslog"

    def _datagram(self, line: Line, text: bytes) -> bytes:
        return f"<{_FACILITY * 8 + line.priority}>{IDENTIFIER}[{os.getpid()}]: ".encode() + text


class Journal(_Datagrams):
    """The journal's native socket, https://systemd.io/JOURNAL_NATIVE_PROTOCOL/."""

    name = "journal"

    def _datagram(self, line: Line, text: bytes) -> bytes:
        fields = {
            "MESSAGE": text,
            "PRIORITY": b"%d" % line.priority,
            "SYSLOG_FACILITY": b"%d" % _FACILITY,
            "SYSLOG_IDENTIFIER": IDENTIFIER.encode(),
            "SYSLOG_PID": b"%d" % os.getpid(),
        }
        return b"".join(journal_field(name, value) for name, value in fields.items())


def journal_field(name: str, value: bytes) -> bytes:
    """One field of the native protocol; a value that holds a newline is written with its length."""
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def chosen(
    target: str, client_terminal: bool, stderr: int, journal: str, syslog: str, clock: Callable[[], float]
) -> list[Target]:
    """The targets for `log.target`: the one it names, then those of `auto`, best first.

    Args:
      target: auto, journal, syslog, stderr or file:/path.
      client_terminal: stderr is the client's terminal, and so not a target.
      stderr: its descriptor.
      journal, syslog: the sockets' paths.
      clock: seconds.
    """
    sockets: dict[str, Target] = {"journal": Journal(journal), "syslog": Syslog(syslog)}
    auto: dict[str, Target] = sockets if client_terminal else {"stderr": Stderr(stderr)} | sockets
    path = target.removeprefix("file:")
    if path != target:
        return [File(path, not client_terminal, clock), *auto.values()]
    return sorted(auto.values(), key=lambda it: it is not auto.get(target))


def _warning(when: float, text: str) -> Line:
    return Line(4, "WARNING", when, text)


def _is_writable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


def _private(fd: int, mode: int) -> tuple[int, bool]:
    """Our own descriptor for the same file, which nobody else can close or redirect; and whether it may block.

    A pipe or terminal is reopened, non-blocking, where that is allowed.  Otherwise we have to poll first, and
    another process may fill the pipe between poll and write; a terminal may have room for less than a line.
    """
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY), False
        except OSError:  # another user's, or no /proc
            pass
    return os.dup(fd), True


def _dated(line: Line) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(line.when))
    return f"{stamp} {line.level} {IDENTIFIER}[{os.getpid()}]: {line.text}"


def _prefixed(line: Line) -> str:
    """The form in which the journal reads a service's stderr (sd-daemon(3)); it adds time and sender itself."""
    return f"<{line.priority}>{line.text}"
