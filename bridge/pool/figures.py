"""What a pool has done so far, in numbers of queries and programs."""

from __future__ import annotations


class Figures:
    """The counters of one pool.

    Attributes:
      granted, denied: valid replies in time, by verdict.
      unavailable: queries without one; among them:
      timeouts: not answered in time.
      overload: refused because no program could have answered them in time.
      suspected: not asked, as the same question had hung or ended programs a short while before.
      retries: queries asked once more, as their program ended.
      late: valid replies that came too late, and were dropped.
      starts: programs started.
      failures: programs that failed, or could not be started.
    """

    def __init__(self) -> None:
        self.granted = 0
        self.denied = 0
        self.unavailable = 0
        self.timeouts = 0
        self.overload = 0
        self.suspected = 0
        self.retries = 0
        self.late = 0
        self.starts = 0
        self.failures = 0

    @property
    def answered(self) -> int:
        """Valid replies in time."""
        return self.granted + self.denied
