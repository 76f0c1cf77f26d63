"""A client's stream in memory: what was sent waits in it, what is written is told at once; and time that goes by."""

import os
from collections.abc import Callable, Iterator

from support.clock import Clock

from bridge.loop.reactor import Reactor
from bridge.loop.streams import Borrowed


class Stream:
    """Both directions of a client's stream, as a session sees them.

    Args:
      written: called with what the session writes.
      read: called with each burst: all that was read until nothing was left.

    Attributes:
      full: there is no room for an answer.
      gone: the other end is closed.
    """

    def __init__(self, written: Callable[[bytes], None], read: Callable[[bytes], None]) -> None:
        self._written, self._read_of = written, read
        self._incoming, self._burst = b"", b""
        self.full = self.gone = False
        self._bell, other = (os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2))
        self.source = Borrowed(self._bell, self.read, self.write, lambda: None)
        self.sink = Borrowed(other, self.read, self.write, lambda: None)

    def arrive(self, data: bytes) -> None:
        """The client sends; the session's reactor sees it when it looks."""
        self._incoming += data
        os.eventfd_write(self._bell, 1)

    def hang_up(self) -> None:
        self.gone = True
        os.eventfd_write(self._bell, 1)

    @property
    def unread(self) -> bytes:
        return self._incoming

    def read(self, size: int) -> bytes:
        data, self._incoming = self._incoming[:size], self._incoming[size:]
        self._burst += data
        if data:
            return data
        burst, self._burst = self._burst, b""
        if burst:
            self._read_of(burst)
        if self.gone:
            raise OSError("hung up")
        try:  # noqa: SIM105  (this is called often)
            os.eventfd_read(self._bell)
        except BlockingIOError:
            pass
        raise BlockingIOError

    def write(self, data: bytes) -> int:
        if self.gone:
            raise OSError("hung up")
        if self.full:
            raise BlockingIOError
        self._written(data)
        return len(data)

    def close(self) -> None:
        for end in (self.source, self.sink):
            os.close(end.descriptor)


def until_each_timer(clock: Clock, reactor: Reactor, seconds: float) -> Iterator[None]:
    """Let time go by, stopping after each timer that rings on the way, and at the end."""
    until = clock.now + seconds
    while (first := reactor._timers.first) <= until:
        clock.now = max(clock.now, first)
        reactor._ring()
        yield
    clock.now = until
    yield
