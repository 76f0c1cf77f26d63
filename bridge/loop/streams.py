"""Borrowed descriptors: read and written without blocking, and left exactly as they were found.

O_NONBLOCK is a property of the open file description, which standard input and output share with whoever
started us: it is never set there, so there is nothing to restore, however we end.  Instead

  - a pipe or a terminal is reopened through /proc/self/fd, non-blocking;
  - a socket is used with MSG_DONTWAIT;
  - a regular file never blocks;
  - a pipe that may not be opened again (another user's) is polled first, and then gets at most PIPE_BUF bytes,
    for which a ready pipe has room (a terminal: 256).
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable
from functools import partial

TYPE_CHECKING = False  # socket takes milliseconds to import, too long for a relay
if TYPE_CHECKING:
    import socket

SOCKET_PATH_MAX = 107
"""Bytes of a socket's path: `sun_path` has 108, and one is the final zero (unix(7))."""

_TERMINAL_ROOM = 256
"""Bytes.  A terminal's buffer space comes in units of this size; a writable one has at least one."""

_CONNECTION = 4096
"""Bytes read from a connection at once: a hundred lines.  Lines take up to twenty times as much memory here as in the
socket, and there may be many greedy clients.  Python allocates a buffer of this size for each read, mostly for a line
or two: with four times as much, 128 clients get a twentieth fewer answers a second."""


class Borrowed:
    """One end of a stream.

    Attributes:
      descriptor: our own, to be watched and for nothing else.
      read: returns up to the given number of bytes; none at end of input.  Raises BlockingIOError if none is ready.
      write: writes as many of the bytes as there is room for; returns how many.  Raises BlockingIOError if none.
      close: closes our descriptor.
    """

    def __init__(
        self, descriptor: int, read: Callable[[int], bytes], write: Callable[[bytes], int], close: Callable[[], None]
    ) -> None:
        self.descriptor = descriptor
        self.read = read
        self.write = write
        self.close = close


def borrow(descriptor: int, flags: int) -> Borrowed:
    """Borrow `descriptor`, itself left open and unchanged.

    Args:
      flags: `os.O_RDONLY` or `os.O_WRONLY`.
    """
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
    """Whether both are the same pipe or socket, so that writes to either reach the same reader."""
    first, second = os.fstat(one), os.fstat(other)
    is_stream = stat.S_ISFIFO(first.st_mode) or stat.S_ISSOCK(first.st_mode)
    return is_stream and (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def nobody_reads(descriptor: int) -> bool:
    """Whether writes there are lost: the pipe's reader is gone, or the connection is fully closed, not just half."""
    other_end = select.poll()
    other_end.register(descriptor, 0)  # only the events that are always reported
    return bool(other_end.poll(0))


def connected(connection: socket.socket) -> tuple[Borrowed, Borrowed]:
    """Take over a connection of our own.

    Returns:
      one end to read and one to write, to be closed separately.

    Raises:
      OSError: no descriptor is left; the caller keeps the connection.
    """
    connection.setblocking(False)
    sink = os.dup(connection.fileno())
    source = connection.detach()
    plain = _plain(source)
    bounded = Borrowed(source, lambda size: os.read(source, min(size, _CONNECTION)), plain.write, plain.close)
    return bounded, _plain(sink)


def owned(descriptor: int, may_block: bool = False) -> Borrowed:
    """Take over a descriptor of our own, for both directions.

    Args:
      may_block: it shares its file description with other processes.
    """
    return _careful(descriptor) if may_block else _plain(descriptor)


def _plain(descriptor: int) -> Borrowed:
    return Borrowed(
        descriptor,
        partial(os.read, descriptor),
        partial(os.write, descriptor),
        partial(os.close, descriptor),
    )


def _socket(descriptor: int) -> Borrowed:
    import socket  # late: most streams are not sockets

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
