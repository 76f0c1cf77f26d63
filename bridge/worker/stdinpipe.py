"""The pipe to a program, which tells whether its reply was written after it had taken its question.

A program that replies twice may write its second reply when the next question is in its pipe already, and have taken
that out by the time the reply is read.  Whose reply it is, only the order of events can tell:

  - The pipe has just the pages that a frame fills: one, for all but the longest lines.  A full pipe has no room; there
    is some when the program's read(2) has emptied a page, and before that read returns epoll knows of it.
  - Epoll's list is a queue.  A reply that it tells before it has told that the question was taken was written by a
    program that had not read that question.
  - A descriptor has one place in the queue, the first that it got since epoll last looked at it.  Nothing may have left
    it a place from before.  Room that the pipe has by being made or resized is forgotten at once.  Of a program that
    writes its replies in pieces, a piece may come between the telling of the one before and the reading of both: its
    stdout is watched anew before it is given the next question (`Worker.careful`).
  - That its reader is gone is no taking: epoll tells of no room while the frame is there.

So it is in every Linux that the bridge runs on, and `order_is_told` tries it.  Before 6.14 the kernel puts a pipe into
the queue also when a part of a page was read, such as a frame's two bytes of length, though epoll tells it only if
there is room by then: a second reply that is written after these two bytes and before the rest is read may pass there.

Where the kernel does not tell, and for a frame that does not fill all pages of its pipe, which can only have a power of
two of them, there is an older, less certain look: whether the question is still in the pipe when the reply is read.
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
"""Pages of a pipe as Linux makes it."""

_unread = array.array("i", [0])
"""Where FIONREAD puts how many bytes of a frame the program has not read; one for all, as making one for each look
would take a third more time."""


class StdinPipe:
    """Our end of one program's stdin.

    Attributes:
      descriptor: to write whole frames to, each when the one before has been taken; -1 once closed.  It is in the
        reactor's `taken` once the last one has been; whoever writes one takes it out.
      above, most: a frame of more bytes than `above`, and at most `most`, fills the pipe as it is.
    """

    __slots__ = ("_pages", "_reactor", "above", "descriptor", "most")

    def __init__(self, descriptor: int, reactor: Reactor) -> None:
        """Raises OSError: it cannot be watched; the descriptor stays the caller's."""
        self.descriptor = descriptor
        self.above = self.most = 0
        self._reactor = reactor
        self._pages = _USUAL
        reactor.watch_taken(descriptor, self._reader_gone)
        self.fit(1)

    def fit(self, size: int) -> bool:
        """Make the pipe, which is empty, such that a frame of `size` bytes fills it, or at least has room in it.

        Returns:
          False if the kernel lets us have no such pipe: our user's pipes have all the pages they may have.
        """
        filled = -(-size // _PAGE)
        pages = 1 << (filled - 1).bit_length()
        if pages != self._pages:
            with contextlib.suppress(OSError):
                self._pages = fcntl(self.descriptor, F_SETPIPE_SZ, pages * _PAGE) // _PAGE
                self._reactor.forget(self.descriptor)  # to epoll it is as if a frame had been taken
        self._measure(filled)
        return filled <= self._pages

    def looks_taken(self) -> bool:
        """Whether the frame has left the pipe, where that is not told; less certain, as it may just have done so."""
        return not self.most and not self.unread()

    def unread(self) -> int:
        """Bytes of the last frame that the program has not read."""
        ioctl(self.descriptor, FIONREAD, _unread)
        return _unread[0]

    def close(self) -> None:
        """End of input for the program.  May be called again."""
        if self.descriptor >= 0:
            self._reactor.unwatch(self.descriptor)
            os.close(self.descriptor)
            self.descriptor = -1

    def _measure(self, filled: int) -> None:
        is_told = filled == self._pages and order_is_told()
        self.above, self.most = ((filled - 1) * _PAGE, filled * _PAGE) if is_told else (0, 0)

    def _reader_gone(self) -> None:
        if not self.unread():  # what it has left there it will not take any more
            self._reactor.taken.add(self.descriptor)


@functools.cache
def order_is_told() -> bool:
    """Whether epoll tells in their order when a full pipe of one page was emptied and when another was written to.

    Tried once, in a tenth of a millisecond: it is how Linux works, but no manual says so.
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
