"""Which questions cannot be answered in time, and one log line when that begins and one when it is over.

No I/O besides the log; the caller passes the time in, in seconds.
"""

from __future__ import annotations

import math

from bridge.log.events import event, log
from bridge.pool.servicetime import ServiceTime

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

_OVER = 2.0
"""Seconds without a refusal after which it is over."""

_BUSY = 0.8
"""Share of the time a program should work at most: with random arrivals, waits grow without bound towards 1."""


class Overload:
    """Of one pool.

    Args:
      pool: its name.
      service_time: how long a question takes.
    """

    def __init__(self, pool: str, service_time: ServiceTime) -> None:
        self._pool = pool
        self._service_time = service_time
        self._began: float | None = None
        self._answered = 0  # by then
        self._refused = 0
        self._longest = 0.0
        self._last = 0.0

    def looms(self, waiting: int, programs: int, answer_timeout: float) -> bool:
        """Whether not all of this many waiting questions, and one more, can be answered in time."""
        usual = self._service_time.usual
        return waiting * usual > (answer_timeout - usual) * programs and usual > 0

    def refused(self, now: float, waited: float, answered: int) -> None:
        """A question that had `waited` was refused for want of time; the pool had `answered` so many before."""
        if self._began is None:
            self._began, self._answered, self._refused, self._longest = now, answered, 0, 0.0
            log.warning(
                event(
                    "overloaded: more questions than the programs can answer in time, some are answered 0 at once",
                    pool=self._pool,
                    seconds_a_question=round(self._service_time.usual, 3),
                )
            )
        self._refused += 1
        self._longest = max(self._longest, waited)
        self._last = now

    def over(self, now: float, answered: int, pool_size: int) -> bool:
        """Log the end if nothing was refused lately; false while it goes on."""
        if self._began is None:
            return True
        if now - self._last < _OVER:
            return False
        lasted = max(self._last - self._began, 1.0)
        asked = (answered - self._answered + self._refused) / (lasted + _OVER)
        enough = max(pool_size + 1, math.ceil(asked * self._service_time.usual / _BUSY))
        log.warning(
            event(
                "no longer overloaded; this pool_size would have been enough",
                pool=self._pool,
                refused=self._refused,
                longest_wait=round(self._longest, 1),
                seconds=round(lasted, 1),
                pool_size=enough,
            )
        )
        self._began = None
        return True
