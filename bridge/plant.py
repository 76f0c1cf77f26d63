"""Everything of a bridge but its clients and its tasks: the switchboard, the pools, the exchange between them.

Built and filled with programs before trio is imported, so that both start at the same time.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence

from bridge.alarm import Alarms
from bridge.config import Settings
from bridge.exchange import Exchange
from bridge.lastresort import INTERNAL_ERROR, LastResort
from bridge.launch import OBEYED
from bridge.log import RateLimited, event, log
from bridge.pipes import order_is_told
from bridge.pool import Pool
from bridge.starts import Starts
from bridge.switchboard import Switchboard

DEFAULT = ""
"""Key of the pool for every host that has none of its own."""

_REAP = 1.0
"""Seconds, for all programs together, that a killed program may take to be gone before we leave without it."""

_OVERDUE = 2.0
"""Seconds."""

_CLEARED = 4.0
"""Seconds in which everything is cleared away at last, or else by force."""


class Plant:
    """The pools of one set of settings.

    Attributes:
      alarm: ends what has had its time; to be kept by the caller, on `clock`.
      starts: of the programs of all pools; its alarm, too.
      pools: in service, by host.
      draining: out of service, with queries or programs left.
      told_to_leave: a signal said so before the service obeyed any.  What it raised may have been ignored, as all is
        that is raised in a destructor.
      leave_within: see `LastResort`; does nothing where there is none.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.board = Switchboard(self.report)
        # Before: we may have stood still, and what has been said by now is no program's silence.
        self.alarm = Alarms(clock, self.report, before=self.board.turn)
        self.starts = Starts(clock, self.report)
        self.pools: dict[str, Pool] = {}
        self.draining: set[Pool] = set()
        self.exchange = Exchange(settings, clock, self.draining)
        self.told_to_leave = False
        self.leave_within: Callable[[float, bool], None] = _whenever
        self._log = RateLimited(5, 60.0, clock)

    def apply(self, settings: Settings) -> tuple[list[Pool], list[Pool]]:
        """Put `settings` in force: new pools are connected, and start programs; those whose program is the same go on.

        Returns:
          the pools that are new, and those that are to be drained.
        """
        programs = {} if settings.program is None else {DEFAULT: settings.program}
        programs |= settings.hosts
        kept = {name: pool for name, pool in self.pools.items() if pool.program == programs.get(name)}
        replaced = [pool for name, pool in self.pools.items() if name not in kept]
        new = {
            name: Pool(name or "default", program, settings, self.board, self.clock, self.alarm, self.starts)
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
        self.exchange.connect(settings, self.pools.get(DEFAULT), hosts)
        for pool in new.values():
            self.starts.plan(pool, self.clock())
        return [*new.values()], replaced

    def summary(self) -> str:
        """One line about all pools, for people."""
        pools = [*self.pools.values()]
        alive = sum(pool.usable for pool in pools)
        programs = sum(len(pool.slots) for pool in pools)
        done = sum(pool.figures.granted + pool.figures.denied for pool in pools)
        unavailable = sum(pool.figures.unavailable for pool in pools)
        in_flight = sum(pool.in_flight for pool in pools)
        return f"{alive} of {programs} programs up, {in_flight} in flight, {done} answered, {unavailable} unavailable"

    def is_overdue(self) -> bool:
        """Whether a query should have been ended long ago: the clock of a pool does not work."""
        latest = self.clock() - _OVERDUE
        return any(pool.earliest_deadline() < latest for pool in (*self.pools.values(), *self.draining))

    def report(self, error: Exception) -> None:
        """Log what went wrong where no client and no program can be ended alone for it; all goes on."""
        with contextlib.suppress(MemoryError):
            self._log.log(logging.ERROR, "", "internal error, please report it", error=error)

    def kill(self) -> None:
        """Kill every program with its process group, and wait for none."""
        for pool in (*self.pools.values(), *self.draining):
            for worker in [*pool.workers]:
                worker.signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill what still runs and let go of everything.  May be called again."""
        self.kill()
        until = self.clock() + _REAP
        for pool in [*self.pools.values(), *self.draining]:
            for worker in [*pool.workers]:
                try:
                    worker.reap(max(0.0, until - self.clock()))
                except Exception as error:  # the others are to be reaped all the same
                    self.report(error)
        self.board.close()


@contextlib.contextmanager
def running(
    settings: Settings,
    hang_up_ends: bool,
    clear_away: Sequence[Callable[[], object]] = (),
    status: int = INTERNAL_ERROR,
) -> Generator[Plant, None, None]:
    """A plant with its programs started; whatever ends the context, a signal too, leaves none behind.

    Until the service obeys signals they end the process with status 0.  While programs are being started they
    wait: one that is started and not yet known could not be stopped.

    Args:
      hang_up_ends: SIGHUP is a hang-up; otherwise it asks for a reload, and waits until the service can do it.
      clear_away: what remains to be done besides killing the programs where the process has to be ended by force.
      status: its exit status then.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, OBEYED)
    if not order_is_told():
        reason = "the kernel does not tell when a program takes its question: programs that reply twice may pass"
        log.warning(event("replies are looked at less closely", reason=reason))
    plant = Plant(settings)

    def leave(_number: int, _frame: object) -> None:
        plant.told_to_leave = True
        sys.exit(0)

    unraisable, sys.unraisablehook = sys.unraisablehook, _log_unraisable
    last_resort = LastResort([plant.kill, *clear_away], status)
    plant.leave_within = last_resort.leave_within
    try:
        plant.apply(settings)
        plant.starts.start_at_once()
        ends = [number for number in OBEYED if number != signal.SIGHUP or hang_up_ends]
        for number in ends:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, leave)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)
        yield plant
    finally:
        last_resort.leave_within(_CLEARED)
        plant.close()
        last_resort.close()
        sys.unraisablehook = unraisable


def _log_unraisable(ignored: sys.UnraisableHookArgs) -> None:
    """Say in the log, and not on stderr, what was raised where nobody can catch it."""
    if ignored.exc_value is not None and ignored.exc_type is not SystemExit:
        log.error(event("internal error, please report it", error=ignored.exc_value))


def _whenever(_seconds: float, _failed: bool) -> None:
    pass
