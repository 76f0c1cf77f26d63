"""The slots of a pool, and its counters."""

from __future__ import annotations

import errno

from bridge.loop.timer import FOREVER
from bridge.pool.backoff import Backoff
from bridge.worker.worker import Worker

_PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY}
"""Errors of a start that may succeed a moment later."""


class Slot:
    """A place in the pool for one program, replaced as needed.

    Attributes:
      worker: the program in service, or `None` while none runs.
      successor: the program that will take over and is still proving itself.
      due: when the next start is due, on the pool's clock; only meaningful without a worker.
      hopeless: the last start failed for a reason that will not go away by itself, like a missing file.
      backoff: delays its starts.
    """

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.successor: Worker | None = None
        self.due = 0.0
        self.hopeless = False
        self.backoff = Backoff()

    def cannot_start(self, error: Exception) -> None:
        """The start of a program failed."""
        self.hopeless = not isinstance(error, MemoryError) and getattr(error, "errno", None) not in _PASSING

    def due_by(self, now: float) -> float:
        """The earliest time at which it may have a program; infinity if there is no hope of that."""
        return FOREVER if self.hopeless and self.due > now else self.due

    def promote(self) -> bool:
        """Let the successor take over; false if there is none any more."""
        if self.successor is None:
            return False
        self.worker, self.successor = self.successor, None
        return True

    def vacate(self, worker: Worker) -> bool:
        """Remove `worker`, which may not be asked any more; true if that leaves the slot vacant."""
        if self.successor is worker:
            self.successor = None
        elif self.worker is worker:
            self.worker, self.successor = self.successor, None
            return self.worker is None
        return False


class Figures:
    """What a pool has done so far, in numbers of queries and programs."""

    def __init__(self) -> None:
        self.granted = 0
        self.denied = 0
        self.unavailable = 0
        self.timeouts = 0
        self.retries = 0
        self.starts = 0
        self.failures = 0
