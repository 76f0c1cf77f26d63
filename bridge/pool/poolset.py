"""Everything of a bridge except its clients and its tasks: the reactor, the pools and the router.

It is built, and starts its programs, before trio is imported, so that they start while trio is imported.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable

from bridge.config.settings import Settings
from bridge.log.ratelimit import RateLimited
from bridge.loop.reactor import Reactor
from bridge.pool import descriptors
from bridge.pool.pool import Pool
from bridge.pool.router import Router
from bridge.pool.starts import Starts

DEFAULT = ""
"""Key of the pool for all hosts without a pool of their own."""

_REAP = 1.0
"""Seconds, for all programs together, to wait for killed programs to be gone before we exit without them."""

_OVERDUE = 2.0
"""Seconds."""


class PoolSet:
    """The pools of one set of settings.

    Attributes:
      starts: decides when each pool starts a program.
      pools: those in service, by host.
      draining: those out of service that still have queries or programs.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.reactor = Reactor(self.report, clock)
        self.starts = Starts(self.reactor.call_at, clock, self.report)
        self.pools: dict[str, Pool] = {}
        self.draining: set[Pool] = set()
        self.router = Router(settings, clock, self.draining)
        self._supervise: Callable[[Pool], None] | None = None
        self._unsupervised: dict[Pool, None] = {}
        self._log = RateLimited(5, 60.0, clock)

    def apply(self, settings: Settings) -> tuple[list[Pool], list[Pool]]:
        """Apply `settings`: new pools are connected, and start programs; those whose program is unchanged go on.

        Returns:
          the new pools, and those to be drained.
        """
        descriptors.check(settings)
        programs = {} if settings.program is None else {DEFAULT: settings.program}
        programs |= settings.hosts
        kept = {name: pool for name, pool in self.pools.items() if pool.program == programs.get(name)}
        replaced = [pool for name, pool in self.pools.items() if name not in kept]
        new = {
            name: Pool(name or "default", program, settings, self.reactor, self.starts, self._attend)
            for name, program in programs.items()
            if name not in kept
        }
        for pool in kept.values():
            pool.settings = settings
        for pool in self.pools.values():
            pool.hasten(settings.answer_timeout)
        self.draining.update(replaced)
        self.pools = {**kept, **new}
        hosts = {name: pool for name, pool in self.pools.items() if name in settings.hosts}
        self.router.connect(settings, self.pools.get(DEFAULT), hosts)
        for pool in new.values():
            pool.staff.plan()
        return [*new.values()], replaced

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
        done = sum(pool.figures.granted + pool.figures.denied for pool in pools)
        unavailable = sum(pool.figures.unavailable for pool in pools)
        in_flight = sum(pool.in_flight for pool in pools)
        return f"{alive} of {programs} programs up, {in_flight} in flight, {done} answered, {unavailable} unavailable"

    def is_overdue(self) -> bool:
        """Whether a query should have ended long ago: a pool's timer does not work."""
        latest = self.clock() - _OVERDUE
        return any(pool.earliest_deadline() < latest for pool in (*self.pools.values(), *self.draining))

    def report(self, error: Exception) -> None:
        """Log an error that belongs to no single client or program; everything goes on."""
        with contextlib.suppress(MemoryError):
            self._log.log(logging.ERROR, "", "internal error, please report it", error=error)

    def kill(self) -> None:
        """Kill every program with its process group, without waiting."""
        for pool in (*self.pools.values(), *self.draining):
            for worker in [*pool.workers]:
                worker.signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill and reap what still runs, and close the reactor.  May be called again."""
        self.kill()
        until = self.clock() + _REAP
        for pool in [*self.pools.values(), *self.draining]:
            for worker in [*pool.workers]:
                try:
                    worker.reap(max(0.0, until - self.clock()))
                except Exception as error:  # the others must be reaped all the same
                    self.report(error)
        self.reactor.close()
