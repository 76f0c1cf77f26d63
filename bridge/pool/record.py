"""What a pool keeps about each of its programs, in addition to the worker's own state.

  - A program is STARTING until its first good reply, then READY.  Its start is not an answer's time: a question that
    waits for it too long ends without it, and its late reply is dropped.
  - A program is STUCK while it has had its question far longer than usual; another one takes its place meanwhile.
  - A WORN program has served enough, and is asked only if no other is idle, until its successor is READY.
  - A program is LEAVING once it exits after the query it has, or may not be asked any more.

No I/O.
"""

from __future__ import annotations

import enum

from bridge.loop.timer import FOREVER
from bridge.worker.latch import Latch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.protocol.query import Query


class Standing(enum.Enum):
    """Of a program in its pool."""

    STARTING = "starting"
    READY = "ready"
    STUCK = "stuck"
    WORN = "worn"
    LEAVING = "leaving"


FOLLOWERS = {
    Standing.STARTING: {Standing.READY, Standing.STUCK, Standing.LEAVING},
    Standing.READY: {Standing.STUCK, Standing.WORN, Standing.LEAVING},
    Standing.STUCK: {Standing.READY, Standing.LEAVING},
    Standing.WORN: {Standing.STUCK, Standing.LEAVING},
    Standing.LEAVING: set[Standing](),
}
"""The standings that may follow each of them.  A worn program that was stuck is worn again at its next milestone."""

_COUNT = {Standing.STARTING, Standing.READY, Standing.WORN}


class Record:
    """The record of one program, from its start to its end.

    Args:
      number: of its start.
      born: when it was started, in seconds on the pool's clock.
      replaces: the record of the program whose successor it is, if that is not gone.

    Attributes:
      standing: see the head of this module; changed by `enter`.
      measured: number of them at which it is checked how long a query takes.
      timed_from: when its query was handed over, if its reply is to be timed.
      noted: valid replies of which it was noted, or that of another which stands for them, how long the answer took.
      noting: number of them at which that is noted the next time, at the latest.
      long: it has had its query for more than a round.
      reason: why it failed, if it did.
      unkillable: it may not be killed, and keeps its place.
      proven: it has given a valid reply.
      proof: set then.
      asked: when it was first seen with a query, if it was.
      seen: the query it had when the pool last looked, if any.
      since: when it was first seen with that one.
      timed: since when what it takes for that one says how long a question takes, and not how long its start does:
        since it was seen to have read it; infinity if it was not.
      served: its valid replies when the pool last looked.
      answered, busy: valid replies of the pool until then, and other programs that had a query then.
      against: since when others have been answered, or could be, while it has not; infinity if they are not.
      amid_others: whether others had just been answered when it was first seen with that query.
      guilty: whether others were answered then and when the time for its query was over; `None` before that.
    """

    def __init__(self, number: int, born: float, replaces: Record | None = None) -> None:
        self.number = number
        self.born = born
        self.replaces = replaces
        self.standing = Standing.STARTING
        self.measured: float = 1
        self.timed_from: float | None = None
        self.noted = 0
        self.noting = 1
        self.long = False
        self.reason = ""
        self.unkillable = False
        self.proven = False
        self.proof = Latch()
        self.asked = FOREVER
        self.seen: Query | None = None
        self.since = 0.0
        self.timed = FOREVER
        self.served = 0
        self.answered = 0
        self.busy = 0
        self.against = FOREVER
        self.amid_others = False
        self.guilty: bool | None = None

    @property
    def counts(self) -> bool:
        """Whether it counts as one of `pool_size`: a successor does not while its predecessor does."""
        return self.standing in _COUNT and (self.replaces is None or self.replaces.standing not in _COUNT)

    def enter(self, wanted: Standing) -> bool:
        """Change the standing if `wanted` may follow it; returns whether it did."""
        follows = wanted in FOLLOWERS[self.standing]
        if follows:
            self.standing = wanted
        return follows

    def sees(self, query: Query, now: float, answered: int, amid_others: bool) -> None:
        """Note that the program has a query which it did not have when the pool last looked."""
        self.seen, self.since, self.answered, self.busy = query, now, answered, 0
        self.against, self.guilty = FOREVER, None
        self.timed, self.amid_others = now if self.proven else FOREVER, amid_others
        self.asked = min(self.asked, now)
