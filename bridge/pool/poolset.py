"""Everything of a bridge except its clients and its tasks: the reactor, the pools and the router.

It is built, and starts its programs, before trio is imported, so that they start while trio is imported.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterable

from bridge.config.settings import ProgramSettings, Settings
from bridge.log.ratelimit import RateLimited
from bridge.loop.reactor import Reactor
from bridge.pool import descriptors
from bridge.pool.figures import Figures
from bridge.pool.pool import Pool
from bridge.pool.router import Router
from bridge.pool.starts import Starts

DEFAULT = ""
"""Key of the pool for all hosts without a pool of their own."""

_REAP = 1.0
"""Seconds, for all programs together, to wait for killed programs to be gone before we exit without them."""

_OVERDUE = 2.0
"""Seconds."""


class Change:
    """The pools of settings that are not in force yet.

    Attributes:
      kept: those in service whose program is the same, by host.
      new: those that are not in service, by host.
      alone: hosts where the old programs must be gone before the new ones start (`pool_max` 1).
      aside: their old pools, once they were taken out of service, by host.
    """

    def __init__(self, settings: Settings, kept: dict[str, Pool], new: dict[str, Pool], alone: list[str]) -> None:
        self.settings = settings
        self.kept = kept
        self.new = new
        self.alone = alone
        self.aside: dict[str, Pool] = {}


class PoolSet:
    """The pools of one set of settings.

    Attributes:
      began: when it was made; seconds.
      starts: decides when each pool starts a program.
      pools: those in service, by host.
      proving: new ones, which nobody asks yet.
      draining: those out of service that still have queries or programs.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = clock()
        self.reactor = Reactor(self.report, clock)
        self.starts = Starts(self.reactor.call_at, clock, self.report)
        self.pools: dict[str, Pool] = {}
        self.proving: set[Pool] = set()
        self.draining: set[Pool] = set()
        self.router = Router(settings, clock, self.draining)
        self._past: dict[str, Figures] = {}  # of pools that were replaced and are gone, by name
        self._supervise: Callable[[Pool], None] | None = None
        self._unsupervised: dict[Pool, None] = {}
        self._log = RateLimited(5, 60.0, clock)

    @property
    def everything(self) -> list[Pool]:
        """All pools that may have programs."""
        return [*self.pools.values(), *self.proving, *self.draining]

    def apply(self, settings: Settings) -> list[Pool]:
        """Put `settings` in force without proving anything; returns the replaced pools, to be drained."""
        return self.adopt(self.prepare(settings))

    def prepare(self, settings: Settings) -> Change:
        """Make the pools that `settings` need besides those whose program is unchanged, and start nothing yet."""
        descriptors.check(settings)
        programs = {} if settings.program is None else {DEFAULT: settings.program}
        programs |= settings.hosts
        kept = {name: pool for name, pool in self.pools.items() if pool.program == programs.get(name)}
        added = {name: program for name, program in programs.items() if name not in kept}
        new = {name: self._new_pool(name, program, settings) for name, program in added.items()}
        for pool in new.values():
            pool.in_force = False
        self.proving.update(new.values())
        old = {name: pool.program for name, pool in self.pools.items() if name in new}
        alone = [name for name, program in old.items() if 1 in (program.pool_max, added[name].pool_max)]
        return Change(settings, kept, new, alone)

    def start(self, pool: Pool) -> None:
        """Start one program at once, as if the pool were asked, and the others soon."""
        try:
            pool.staff.start_due()
        except Exception as error:
            self.report(error)
        pool.staff.plan()

    def set_aside(self, name: str, change: Change) -> Pool:
        """Take a pool out of service before there is another one, to be drained.

        Its queries, and those that come, wait in a pool without programs, until `adopt` or `bring_back`.
        """
        pool = self.pools[name]
        stand_in = self._new_pool(name, pool.program, self.router.settings)
        stand_in.staff.pause()
        self._begin_to_drain([pool])
        self.pools[name] = stand_in
        self._connect(self.router.settings)
        change.aside[name] = pool
        pool.hand_over(stand_in)
        return pool

    def bring_back(self, name: str) -> None:
        """Have the pool that was set aside serve again."""
        self.pools[name].staff.resume()

    def adopt(self, change: Change) -> list[Pool]:
        """Put the settings of `change` in force; returns the replaced pools, to be drained."""
        before, settings = self.pools, change.settings
        replaced = [pool for name, pool in before.items() if name not in change.kept]
        for pool in change.kept.values():
            pool.settings = settings
        for pool in before.values():
            pool.hasten(settings.answer_timeout)
        self._begin_to_drain(replaced)
        self.proving.difference_update(change.new.values())
        self.pools = {**change.kept, **change.new}
        self._connect(settings)
        for pool in change.new.values():
            pool.in_force = True
            pool.staff.plan()
        for name in change.new.keys() & before.keys() - {*change.aside}:
            self.pools[name].reserve.set(before[name])
        for name in change.aside:
            before[name].hand_over(self.pools[name])
        return replaced

    def is_reserve(self, pool: Pool) -> bool:
        """Whether a pool that is in force may still fall back on this one."""
        return any(other.reserve.is_pool(pool) for other in self.pools.values())

    def discard(self, change: Change) -> None:
        """Give up `change`: its new pools are to be drained."""
        self.proving.difference_update(change.new.values())
        self._begin_to_drain(change.new.values())

    def drained(self, pool: Pool) -> None:
        """The last program of a pool that was replaced is gone; its counters go on in the pool of the same name."""
        self.draining.discard(pool)
        if any(other.name == pool.name for other in self.pools.values()):
            self._past.setdefault(pool.name, Figures()).add(pool.figures)
        else:
            self._past.pop(pool.name, None)

    def figures(self) -> dict[str, Figures]:
        """What was done under the name of each pool in service, by those it has replaced, too."""
        sums = {pool.name: pool.figures for pool in self.pools.values()}
        others = [(pool.name, pool.figures) for pool in (*self.proving, *self.draining)]
        for name, figures in [*others, *self._past.items()]:
            if name in sums:
                sums[name] = sums[name].with_those_of(figures)
        return sums

    def _begin_to_drain(self, pools: Iterable[Pool]) -> None:
        for pool in pools:
            pool.in_force = False
            self.draining.add(pool)

    def _new_pool(self, name: str, program: ProgramSettings, settings: Settings) -> Pool:
        return Pool(name or "default", program, settings, self.reactor, self.starts, self._attend)

    def _connect(self, settings: Settings) -> None:
        hosts = {name: pool for name, pool in self.pools.items() if name in settings.hosts}
        self.router.connect(settings, self.pools.get(DEFAULT), hosts)

    def supervise(self, by: Callable[[Pool], None]) -> None:
        """Have `by` called with each pool whose supervisor is needed, and now with those where it already was."""
        self._supervise = by
        for pool in [*self._unsupervised]:
            del self._unsupervised[pool]
            by(pool)

    def _attend(self, pool: Pool) -> None:
        if self._supervise is None:
            self._unsupervised[pool] = None
        else:
            self._supervise(pool)

    def summary(self) -> str:
        """One line about all pools, for people."""
        pools = [*self.pools.values()]
        alive = sum(pool.staff.usable for pool in pools)
        programs = sum(pool.program.pool_size for pool in pools)
        figures = [*(pool.figures for pool in self.everything), *self._past.values()]
        done = sum(one.answered for one in figures)
        unavailable = sum(one.unavailable for one in figures)
        in_flight = sum(pool.in_flight for pool in pools)
        all_well = (
            f"{alive} of {programs} programs up, {in_flight} in flight, {done} answered, {unavailable} unavailable"
        )
        return "; ".join([*self._trouble(), all_well])

    def _trouble(self) -> list[str]:
        """What keeps a pool from answering, and how many others do not either."""
        down = [(pool, why) for pool in self.pools.values() if (why := pool.why_down())]
        if not down:
            return []
        pool, why = down[0]
        others = f" (and {len(down) - 1} other pools)" if down[1:] else ""
        return [f"pool {pool.name} cannot answer{others}: {pool.program.argv[0]}: {why}"]

    def is_overdue(self) -> bool:
        """Whether a query should have ended long ago: a pool's timer does not work."""
        latest = self.clock() - _OVERDUE
        return any(pool.earliest_deadline() < latest for pool in self.everything)

    def report(self, error: Exception) -> None:
        """Log an error that belongs to no single client or program; everything goes on."""
        with contextlib.suppress(MemoryError):
            self._log.log(logging.ERROR, "", "internal error, please report it", error=error)

    def kill(self) -> None:
        """Kill every program with its process group, without waiting."""
        for pool in self.everything:
            for worker in [*pool.workers]:
                worker.signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill and reap what still runs, and close the reactor.  May be called again."""
        self.kill()
        until = self.clock() + _REAP
        for pool in self.everything:
            for worker in [*pool.workers]:
                try:
                    worker.reap(max(0.0, until - self.clock()))
                except Exception as error:  # the others must be reaped all the same
                    self.report(error)
        self.reactor.close()
