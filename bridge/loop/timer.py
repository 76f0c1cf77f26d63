"""One time at which something is to be looked at.

All queries have the same time limit, so nothing needs a timer of its own: setting the timer for a later time
than it has is one comparison.  No trio here; `keep` in the service waits for it.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
from collections.abc import Callable

from bridge.protocol.query import nothing, raised

FOREVER = float("inf")

AGAIN = 1.0
"""Seconds until what could not be done for an error of ours is tried again."""


class Timer:
    """Rings at the earliest of the times it was set to.

    Attributes:
      when: that time, in seconds on the caller's clock; infinity while nothing is set.
      wake: called when it was set to an earlier time than before.
    """

    def __init__(self, ring: Callable[[], float]) -> None:
        """Args:
        ring: does what is due, and returns when it is to ring again, or infinity.
        """
        self.when = FOREVER
        self.wake: Callable[[], None] = nothing
        self._ring = ring

    def set(self, when: float) -> None:
        """Ring at `when`, unless an earlier time is set already."""
        if when < self.when:
            before, self.when = self.when, when
            try:
                self.wake()
            except BaseException:  # nobody would ring it
                self.when = before
                raise

    def ring(self) -> None:
        """The time has come."""
        self.when = FOREVER
        self.set(self._ring())


class Timers(Timer):
    """Many timers, kept as one: of ten thousand only those are looked at whose time has come.

    Args:
      report: told of an error; who made it is rung again in a second, and the others are rung all the same.
      before: called before any of them rings.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        report: Callable[[Exception], None] = raised,
        before: Callable[[], None] = nothing,
    ) -> None:
        super().__init__(self._ring_due)
        self._report = report
        self._before = before
        self._clock = clock
        self._order = itertools.count()
        self._set: list[tuple[float, int, Timer]] = []  # a heap; of one that was set again, the earlier times, too

    def add(self, ring: Callable[[], float]) -> Timer:
        """One more, which is not set yet."""
        timer = Timer(ring)
        timer.wake = functools.partial(self._was_set, timer)
        return timer

    def _was_set(self, timer: Timer) -> None:
        heapq.heappush(self._set, (timer.when, next(self._order), timer))
        self.set(timer.when)

    def _ring_due(self) -> float:
        self._safely(self._before)
        now, due = self._clock(), list[Timer]()
        with contextlib.suppress(MemoryError):  # the rest has its turn a little later
            while self._set and self._set[0][0] <= now:
                due.append(self._set[0][2])
                heapq.heappop(self._set)
        for timer in due:
            if timer.when <= now and not self._safely(timer.ring):
                timer.set(now + AGAIN)
        return self._set[0][0] if self._set else FOREVER

    def _safely(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except Exception as error:
            self._report(error)
            return False
        return True
