"""What a pool knows of each of its programs, and the program itself does not.

No I/O.
"""

from __future__ import annotations

import enum

from bridge.worker.latch import Latch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.pool.slot import Slot


class Standing(enum.Enum):
    """What a pool still wants of a program that it may ask; none leads back to one before it."""

    SERVES = "serves"
    WORN = "worn"  # it has served enough, and is asked only where no other is idle, until it is replaced
    DISMISSED = "dismissed"  # it leaves after the query it has


class Record:
    """Of one program, from its start to its end.

    Attributes:
      slot: its place.
      born: seconds on the pool's clock.
      standing: SERVES, WORN or DISMISSED.
      milestone: number of good replies at which the pool has a look at it.
      timed_from: when its query was handed over, if its reply is to be timed.
      reason: why it failed, if it did.
      proof: its first good reply.
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
        """Look at its next reply, which is its last one."""
        self.standing = Standing.DISMISSED
        self.milestone = 0
