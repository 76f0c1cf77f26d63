"""Descriptors that belong to somebody else: read and written without waiting, left exactly as they were found.

O_NONBLOCK is a property of the open file description, which standard input and output share with whoever
started us: it is never set there, so there is nothing to restore, whatever ends us.  Instead

  - a pipe or a terminal is opened anew through /proc/self/fd, non-blocking;
  - a socket is used with MSG_DONTWAIT;
  - a regular file never makes anybody wait;
  - where a pipe may not be opened again (another user's), it is asked first whether it is ready, and then
    gets at most PIPE_BUF bytes, for which a ready pipe has room (a terminal: 256).
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable
from functools import partial

TYPE_CHECKING = False  # socket takes milliseconds to import, which a relay has not
if TYPE_CHECKING:
    import socket

_TERMINAL_ROOM = 256
"""Bytes.  A terminal's room comes in units of this size; a ready one has at least one."""

_CONNECTION = 4096
"""Bytes read of a connection at once: a hundred lines.  Lines take up to twenty times as much room here as in the
socket, and there may be many greedy clients.  Python gets a buffer of this size for each read, mostly for a line or
two: with four times as much, 128 clients get a twentieth fewer answers a second."""


class Borrowed:
    """One end of somebody's stream.

    Attributes:
      descriptor: our own one on it; to be watched, and not to be used in any other way.
      read: at most so many bytes; none at end of input.  Raises BlockingIOError if nothing is there.
      write: as many of the bytes as there is room for, and says how many.  Raises BlockingIOError if there is none.
    """

    def __init__(
        self, descriptor: int, read: Callable[[int], bytes], write: Callable[[bytes], int], close: Callable[[], None]
    ) -> None:
        self.descriptor = descriptor
        self.read = read
        self.write = write
        self.close = close


def borrow(descriptor: int, flags: int) -> Borrowed:
    """`descriptor`, which stays open and as it is, for reading (`os.O_RDONLY`) or writing (`os.O_WRONLY`)."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        return _socket(descriptor)
    if not (stat.S_ISFIFO(mode) or os.isatty(descriptor)):
        return _plain(os.dup(descriptor))
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return _careful(os.dup(descriptor))
    return _plain(own)


def is_one_stream(one: int, other: int) -> bool:
    """Whether both are the same pipe or socket: what is written to either reaches the same reader."""
    first, second = os.fstat(one), os.fstat(other)
    is_stream = stat.S_ISFIFO(first.st_mode) or stat.S_ISSOCK(first.st_mode)
    return is_stream and (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def nobody_reads(descriptor: int) -> bool:
    """Whether what is written there is lost: the pipe's reader is gone, or the connection is closed, not just half."""
    other_end = select.poll()
    other_end.register(descriptor, 0)  # no event but those that are always told
    return bool(other_end.poll(0))


def connected(connection: socket.socket) -> tuple[Borrowed, Borrowed]:
    """A connection of our own, which is taken over: one end to read, one to write, to be closed separately.

    Raises:
      OSError: no descriptor is left; the connection stays the caller's.
    """
    connection.setblocking(False)
    sink = os.dup(connection.fileno())
    source = connection.detach()
    plain = _plain(source)
    bounded = Borrowed(source, lambda size: os.read(source, min(size, _CONNECTION)), plain.write, plain.close)
    return bounded, _plain(sink)


def owned(descriptor: int, may_block: bool = False) -> Borrowed:
    """A descriptor of our own, for both directions; `may_block` if it is on somebody else's file description."""
    return _careful(descriptor) if may_block else _plain(descriptor)


def _plain(descriptor: int) -> Borrowed:
    return Borrowed(
        descriptor,
        partial(os.read, descriptor),
        partial(os.write, descriptor),
        partial(os.close, descriptor),
    )


def _socket(descriptor: int) -> Borrowed:
    import socket  # late: most streams are none

    own = socket.socket(fileno=os.dup(descriptor))
    return Borrowed(
        own.fileno(),
        lambda size: own.recv(size, socket.MSG_DONTWAIT),
        lambda data: own.send(data, socket.MSG_DONTWAIT),
        own.close,
    )


def _careful(descriptor: int) -> Borrowed:
    room = _TERMINAL_ROOM if os.isatty(descriptor) else select.PIPE_BUF
    readable, writable = select.poll(), select.poll()
    readable.register(descriptor, select.POLLIN)
    writable.register(descriptor, select.POLLOUT)

    def read(size: int) -> bytes:
        if not readable.poll(0):
            raise BlockingIOError
        return os.read(descriptor, size)

    def write(data: bytes) -> int:
        if not writable.poll(0):
            raise BlockingIOError
        return os.write(descriptor, data[:room])

    return Borrowed(descriptor, read, write, lambda: os.close(descriptor))
