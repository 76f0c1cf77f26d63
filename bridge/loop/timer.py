"""Times at which something is to be done; the reactor keeps them.

All queries of a pool have the same time limit, so no query needs a timer of its own: setting the pool's for a later
time than it has is one comparison.  Of ten thousand timers only those are looked at whose time has come.

No I/O; the clock comes from outside.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Callable, Iterator

FOREVER = float("inf")


class Timer:
    """Has its action called at the earliest of the times it was set to, which unsets it.

    Attributes:
      when: that time, in seconds on the reactor's clock; infinity while none is set.
      action: what is called.
    """

    __slots__ = ("_timers", "action", "entry", "when")

    def __init__(self, action: Callable[[], None], timers: Timers) -> None:
        self.when = FOREVER
        self.action = action
        self.entry = 0  # which of its entries counts
        self._timers = timers

    def set(self, when: float) -> None:
        """Have the action called at `when`, unless an earlier time is set already."""
        if when < self.when:
            self._timers.enter(self, when)

    def cancel(self) -> None:
        """No time is set any more."""
        self.when, self.entry = FOREVER, 0


class Timers:
    """All timers of one reactor.

    Args:
      earlier: called when the first of all times is earlier than it was.
    """

    def __init__(self, earlier: Callable[[], None]) -> None:
        self._earlier = earlier
        self._numbers = itertools.count(1)
        self._entries: list[tuple[float, int, Timer]] = []  # a heap; of a timer that was set again all times

    @property
    def first(self) -> float:
        """The earliest of all times; infinity if no timer is set."""
        entries = self._entries
        while entries and entries[0][2].entry != entries[0][1]:  # it was cancelled, or set to an earlier time
            heapq.heappop(entries)
        return entries[0][0] if entries else FOREVER

    def enter(self, timer: Timer, when: float) -> None:
        """Set `timer` to `when`."""
        first, number = self.first, next(self._numbers)
        heapq.heappush(self._entries, (when, number, timer))
        timer.when, timer.entry = when, number
        if when < first:
            self._earlier()

    def due(self, now: float) -> Iterator[Timer]:
        """Unset those whose time has come, one after another; one that is set again meanwhile is not among them."""
        entries = self._entries
        come: list[tuple[float, int, Timer]] = []
        with contextlib.suppress(MemoryError):  # the rest has its turn a little later
            while entries and entries[0][0] <= now:
                come.append(entries[0])
                heapq.heappop(entries)
        for _, number, timer in come:
            if timer.entry == number:
                timer.cancel()
                yield timer
