"""Ends the process by force if shutdown takes too long, whatever hangs or has gone wrong.

- When time is up, a signal interrupts whatever the process is doing: every program is killed with its process
  group, socket files are removed, the log says so, and the process exits.
- There may be no memory left by then, so some address space is kept in reserve.
- If any of that hangs too, the next signal ends the process at once.  If not even a signal handler runs, a thread
  that needs no interpreter ends it: Python's own watchdog (faulthandler).
- A process that exits in time is not affected.
"""

from __future__ import annotations

import _thread
import contextlib
import faulthandler
import mmap
import os
import signal
import time
from collections.abc import Callable, Sequence

from bridge.daemon import signals
from bridge.log.events import event, log
from bridge.loop.timer import FOREVER

INTERNAL_ERROR = 70
"""Exit status: EX_SOFTWARE of sysexits.h."""

_RESERVE = 4 * 1024 * 1024
"""Bytes of address space, twice: one is released when a time is set, so that a signal handler can run, the other when
time is up.  They use no memory: nothing is ever written there."""

_LAST_ACTS = 1.0
"""Seconds the last acts may take before the process ends without them."""

_STACK = 65536
"""Stack size of the watchdog's thread in bytes, instead of 8 MB."""


class LastResort:
    """Ends the process after the seconds given to `exit_within`, unless it is closed before.

    It uses SIGALRM.  The main thread must create, use and close it.

    Args:
      acts: called first, in this order, even if one of them raises.
      status: the exit status then.
    """

    def __init__(self, acts: Sequence[Callable[[], object]], status: int) -> None:
        self._acts = acts
        self._status = status
        self._until = FOREVER
        self._acting = False
        self._to_begin, self._to_act = mmap.mmap(-1, _RESERVE), mmap.mmap(-1, _RESERVE)
        self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._before = signal.signal(signal.SIGALRM, self._end)

    def exit_within(self, seconds: float, failed: bool = False) -> None:
        """End the process by then; an earlier time that was set stays.

        Args:
          failed: whatever handles signals may have ended, so from now on SIGTERM ends the process at once.
        """
        self._to_begin.close()
        if failed:
            signals.end_with(self._end)
        until = time.monotonic() + seconds
        if until >= self._until:
            return
        self._until = until
        signal.setitimer(signal.ITIMER_REAL, seconds, _LAST_ACTS)
        with signals.all_blocked():  # for the thread: a signal delivered to it would not wake the main thread
            stack = _thread.stack_size(_STACK)
            with contextlib.suppress(RuntimeError, MemoryError):  # no thread: there is still the signal
                faulthandler.dump_traceback_later(seconds + 3 * _LAST_ACTS, exit=True, file=self._nowhere)
            _thread.stack_size(stack)

    def close(self) -> None:
        """Cancel it: shutdown is complete."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, self._before)
        self._to_begin.close()
        self._to_act.close()
        os.close(self._nowhere)

    def _end(self, _number: int, _frame: object) -> None:
        try:
            if not self._acting:  # otherwise one of the acts hangs
                self._acting = True
                self._to_act.close()
                self._act()
        finally:
            os._exit(self._status)

    def _act(self) -> None:
        for act in self._acts:
            with contextlib.suppress(Exception):
                act()
        log.critical(event("shutdown forced: programs killed", status=self._status))
