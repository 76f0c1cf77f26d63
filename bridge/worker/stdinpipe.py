"""The pipe to a program, which tells whether its reply was written after it had read its question.

A program that replies twice may write its second reply when the next question is already in its pipe, and may have read
that question by the time we read the reply.  Only the order of events tells which question the reply belongs to:

  - The pipe has just the pages that a frame fills: one, for all but the longest lines.  A full pipe is not writable; it
    becomes so when the program's read(2) has emptied a page, and epoll is notified before that read returns.
  - Epoll's ready list is a queue.  If it reports a reply before it reports that the question was read, the program
    wrote that reply without having read the question.
  - A descriptor has one place in the queue, the first it got since epoll last looked at it, so no older place may be
    left.  A pipe that was just made or resized is writable; that event is discarded at once.  If a program writes its
    replies in pieces, one may arrive after the previous piece was reported and before both are read: its stdout is
    therefore registered again before the next question (`Worker.careful`).
  - If the program closes its stdin, that does not count: epoll reports no room while the frame is there.

All Linux versions the bridge runs on behave like this, and `order_is_told` checks it.  Before 6.14 the kernel queues a
pipe even when only part of a page was read, such as a frame's two bytes of length, although epoll reports it only if
there is room by then: a second reply written after these two bytes and before the rest is read may go unnoticed.

If the kernel does not keep this order, or if a frame does not fill all pages of its pipe, which can only be a power of
two, there is an older, less certain check: whether the question is still in the pipe when the reply is read.
"""

from __future__ import annotations

import array
import contextlib
import functools
import os
import select
from fcntl import F_SETPIPE_SZ, fcntl, ioctl
from termios import FIONREAD

from bridge.loop.reactor import ARRIVING, EMPTIED, Reactor

_PAGE = os.sysconf("SC_PAGE_SIZE")

_USUAL = 16
"""Pages of a new pipe on Linux."""

_unread = array.array("i", [0])
"""FIONREAD's result: bytes of a frame that the program has not read.  Shared by all, as one for each call would take a
third more time."""


class StdinPipe:
    """Our end of one program's stdin.

    Args:
      short: bytes of a short body, whose frame fills one page; negative if none does.

    Raises:
      OSError: it cannot be watched; the caller keeps the descriptor.

    Attributes:
      descriptor: to write whole frames to, each when the previous one has been read; -1 once closed.
      taken: the last frame has been read; whoever writes one makes this false.
      tells: `taken` can be trusted, as the last frame has filled the pipe.
      short: a frame for a body of at most this many bytes fills the pipe at its present size; -1 if none does.
    """

    __slots__ = ("_pages", "_reactor", "_short", "descriptor", "short", "taken", "tells")

    def __init__(self, descriptor: int, reactor: Reactor, short: int) -> None:
        self.descriptor = descriptor
        self.taken = False
        self.short = -1
        self._short = short
        self.tells = False
        self._reactor = reactor
        self._pages = _USUAL
        reactor.watch_taken(descriptor, self)
        self.fit(1)

    def fit(self, size: int) -> bool:
        """Resize the empty pipe so that a frame of `size` bytes fills it, or at least fits.

        Returns:
          False if the kernel refuses: our user's pipes have used up all the pages they may.
        """
        filled = -(-size // _PAGE)
        pages = 1 << (filled - 1).bit_length()
        if pages != self._pages:
            with contextlib.suppress(OSError):
                self._pages = fcntl(self.descriptor, F_SETPIPE_SZ, pages * _PAGE) // _PAGE
                self._reactor.forget(self.descriptor)  # epoll reports this as if a frame had been read
        self.tells = filled == self._pages and order_is_told()
        self.short = self._short if self.tells and filled == 1 else -1
        return filled <= self._pages

    def looks_taken(self) -> bool:
        """Whether the frame has been read, if epoll does not report that; less certain, as it may just have been."""
        return not self.tells and not self.unread()

    def unread(self) -> int:
        """Bytes of the last frame that the program has not read."""
        ioctl(self.descriptor, FIONREAD, _unread)
        return _unread[0]

    def close(self) -> None:
        """Close the pipe: end of input for the program.  May be called again."""
        if self.descriptor >= 0:
            self._reactor.unwatch(self.descriptor)
            os.close(self.descriptor)
            self.descriptor = -1

    def reader_gone(self) -> None:
        """Nobody will read from it any more; what is unread never will be."""
        if not self.unread():
            self.taken = True


@functools.cache
def order_is_told() -> bool:
    """Whether epoll reports in order that a full pipe of one page was emptied and that another was written to.

    Checked once, in a tenth of a millisecond: Linux works like this, but no manual says so.
    """
    reader, stdin = os.pipe()
    stdout, writer = os.pipe()
    epoll = select.epoll()

    def told() -> list[int]:
        return [descriptor for descriptor, what in epoll.poll(0) if what & (ARRIVING | EMPTIED)]

    try:
        fcntl(stdin, F_SETPIPE_SZ, _PAGE)
        epoll.register(stdin, EMPTIED)
        epoll.register(stdout, ARRIVING)
        seen = [told()]
        os.write(stdin, b"question")
        os.read(reader, 2)
        seen.append(told())
        os.write(writer, b"second reply")
        os.read(reader, 6)
        seen.append(told())
        os.read(stdout, 12)
        os.write(stdin, b"question")
        os.read(reader, 8)
        os.write(writer, b"reply")
        seen.append(told())
    except OSError:
        return False
    finally:
        epoll.close()
        for descriptor in (reader, stdin, stdout, writer):
            os.close(descriptor)
    return seen == [[stdin], [], [stdout, stdin], [stdin, stdout]]
