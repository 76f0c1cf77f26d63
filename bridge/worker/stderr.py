"""Reads a program's stderr: always, but at a limited rate.

  - It is read a page at a time, so that no other answer waits for it.
  - The limit is generous: a burst, an amount per second, and an amount per question, so that no user can exceed it by
    having long lines printed.  Beyond it, stderr is read four times a second: the pipe is then full, and a program that
    floods blocks in its own write(2) and slows down nobody but itself.
  - A program that goes on like that is flooding, and is to be killed.

The questions whose secrets it may print are remembered here.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator

from bridge.loop.reactor import Reactor
from bridge.loop.timer import FOREVER
from bridge.protocol.checks import secret_of
from bridge.worker.stderrlines import LATE, Lines, StderrLines

QUESTIONS = 64
"""Questions since a program last wrote whose secrets are masked in its output."""

MOST_REMEMBERED = 1 << 20
"""Bytes of all questions that are remembered for one program."""

_READ = 4096
_LAST_WORDS = 65536
"""Bytes read after the program's end: what a pipe holds."""

_COST = 512
"""Bytes that one read counts as, in addition to those it returns: it takes as long."""

_BURST = 1 << 20
_EACH_SECOND = 1 << 18
_EACH_QUESTION = 1 << 14
"""Bytes.  Reading a second's amount takes a hundredth of the second at most, and the longest possible login, printed
with every byte escaped, stays below what a question adds."""

_PAUSE = 0.25
"""Seconds without reading: four reads of a full pipe are what a program may write in a second."""

_SAME_FLOOD = 1.0
"""Seconds within which another pause belongs to the same flood."""

_FLOOD = 10.0
"""Seconds of flooding until a program is killed: time for a large dump to come through, slowed down; and a program that
always floods costs one start every ten seconds, which costs others nothing."""


class Asked:
    """The secrets of a program's last questions, as far as they are remembered; empty ones included.

    Args:
      max_line: bytes of the longest question.

    Attributes:
      add: remembers one more `body`.  It is called for each question, so it is the deque's own method where possible.
    """

    def __init__(self, max_line: int) -> None:
        self._bodies: deque[bytes] = deque(maxlen=QUESTIONS + LATE)
        small = max_line * (QUESTIONS + LATE) <= MOST_REMEMBERED
        self.add: Callable[[bytes], None] = self._bodies.append if small else self._add_large

    def __iter__(self) -> Iterator[bytes]:
        return map(secret_of, self._bodies)

    def __len__(self) -> int:
        return len(self._bodies)

    def forget(self) -> None:
        """Forget all of them: the program is gone."""
        self._bodies.clear()

    def _add_large(self, body: bytes) -> None:
        self._bodies.append(body)
        while sum(map(len, self._bodies)) > MOST_REMEMBERED:
            self._bodies.popleft()


class Stderr:
    """One program's stderr.

    Args:
      descriptor: to be read; its owner closes it.
      readable: called when there is something for `read`.
      asked: the program's questions.

    Attributes:
      is_flood: the program has been writing too much for too long, and must be killed.
    """

    def __init__(
        self,
        descriptor: int,
        reactor: Reactor,
        readable: Callable[[], None],
        asked: Asked,
    ) -> None:
        self.is_flood = False
        self._descriptor = descriptor
        self._reactor = reactor
        self._readable = readable
        self._clock = reactor.clock
        self._pause = reactor.call_at(FOREVER, self._resume)
        self._lines = StderrLines(asked)
        self._allowed = float(_BURST)  # bytes
        self._counted_at = self._clock()
        self._counted_asked = 0
        self._paused_at = self._flood_began = -FOREVER

    def watch(self) -> None:
        """Start reading.

        Raises:
          OSError: the kernel cannot watch one more descriptor.
        """
        self._reactor.watch(self._descriptor, self._readable)

    def close(self) -> None:
        """Never resume reading: the descriptor may become another program's."""
        self._pause.cancel()

    def read(self, asked: int) -> Lines | None:
        """Read the next lines, if there are any.

        Args:
          asked: number of questions the program has been given.
        """
        data = self._take()
        if data is None:
            return None
        if not data:
            self._reactor.unwatch(self._descriptor)
            return None
        self._count(len(data) + _COST, asked)
        return self._lines.feed(data, asked, drained=len(data) < _READ)

    def last_words(self, asked: int) -> Iterator[Lines]:
        """Read what is left after the program's end, including a last line without a newline."""
        self._pause.cancel()
        size = 0
        while size < _LAST_WORDS and (data := self._take()):
            size += len(data)
            yield self._lines.feed(data, asked, drained=False)
        yield self._lines.finish(asked)

    def _take(self) -> bytes | None:
        """Up to a page of data, none at the end, or `None` if there is none now."""
        try:
            return os.read(self._descriptor, _READ)
        except BlockingIOError:
            return None

    def _count(self, size: int, asked: int) -> None:
        now = self._clock()
        earned = (now - self._counted_at) * _EACH_SECOND + (asked - self._counted_asked) * _EACH_QUESTION
        self._allowed = min(self._allowed + earned, _BURST) - size
        self._counted_at, self._counted_asked = now, asked
        if self._allowed < 0:
            self._look_away(now)

    def _look_away(self, now: float) -> None:
        if now - self._paused_at > _SAME_FLOOD:
            self._flood_began = now
        self._paused_at = now
        self.is_flood = now - self._flood_began >= _FLOOD
        self._reactor.unwatch(self._descriptor)
        self._pause.set(now + _PAUSE)

    def _resume(self) -> None:
        try:
            self.watch()
        except OSError:  # the kernel cannot watch it now
            self._pause.set(self._clock() + _PAUSE)
