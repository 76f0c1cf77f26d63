"""A process with pools of programs: its start, until the service handles signals, and its end, by force if need be."""

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

_CLEANUP = 4.0
"""Seconds the final cleanup may take before it is forced."""


class Process:
    """One bridge's process.

    Attributes:
      poolset: its pools, whose programs have been started.
      exit_within: see `LastResort`.
      told_to_exit: a signal came before the service handled any.  The SystemExit it raised may have been lost, as is
        any exception raised in a destructor.
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
    """A process with its programs started; none survives the context, even if a signal ends it.

    Until the service handles signals, they end the process with status 0.  They are blocked while programs are being
    started: one that is started but not yet recorded could not be stopped.

    Args:
      hang_up_ends: SIGHUP is a hang-up; otherwise it requests a reload, and stays blocked until the service can do it.
      clear_away: called, after the programs are killed, if the process has to be ended by force.
      status: the exit status then.
    """
    signals.block()
    if not order_is_told():
        reason = "the kernel does not tell when a program reads a question: programs that reply twice may go unnoticed"
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
        signals.exit_on(exit_now, hang_up_ends)
        yield process
    finally:
        last_resort.exit_within(_CLEANUP)
        poolset.close()
        last_resort.close()
        sys.unraisablehook = unraisable


def _log_unraisable(ignored: sys.UnraisableHookArgs) -> None:
    """Log an exception that nobody can catch, instead of printing it on stderr."""
    if ignored.exc_value is not None and ignored.exc_type is not SystemExit:
        log.error(event("internal error, please report it", error=ignored.exc_value))
