"""Which questions cannot be answered in time, and one log line when that begins and one when it is over.

They are refused at once: a waiting client is blocked, and a program that works in vain is missing elsewhere.

No I/O besides the log.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bridge.log.events import event, log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.pool.pool import Pool
    from bridge.protocol.query import Query

_OVER = 3.0
"""Seconds without a refusal after which it is over."""

_BUSY = 0.8
"""Share of the time a program should work at most: with random arrivals, waits grow without bound towards 1."""

_IN_A_BURST = 1.1
_AT_LEAST = 0.3
"""How much of its present question a program still has before it: all of it when many come at once, and a little more,
as an answer at the very deadline comes too late.  Those that wait already are refused only if it is fairly certain."""


class Overload:
    """Of one pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._service_time = pool.service_time
        self._began: float | None = None
        self._answered = 0  # by then
        self._refused = 0
        self._longest = 0.0

    def looms(self, more: int, seconds: float) -> bool:
        """Whether those that wait, and so many more, might not all be answered within `seconds`."""
        usual, waiting = self._service_time.usual, self._pool.waiting
        if not usual:
            return False
        room = (seconds - usual) * self._pool.staff.serving / usual - more
        return len(waiting) > room and waiting.questions > room  # the former is quicker to tell

    def add(self, queries: Sequence[Query]) -> None:
        """Queue those that can be answered in time, and refuse the others."""
        for query in queries:
            now = self._pool.clock()
            if now + self._wait(self._pool.waiting.ahead_of(query) + 1, _IN_A_BURST) <= query.deadline:
                self._pool.waiting.add([query])
            else:
                self.refuse(query, now)

    def refuse_last(self, now: float) -> None:
        """Refuse those whose turn would come too late: it has just become known how long a question takes."""
        waiting = self._pool.waiting
        while self.looms(0, self._pool.settings.answer_timeout / 2):
            last = waiting.last()
            if last is None or now + self._wait(waiting.questions, _AT_LEAST) <= last.deadline:
                break
            waiting.remove(last)
            self.refuse(last, now)

    def refuse(self, query: Query, now: float) -> None:
        """Refuse a query because no program could answer it in time."""
        pool = self._pool
        pool.give_up(query)
        pool.figures.overload += 1
        if self._began is None:
            self._began, self._answered, self._refused, self._longest = now, pool.figures.answered, 0, 0.0
            pool.figures.overloads += 1
            what = "overloaded: more questions than the programs can answer in time, some are answered 0 at once"
            log.warning(event(what, pool=pool.name, seconds_a_question=round(self._service_time.usual, 3)))
        self._refused += 1
        self._longest = max(self._longest, pool.settings.answer_timeout - (query.deadline - now))
        pool.figures.overloaded_at = now

    def over(self, now: float) -> bool:
        """Log the end if nothing was refused lately; false while it goes on."""
        if self._began is None:
            return True
        last = self._pool.figures.overloaded_at
        if now - last < _OVER:
            return False
        lasted = max(last - self._began, 1.0)
        asked = (self._pool.figures.answered - self._answered + self._refused) / (lasted + _OVER)
        size = max(self._pool.program.pool_size + 1, math.ceil(asked * self._service_time.usual / _BUSY))
        fields = {"refused": self._refused, "longest_wait": round(self._longest, 1), "seconds": round(lasted, 1)}
        what = "no longer overloaded; this pool_size would have been enough"
        log.warning(event(what, pool=self._pool.name, **fields, pool_size=size))
        self._began = None
        return True

    def _wait(self, position: int, rest: float) -> float:
        """Seconds until the one at this `position`, from 1, of those that wait would be answered.

        Args:
          rest: the share of their present questions that programs still have before them.
        """
        return (position / self._pool.staff.serving + rest) * self._service_time.usual
