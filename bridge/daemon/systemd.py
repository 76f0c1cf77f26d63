"""The protocols between systemd and a daemon: readiness, status, watchdog.

They are those of sd_notify(3) and sd_watchdog_enabled(3), which systemd calls stable and
recommends to implement oneself.

  - Nothing here blocks, and notifying systemd never raises: the daemon works the same without systemd, or with
    one that does not listen.
  - Only variables addressed to this very process count: they may have been inherited.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping

from bridge.log.text import cut, escaped

STATUS_MAX = 512
"""Bytes of a status: more than a line of `systemctl status` shows, far less than systemd reads (4096)."""

_MOST_OWED = 4
"""Messages kept for later: a reload's two, the end of the start before it, and the stop after it."""

_OURS = frozenset({"NOTIFY_SOCKET"})
_OURS_BEGIN = ("LISTEN_", "WATCHDOG_")


class Notifier:
    """Notifies systemd of the daemon's state.

    If the socket is full (about ten messages, if nobody reads them), a change of state is kept and sent before
    the next message.  A status or a watchdog ping is dropped: the next one supersedes it.

    Args:
      address: of a datagram socket; None: send nothing.
      watchdog_interval: seconds.

    Attributes:
      watchdog_interval: seconds between two calls of `watchdog`, half of systemd's timeout; None: no watchdog.
    """

    def __init__(self, address: bytes | None, watchdog_interval: float | None) -> None:
        self.watchdog_interval = watchdog_interval
        self._address = address
        self._owed: list[bytes] = []
        self._socket: socket.socket | None = None
        if address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    @property
    def wanted(self) -> bool:
        """Whether there is a systemd to notify."""
        return self._address is not None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Notifier:
        """From NOTIFY_SOCKET, a path or `@name`; without either, every call does nothing."""
        address = os.fsencode(environ.get("NOTIFY_SOCKET", ""))
        if address.startswith(b"@"):
            address = b"\0" + address[1:]  # the abstract namespace
        elif not address.startswith(b"/"):
            return cls(None, None)
        return cls(address, _watchdog_interval(environ))

    def ready(self, status: str) -> None:
        """The start or the reload is complete."""
        self._change("READY=1", _status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._say(_status(text))

    def reloading(self) -> None:
        """A reload begins; `ready` ends it, even if it failed."""
        self._change("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """The drain begins."""
        self._change("STOPPING=1", _status(status))

    def watchdog(self) -> None:
        """The daemon is alive; to be called only while it makes progress."""
        self._say("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """Extend the timeout of the current start, reload or stop to this long from now."""
        self._say(f"EXTEND_TIMEOUT_USEC={max(1, round(seconds * 1e6))}")

    def close(self) -> None:
        """Close the socket; later messages are lost."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _change(self, *fields: str) -> None:
        self._owed = [*self._owed, "\n".join(fields).encode()][-_MOST_OWED:]
        self._settle()

    def _say(self, field: str) -> None:
        if self._settle():
            self._sent(field.encode())

    def _settle(self) -> bool:
        """Send the kept messages in order.

        Returns:
          whether none is left.
        """
        while self._owed and self._sent(self._owed[0]):
            del self._owed[0]
        return not self._owed

    def _sent(self, message: bytes) -> bool:
        if self._socket is None or self._address is None:
            return True
        try:
            # Unconnected, so that a restarted systemd is reached without reconnecting.
            self._socket.sendto(message, self._address)
        except OSError:  # EAGAIN: full; ENOENT, ECONNREFUSED: nobody there; and any other
            return False
        return True


def forget(environ: MutableMapping[str, str]) -> None:
    """Remove the variables addressed to us alone, once they are read, so that our children do not act on them.

    JOURNAL_STREAM stays: the log needs it at a reload.
    """
    for name in [name for name in environ if name in _OURS or name.startswith(_OURS_BEGIN)]:
        del environ[name]


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    if number(environ.get("WATCHDOG_PID", str(os.getpid()))) != os.getpid():
        return None
    wait = number(environ.get("WATCHDOG_USEC", ""))
    return wait / 2e6 if wait else None


def _status(text: str) -> str:
    """The field on one line: a newline would begin another field."""
    return "STATUS=" + cut(escaped(text[: STATUS_MAX + 1]), STATUS_MAX).decode()


def number(text: str) -> int | None:
    """The value of a variable that systemd sets to a number; `None` if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
