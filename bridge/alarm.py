"""One time at which something is to be looked at.

All queries have the same time limit, so nothing needs a timer of its own: setting the alarm for a later time
than it has is one comparison.  No trio here; `keep` in the service waits for it.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.messages import nothing

FOREVER = float("inf")


class Alarm:
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
            self.when = when
            self.wake()

    def ring(self) -> None:
        """The time has come."""
        self.when = FOREVER
        self.set(self._ring())
