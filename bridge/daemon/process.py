"""A process that asks programs: its pools, until signals are obeyed, and its end, by force if need be."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Sequence

from bridge.config.settings import Settings
from bridge.daemon import signals
from bridge.daemon.lastresort import INTERNAL_ERROR, LastResort
from bridge.log.events import event, log
from bridge.pool.poolset import PoolSet
from bridge.worker.stdinpipe import order_is_told

_CLEARED = 4.0
"""Seconds in which everything is cleared away at last, or else by force."""


class Process:
    """One bridge's process.

    Attributes:
      poolset: its pools, whose programs have been started.
      exit_within: see `LastResort`.
      told_to_exit: a signal said so before the service obeyed any.  What it raised may have been ignored, as all is
        that is raised in a destructor.
    """

    def __init__(self, poolset: PoolSet, exit_within: Callable[..., None]) -> None:
        self.poolset = poolset
        self.exit_within = exit_within
        self.told_to_exit = False


@contextlib.contextmanager
def running(
    settings: Settings,
    hang_up_ends: bool,
    clear_away: Sequence[Callable[[], object]] = (),
    status: int = INTERNAL_ERROR,
) -> Generator[Process, None, None]:
    """A process with its programs started; whatever ends the context, a signal too, leaves none behind.

    Until the service obeys signals they end the process with status 0.  While programs are being started they
    wait: one that is started and not yet known could not be stopped.

    Args:
      hang_up_ends: SIGHUP is a hang-up; otherwise it asks for a reload, and waits until the service can do it.
      clear_away: what remains to be done besides killing the programs where the process has to be ended by force.
      status: its exit status then.
    """
    signals.hold()
    if not order_is_told():
        reason = "the kernel does not tell when a program takes its question: programs that reply twice may pass"
        log.warning(event("replies are looked at less closely", reason=reason))
    poolset = PoolSet(settings)
    last_resort = LastResort([poolset.kill, *clear_away], status)
    process = Process(poolset, last_resort.exit_within)

    def exit_now(_number: int, _frame: object) -> None:
        process.told_to_exit = True
        sys.exit(0)

    unraisable, sys.unraisablehook = sys.unraisablehook, _log_unraisable
    try:
        poolset.apply(settings)
        poolset.starts.start_at_once()
        signals.let_end(exit_now, hang_up_ends)
        yield process
    finally:
        last_resort.exit_within(_CLEARED)
        poolset.close()
        last_resort.close()
        sys.unraisablehook = unraisable


def _log_unraisable(ignored: sys.UnraisableHookArgs) -> None:
    """Say in the log, and not on stderr, what was raised where nobody can catch it."""
    if ignored.exc_value is not None and ignored.exc_type is not SystemExit:
        log.error(event("internal error, please report it", error=ignored.exc_value))
