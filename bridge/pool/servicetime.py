"""How long a program takes for a query, measured now and then.

Only replies of a pool that has queries waiting are timed: there the next query is handed over with each
reply, so the time between two replies is one query's time, and timing one in sixteen costs nothing.

No I/O; time is passed in, in seconds.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.pool.record import Record

_EVERY = 16
"""Replies of one program from one measurement to the next."""

_SLOWER, _FASTER = 0.05, 0.5
"""Weight of a new measurement against all former ones: where queries differ, what the quick ones take counts, for
they are the ones that can still be answered."""

_MARGIN = 1.5
"""Times what a query usually takes: what must be left of a query's time for it to be worth asking."""


class ServiceTime:
    """One pool's usual time for a query.

    Attributes:
      reserve: seconds that must be left of a waiting query's time; 0 until something has been measured.
    """

    def __init__(self) -> None:
        self.reserve = 0.0
        self._usual = 0.0

    def measure(self, record: Record, now: float, busy: bool, answer_timeout: float) -> int:
        """A reply that was to be looked at, of the program that `record` is of.

        Args:
          busy: the program gets its next query at once.

        Returns:
          how many replies later to look again.
        """
        if record.timed_from is not None:
            # What stood still (a stopped process, a stalled machine) is no measure for others.
            took = min(now - record.timed_from, answer_timeout)
            weight = 1.0 if not self._usual else _SLOWER if took > self._usual else _FASTER
            self._usual += (took - self._usual) * weight
            self.reserve = self._usual * _MARGIN
            self.limit(answer_timeout)
            record.timed_from = None
            return _EVERY
        if busy:
            record.timed_from = now
        return 1 if busy else _EVERY

    def limit(self, answer_timeout: float) -> None:
        """Leave at least half of so many seconds for waiting: with less, no query that waits would ever be asked."""
        self.reserve = min(self.reserve, answer_timeout / 2)
