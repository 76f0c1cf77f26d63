"""Which pool starts a program next, and when: one at a time, first where a client needs one.

  - Starting is slow: the bridge is blocked until the child gets a CPU, 5 to 10 ms on a busy machine, 80 at worst.  So
    one program is started at a time, and all pending events are handled before the next start.
  - Pools take turns, one program each: of ten thousand, all have one before any has two.
  - Pools that have usable programs, or were asked lately, start one whenever it is due.  All others share a few starts
    a second: thousands of pools whose program is missing must not keep a machine busy when nobody asks them.

No I/O; the caller supplies the clock.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from bridge.log.tokenbucket import TokenBucket
from bridge.loop.timer import FOREVER, Timer
from bridge.protocol.query import raised

AT_ONCE = 128
"""Starts before events are first handled, and the burst of starts for pools that nobody asks: enough for all programs
of all but the largest sites."""

_RETRY_POOL = 1.0
"""Seconds until a pool is tried again whose start raised an error of ours."""

_UNASKED_A_SECOND = 10.0
"""A start that fails at once takes 0.3 ms, and 1 ms with its log line and everything that follows."""


class Starter(Protocol):
    """Starts programs when told to: a pool."""

    @property
    def pressing(self) -> bool:
        """Whether clients need its programs."""
        ...

    def start_due(self) -> bool:
        """Start a program if one is due; returns whether another one is."""
        ...


class Starts:
    """The starts of all pools, one each time a timer fires.

    Args:
      call_at: the reactor's.
      clock: the reactor's, in seconds.
      report: called with an error; the pool it came from is tried again a second later.
    """

    def __init__(
        self,
        call_at: Callable[[float, Callable[[], None]], Timer],
        clock: Callable[[], float],
        report: Callable[[Exception], None] = raised,
    ) -> None:
        self._timer = call_at(FOREVER, self._start_one)
        self._report = report
        self._clock = clock
        self._order = itertools.count()
        self._later: list[tuple[float, int, Starter]] = []  # a heap
        self._pressing: OrderedDict[Starter, None] = OrderedDict()  # due, the next one first
        self._patient: OrderedDict[Starter, None] = OrderedDict()  # due too, and not pressing
        self._tokens = TokenBucket(_UNASKED_A_SECOND, AT_ONCE, clock)

    def plan(self, pool: Starter, when: float) -> None:
        """Have `pool` start a program at `when`."""
        heapq.heappush(self._later, (when, next(self._order), pool))
        self._timer.set(when)

    def hasten(self, pool: Starter) -> None:
        """`pool` has become pressing: if a start is due there, it no longer has to wait for its share."""
        if pool in self._patient:
            del self._patient[pool]
            self._pressing[pool] = None
            self._timer.set(self._clock())

    def start_at_once(self) -> None:
        """Start what is due, without handling events in between."""
        for _ in range(AT_ONCE):
            if self._timer.when > self._clock():
                break
            self._timer.cancel()
            self._start_one()

    def _start_one(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            self._enqueue(self._later[0][2])
            heapq.heappop(self._later)
        pool = self._next()
        if pool is None:
            self._timer.set(self._later[0][0] if self._later else FOREVER)
            if self._patient:
                self._timer.set(now + 1 / _UNASKED_A_SECOND)
            return
        self._start_for(pool, now)
        self._timer.set(now)

    def _start_for(self, pool: Starter, now: float) -> None:
        try:
            another = pool.start_due()
        except Exception as error:
            self._report(error)
            self.plan(pool, now + _RETRY_POOL)
        else:
            if another:
                self._enqueue(pool)

    def _next(self) -> Starter | None:
        """Take out the pool that may start a program now, if there is one."""
        if self._pressing:
            return self._pressing.popitem(last=False)[0]
        if self._patient and self._tokens.take():
            return self._patient.popitem(last=False)[0]
        return None

    def _enqueue(self, pool: Starter) -> None:
        """Queue `pool`, which has a start due and may be queued already."""
        if pool.pressing:
            self._patient.pop(pool, None)
            self._pressing[pool] = None
        elif pool not in self._pressing:
            self._patient[pool] = None
