"""The phases of a measurement: until each program has replied, as fast as they answer, and at a fixed rate.

- *Warm-up*: programs start, and give their first replies.  Nothing is measured but how long that takes.
- *Closed loop*: as many queries in flight as there are programs; the next one is asked when one is answered.
- *Open loop*: queries are asked at times fixed in advance, whether the ones before are answered or not, and an
  answer's time runs from there.  So what waits behind a slow one counts, as it does with users.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from bridge.bench import machine
from bridge.bench.tally import Measured, Tally
from bridge.protocol.query import Query, Verdict

if TYPE_CHECKING:
    from bridge.bench.load import Load

ENOUGH = 200
"""Answers that tell something of p99: two are beyond it."""

_AT_MOST = 5
"""Times the seconds of a measurement, until there are `ENOUGH` answers."""

_PAUSE = 0.1
"""Seconds until the next query after one that could not be answered: it may have been refused at once."""

_AT_ONCE = 200
"""Queries of the open loop that are asked before replies are read again, if we are late with them."""

_FAILURES = 3
"""Programs that may fail before all have replied; or, of many, two for each."""


@attrs.frozen(kw_only=True)
class Job:
    """What is measured.

    Attributes:
      programs: in the pool.
      line: makes the next query.
      must_be_granted: the program cannot be measured if it denies the query.
      seconds: of each measurement.
      rate: queries a second of the open loop; 0: there is none.
      patience: seconds for all programs to give a first reply.
    """

    programs: int
    line: Callable[[], bytes] = attrs.field(repr=False)  # it may hold a secret
    must_be_granted: bool
    seconds: float
    rate: float
    patience: float


@attrs.frozen(kw_only=True)
class Sized:
    """What was measured with so many programs.

    Attributes:
      startup: seconds until all had given a first reply.
      memory: bytes, of the programs and what they started, after the load.
      cpu: the share of the time of all CPUs that these and we used.
      cpu_of_all: the share that everybody on the machine used.
      closed, at_rate: by the closed and the open loop.
    """

    programs: int
    startup: float
    memory: int
    cpu: float
    cpu_of_all: float
    closed: Measured
    at_rate: Measured | None = None


class Phase:
    """A part of the work; while it is not over, it asks.

    Attributes:
      over: no more is asked.
    """

    name = ""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.over = False

    def begin(self) -> None:
        """Ask the first queries."""
        raise NotImplementedError

    def ended(self, query: Query, intended: float) -> None:
        """A query has a verdict."""
        raise NotImplementedError

    def progress(self, now: float) -> float:
        """The share of it that is done; ends it when its time has come."""
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """End everything after an error of ours."""
        self.load.failed(error)

    def following(self) -> Phase | None:
        """What comes next."""
        return None

    def result(self, sized: Sized | None, complete: bool) -> Sized | None:
        """What was measured, with what there was already; `None` if that is nothing."""
        return sized


class _Busy(Phase):
    """Keeps as many queries in flight as there are programs."""

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self._free = load.job.programs
        self._due = False

    def begin(self) -> None:
        self._ask()

    def ended(self, query: Query, intended: float) -> None:
        if query.verdict is Verdict.UNAVAILABLE:
            self.load.reactor.call_at(self.load.clock() + _PAUSE, self._ask_one)
            return
        self._free += 1
        if not self._due:  # not here: its program is not idle yet
            self._due = True
            self.load.reactor.call_soon(self._ask)

    def _ask_one(self) -> None:
        self._free += 1
        self._ask()

    def _ask(self) -> None:
        self._due = False
        while self._free and not self.over:
            self._free -= 1
            self.load.ask(self.load.clock())


class WarmUp(_Busy):
    name = "starting"

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self._until = load.clock() + load.job.patience

    def begin(self) -> None:
        super().begin()
        self._judge()

    def ended(self, query: Query, intended: float) -> None:
        if query.verdict is Verdict.DENIED and self.load.job.must_be_granted:
            self._give_up(lambda: "it denies this account with this password")
        if not self.over:
            self._judge()
        super().ended(query, intended)

    def progress(self, now: float) -> float:
        if not self.over:
            self._judge()
        return self.load.pool.staff.ready / self.load.job.programs

    def following(self) -> Phase | None:
        return _Closed(self.load)

    def _judge(self) -> None:
        pool, programs = self.load.pool, self.load.job.programs
        figures, staff = pool.figures, pool.staff
        exit_again = figures.starts > 2 * programs and figures.answered > 2 * programs  # after each reply, perhaps
        if staff.ready >= programs or exit_again:
            self.load.warmed_up()
            self.over = True
        elif staff.hopeless or figures.failures >= max(_FAILURES, 2 * programs):
            self._give_up(lambda: pool.last_failure)  # with its exit status, once it is known
        elif self.load.clock() >= self._until:
            why = f": {pool.last_failure}" if pool.last_failure else ""
            within = f"gave a first reply within {self.load.job.patience:g} s"
            found = f"{staff.ready} of {programs} programs {within}{why}"
            self._give_up(lambda: found)

    def _give_up(self, why: Callable[[], str]) -> None:
        self.over = True
        self.load.give_up(why)


class _Closed(_Busy):
    name = "measuring"

    def begin(self) -> None:
        load = self.load
        self._cpu = machine.cpu_time(self._pids())
        self._tally = Tally(load.pool.figures, load.clock())
        super().begin()

    def ended(self, query: Query, intended: float) -> None:
        if query.verdict is not Verdict.UNAVAILABLE:
            self._tally.answered(self.load.clock() - intended, query.verdict is Verdict.GRANTED)
        super().ended(query, intended)

    def progress(self, now: float) -> float:
        seconds = self.load.job.seconds
        elapsed = now - self._tally.begun
        enough = len(self._tally.times) >= ENOUGH or elapsed >= _AT_MOST * seconds
        if elapsed >= seconds and enough and not self.over:
            self.over = True
            self._tally.close(now)
        return elapsed / seconds

    def following(self) -> Phase | None:
        return AtRate(self.load) if self.load.job.rate else None

    def result(self, sized: Sized | None, complete: bool) -> Sized | None:
        load = self.load
        self.over = True
        closed, elapsed = self._tally.result(load.clock(), complete), load.clock() - self._tally.begun
        if not (complete or closed.answers):
            return None
        pids = self._pids()
        cpus = elapsed * (os.cpu_count() or 1)
        ours, everybodys = (now - before for now, before in zip(machine.cpu_time(pids), self._cpu, strict=True))
        return Sized(
            programs=load.job.programs,
            startup=load.startup,
            memory=machine.memory_of(pids),
            cpu=ours / cpus,
            cpu_of_all=everybodys / cpus,
            closed=closed,
        )

    def _pids(self) -> list[int]:
        return [worker.pid for worker in self.load.pool.workers]


class AtRate(Phase):
    name = "at a fixed rate"

    def begin(self) -> None:
        load, job = self.load, self.load.job
        seconds = min(max(job.seconds, ENOUGH / job.rate), _AT_MOST * job.seconds)
        self._left = math.ceil(seconds * job.rate)
        self._all = self._left
        self._tally = Tally(load.pool.figures, load.clock())
        self._timer = load.reactor.call_at(load.clock(), self._ask_due)

    def ended(self, query: Query, intended: float) -> None:
        if query.verdict is not Verdict.UNAVAILABLE:
            self._tally.answered(self.load.clock() - intended, query.verdict is Verdict.GRANTED)

    def progress(self, now: float) -> float:
        return 1 - self._left / self._all

    def result(self, sized: Sized | None, complete: bool) -> Sized | None:
        self.over = True
        measured = self._tally.result(self.load.clock(), complete)
        return attrs.evolve(sized, at_rate=measured) if sized is not None and (complete or measured.answers) else None

    def _ask_due(self) -> None:
        now = self.load.clock()
        for _ in range(_AT_ONCE):
            if self.over or self._next() > now:
                break
            self.load.ask(self._next())
            self._left -= 1
            if not self._left:
                self.over = True
                self._tally.close(self.load.clock())
        if not self.over:
            self._timer.set(max(now, self._next()))

    def _next(self) -> float:
        """When the next query is meant to be asked."""
        return self._tally.begun + (self._all - self._left) / self.load.job.rate
