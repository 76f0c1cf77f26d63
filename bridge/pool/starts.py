"""Which pool starts a program next, and when: one after another, first where somebody waits for one.

  - Starting is slow: the bridge stands still until the child has been given a CPU, 5 to 10 ms where others are busy,
    80 at worst.  So one program is started at a time, and everybody else has a turn before the next one.
  - Pools take turns, a program each: of ten thousand all have one before any has two.
  - Pools that serve, or were asked lately, are tried whenever they are due.  All others together get a few starts a
    second: thousands of pools whose program is missing may not keep a machine busy on which nobody asks for them.

No I/O; the clock comes from outside.
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
"""Starts before the first look at events, and those that pools which nobody asks get without a pause: enough for all
programs of all but the largest sites."""

_AGAIN = 1.0
"""Seconds until a pool is tried again that failed for an error of ours."""

_UNASKED_A_SECOND = 10.0
"""A start that fails at once takes 0.3 ms, with its line in the log and what comes of it 1 ms."""


class Starter(Protocol):
    """Who has programs started: a pool."""

    @property
    def pressing(self) -> bool:
        """Whether somebody needs its programs."""
        ...

    def start_due(self) -> bool:
        """Start a program, if one is due; tell whether another one is."""
        ...


class Starts:
    """The starts of all pools, by a timer that rings once for each start.

    Args:
      call_at: of the reactor.
      report: told of an error; the pool it came from is tried again in a second.
      clock: seconds, the reactor's.
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
        self._patient: OrderedDict[Starter, None] = OrderedDict()
        self._tokens = TokenBucket(_UNASKED_A_SECOND, AT_ONCE, clock)

    def plan(self, pool: Starter, when: float) -> None:
        """Have `pool` start a program at `when`."""
        heapq.heappush(self._later, (when, next(self._order), pool))
        self._timer.set(when)

    def hasten(self, pool: Starter) -> None:
        """`pool` has become pressing: what is due there is due at once."""
        if pool in self._patient:
            del self._patient[pool]
            self._pressing[pool] = None
            self._timer.set(self._clock())

    def start_at_once(self) -> None:
        """Start what is due, where nobody has to be given a turn in between."""
        for _ in range(AT_ONCE):
            if self._timer.when > self._clock():
                break
            self._timer.cancel()
            self._start_one()

    def _start_one(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            self._line_up(heapq.heappop(self._later)[2])
        pool = self._next()
        if pool is None:
            self._timer.set(self._later[0][0] if self._later else FOREVER)
            if self._patient:
                self._timer.set(now + 1 / _UNASKED_A_SECOND)
            return
        try:
            another = pool.start_due()
        except Exception as error:
            self._report(error)
            self.plan(pool, now + _AGAIN)
        else:
            if another:
                self._line_up(pool)
        self._timer.set(now)

    def _next(self) -> Starter | None:
        """Take out the pool that starts a program now, if there is one."""
        if self._pressing:
            return self._pressing.popitem(last=False)[0]
        if self._patient and self._tokens.take():
            return self._patient.popitem(last=False)[0]
        return None

    def _line_up(self, pool: Starter) -> None:
        """`pool` has a program due, and is in one of the lines already if it had one due before."""
        if pool.pressing:
            self._patient.pop(pool, None)
            self._pressing[pool] = None
        elif pool not in self._pressing:
            self._patient[pool] = None
