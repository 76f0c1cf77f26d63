"""What a pool keeps about each of its programs, in addition to the worker's own state.

No I/O.
"""

from __future__ import annotations

import enum

from bridge.worker.latch import Latch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.pool.slot import Slot


class Standing(enum.Enum):
    """How a pool uses a program that may be asked; a program only moves down this list."""

    SERVES = "serves"
    WORN = "worn"  # it has served enough, and is asked only if no other is idle, until it is replaced
    DISMISSED = "dismissed"  # it exits after the query it has


class Record:
    """The record of one program, from its start to its end.

    Attributes:
      slot: its slot.
      born: when it was started, in seconds on the pool's clock.
      standing: SERVES, WORN or DISMISSED.
      milestone: number of valid replies at which the pool checks it.
      timed_from: when its query was handed over, if its reply is to be timed.
      reason: why it failed, if it did.
      proof: set at its first valid reply.
    """

    def __init__(self, slot: Slot, born: float) -> None:
        self.slot = slot
        self.born = born
        self.standing = Standing.SERVES
        self.milestone: float = 1
        self.timed_from: float | None = None
        self.reason = ""
        self.proof = Latch()

    def dismiss(self) -> None:
        """Have the pool check it at its next reply, which is its last."""
        self.standing = Standing.DISMISSED
        self.milestone = 0
