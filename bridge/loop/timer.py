"""Timers, which the reactor keeps.

All queries of a pool have the same time limit, so no query needs a timer of its own: setting the pool's to a later time
than it has costs one comparison.  Of ten thousand timers, only those that are due are looked at.

No I/O; the caller supplies the clock.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator

FOREVER = float("inf")


class Timer:
    """Calls its action once, at the earliest time it was set to.

    Attributes:
      when: that time, in seconds on the reactor's clock; infinity while none is set.
      action: what to call.
      entry: the number of its current entry in the heap.
    """

    __slots__ = ("_timers", "action", "entry", "when")

    def __init__(self, action: Callable[[], None], timers: Timers) -> None:
        self.when = FOREVER
        self.action = action
        self.entry = 0
        self._timers = timers

    def set(self, when: float) -> None:
        """Call the action at `when`, unless it is already set to an earlier time."""
        if when < self.when:
            self._timers.enter(self, when)

    def cancel(self) -> None:
        """Unset it."""
        self.when, self.entry = FOREVER, 0


class Timers:
    """All timers of one reactor.

    Args:
      earlier: called when the earliest of all times becomes earlier.
    """

    def __init__(self, earlier: Callable[[], None]) -> None:
        self._earlier = earlier
        self._numbers = itertools.count(1)
        self._entries: list[tuple[float, int, Timer]] = []  # a heap, stale entries included
        self._looked_at = -FOREVER

    @property
    def first(self) -> float:
        """The earliest of all times; infinity if no timer is set."""
        entries = self._entries
        while entries and entries[0][2].entry != entries[0][1]:  # stale: cancelled, or set to an earlier time
            heapq.heappop(entries)
        return entries[0][0] if entries else FOREVER

    def enter(self, timer: Timer, when: float) -> None:
        """Set `timer` to `when`."""
        first, number = self.first, next(self._numbers)
        heapq.heappush(self._entries, (max(when, self._looked_at), number, timer))  # behind all that were due by then
        timer.when, timer.entry = when, number
        if when < first:
            self._earlier()

    def due(self, now: float) -> Iterator[Timer]:
        """Unset and yield those that are due, one after another, but none that is set again meanwhile.

        Whoever takes them may be cut short: the rest are due all the same.
        """
        self._looked_at = now
        entries, begun = self._entries, next(self._numbers)
        while entries and entries[0][0] <= now and entries[0][1] < begun:
            _, number, timer = heapq.heappop(entries)
            if timer.entry == number:
                timer.cancel()
                yield timer
