"""The places of a pool, and what it has done so far."""

from __future__ import annotations

from bridge.pool.backoff import Backoff
from bridge.worker.worker import Worker


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
