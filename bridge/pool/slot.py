"""The places of a pool, and what it has done so far."""

from __future__ import annotations

import errno

from bridge.loop.timer import FOREVER
from bridge.pool.backoff import Backoff
from bridge.worker.worker import Worker

_PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY}
"""Why a start may fail now and succeed in a moment."""


class Slot:
    """A place in the pool, for one program after another.

    Attributes:
      worker: the program in service, or `None` while none runs.
      successor: the one that is to take over from it and is still proving itself.
      due: when the next start is due, on the pool's clock; only meaningful without a worker.
      hopeless: the last start failed for a reason that will not go away by itself, like a missing file.
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
        """When a program may be there, as far as can be told; infinity if there is no hope of it."""
        return FOREVER if self.hopeless and self.due > now else self.due

    def promote(self) -> bool:
        """Put the successor in its predecessor's place; false if there is none any more."""
        if self.successor is None:
            return False
        self.worker, self.successor = self.successor, None
        return True

    def vacate(self, worker: Worker) -> bool:
        """`worker` is not to be asked any more; true if that leaves nobody in a place that it held."""
        if self.successor is worker:
            self.successor = None
        elif self.worker is worker:
            self.worker, self.successor = self.successor, None
            return self.worker is None
        return False


class Figures:
    """What a pool has done so far, in numbers of queries or programs."""

    def __init__(self) -> None:
        self.granted = 0
        self.denied = 0
        self.unavailable = 0
        self.timeouts = 0
        self.retries = 0
        self.starts = 0
        self.failures = 0
