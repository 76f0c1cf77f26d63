"""The end of the process where leaving takes longer than it may, whatever hangs or has gone wrong.

- When its time is over, a signal interrupts what the process waits for: every program is killed with its process
  group, sockets' files are removed, the log says so, and the process is gone.
- There may be no memory left by then: some address space is kept in reserve for it.
- Should any of that hang as well, the next signal ends the process at once.  Where not even a signal is obeyed, a
  thread does, which needs nothing of Python: Python's own watchdog.
- A process that leaves in time never hears of it.
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
"""Bytes of address space, twice: given back when a time is set, so that a signal can be obeyed, and when it is over.
No memory is taken by it: nothing is ever written there."""

_AGAIN = 1.0
"""Seconds that the last things may take before it is over without them."""

_STACK = 65536
"""Bytes that the watchdog's thread has, instead of 8 MB."""


class LastResort:
    """Ends the process once `exit_within` seconds are over, unless it is closed before.

    It takes SIGALRM.  To be made, used and closed by the main thread.

    Args:
      acts: what is to be done first, in this order; what one of them raises stops no other.
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
        """The process is to be gone by then; an earlier time that was set stays.

        Args:
          failed: who obeys signals may be no more: SIGTERM means at once from here on.
        """
        self._to_begin.close()
        if failed:
            signals.end_with(self._end)
        until = time.monotonic() + seconds
        if until >= self._until:
            return
        self._until = until
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
        with signals.all_held():  # for the thread: one that it got would not wake whom it is meant for
            stack = _thread.stack_size(_STACK)
            with contextlib.suppress(RuntimeError, MemoryError):  # no thread is to be had: there is still the signal
                faulthandler.dump_traceback_later(seconds + 3 * _AGAIN, exit=True, file=self._nowhere)
            _thread.stack_size(stack)

    def close(self) -> None:
        """Everything is cleared away: there is no need any more."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, self._before)
        self._to_begin.close()
        self._to_act.close()
        os.close(self._nowhere)

    def _end(self, _number: int, _frame: object) -> None:
        try:
            if not self._acting:  # else one of the acts hangs
                self._acting = True
                self._to_act.close()
                self._act()
        finally:
            os._exit(self._status)

    def _act(self) -> None:
        for act in self._acts:
            with contextlib.suppress(Exception):
                act()
        log.critical(event("leaving is forced: the programs are killed", status=self._status))
