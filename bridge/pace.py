"""How long a program takes for a query, measured now and then.

Only replies of a pool that has queries waiting are timed: there the next query is handed over with each
reply, so the time between two replies is one query's time, and timing one in sixteen costs nothing.

No I/O; time is passed in, in seconds.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.worker import Worker

_EVERY = 16
"""Replies of one program from one measurement to the next."""

_WEIGHT = 0.2
"""Of a new measurement against all former ones."""

_MARGIN = 1.5
"""Times what a query usually takes: what must be left of a query's time for it to be worth asking."""


class Pace:
    """One pool's usual time for a query.

    Attributes:
      reserve: seconds that must be left of a waiting query's time; 0 until something has been measured.
    """

    def __init__(self) -> None:
        self.reserve = 0.0
        self._usual = 0.0

    def measure(self, worker: Worker, now: float, busy: bool) -> int:
        """A reply of `worker` that was to be looked at; `busy` if it gets its next query at once.

        Returns:
          the number of its reply to look at next.
        """
        if worker.timed_from is not None:
            took = now - worker.timed_from
            self._usual += (took - self._usual) * (_WEIGHT if self._usual else 1.0)
            self.reserve = self._usual * _MARGIN
            worker.timed_from = None
            return worker.served + _EVERY
        if busy:
            worker.timed_from = now
        return worker.served + 1 if busy else worker.served + _EVERY
