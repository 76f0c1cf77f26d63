"""How many programs a pool starts, and when.

  - `pool_size` programs count: those that are starting, ready or worn.  One that is stuck or leaving does not, so
    another one is started, while at most `pool_max` run.  A program's place is taken until its process is gone.
  - *Died at work*: a program that had given a good reply is replaced at once, however often that happens; only the rate
    of starts is limited, so that a crash loop does not eat the machine.
  - *Cannot start*: a program ended, or ran out of time, before its first good reply.  Then one program tries, after
    longer and longer pauses, and when it is ready, or has been up for a while, the others start at once.
  - If that program had a question, the question may be to blame: it takes three different ones in a row, and a while
    without any good reply.

No I/O; the caller passes the time in, in seconds.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from bridge.log.tokenbucket import TokenBucket
from bridge.loop.timer import FOREVER
from bridge.pool.backoff import Backoff
from bridge.pool.record import Record, Standing
from bridge.pool.startuptime import StartupTime
from bridge.worker.worker import Worker

_STARTS_A_SECOND = 20.0
"""Starts that did not lead to a good reply: what a small machine can start of interpreted programs, with half of it
left for those that work."""

_IN_A_ROW = 3
"""Different questions that ended a program which had given no reply: one, or two, may be poison."""

_NO_REPLY = 1.0
"""Seconds without any good reply, besides: as long as others are answered, programs can start."""

_PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY}
"""Errors of a start that may succeed a moment later."""


class Staffing:
    """The programs of one pool, by number.

    Args:
      size: programs that are to count.
      most: programs that may run.
      clock: seconds.

    Attributes:
      due: when the next start may be.
      hopeless: the last start failed for a reason that will not go away by itself, like a missing file.
      scouting: no program has become ready since one could not start.
      starts: number of programs started so far.
      spares: programs wanted besides `size`.
      startup: how long starts take.
    """

    def __init__(self, size: int, most: int, clock: Callable[[], float]) -> None:
        self.size = size
        self.most = most
        self.due = 0.0
        self.hopeless = False
        self.scouting = False
        self.starts = 0
        self.spares = 0
        self.startup = StartupTime()
        self._backoff = Backoff()
        self._known = 0  # starts up to the last failure: if others of these fail too, that tells nothing new
        self._delay = 0.0
        self._rate = TokenBucket(_STARTS_A_SECOND, size + most, clock)
        self._row: set[int] = set()  # hashes of the questions that ended a starting program
        self._row_began = 0.0
        self._row_answered = 0

    def missing(self, workers: Mapping[Worker, Record]) -> int:
        """Programs to be started, one after the other, as far as there are places."""
        counted = sum(record.counts for record in workers.values())
        return max(0, min(self.size + self.spares - counted, self.most - len(workers)))

    def next_start(self, workers: Mapping[Worker, Record], now: float) -> float:
        """When the next program is to be started; infinity if none is."""
        if not self.missing(workers):
            return FOREVER
        trying = [record.born for record in workers.values() if record.standing is Standing.STARTING]
        if self.scouting and trying:
            up = max(trying) + self.startup.unasked
            self.scouting = up > now
            return max(self.due, now, up)
        return max(self.due, now)

    def take(self) -> bool:
        """Take the right to start a program; false if too many were started lately."""
        return self._rate.take()

    def want_spare(self, workers: Mapping[Worker, Record]) -> None:
        """Start one more program, unless one is starting: what waits is given to that one."""
        if not any(record.standing is Standing.STARTING for record in workers.values()):
            self.spares = self.surplus(workers) + 1

    def surplus(self, workers: Mapping[Worker, Record]) -> int:
        """Programs beyond `size` that count."""
        return max(0, sum(record.counts for record in workers.values()) - self.size)

    def started(self) -> int:
        """A program was started; returns the number of this start."""
        self.starts += 1
        self.hopeless = False
        self.spares = 0
        return self.starts

    def proved(self, record: Record, now: float) -> None:
        """A program has given its first good reply."""
        self.startup.learn(record.born, record.asked, now)
        self._rate.give_back()
        self._backoff.reset()
        self.scouting = False
        self.due = now
        self._row.clear()

    def cannot_start(self, error: Exception, now: float) -> float:
        """A program could not be started; returns the seconds until the next try."""
        self.hopeless = not isinstance(error, MemoryError) and getattr(error, "errno", None) not in _PASSING
        return self._failed(FOREVER, now)

    def ended_starting(self, number: int, body: bytes | None, answered: int, now: float) -> float | None:
        """A program ended, or was ended, before its first good reply.

        Args:
          number: of its start.
          body: the question of a client that it had read, if any.
          answered: good replies of the pool so far.

        Returns:
          seconds until the next try, or `None` if that program's end says nothing about others.
        """
        if body is None:
            return self._failed(number, now)
        if not self._row or answered != self._row_answered:
            self._row.clear()
            self._row_began, self._row_answered = now, answered
        self._row.add(hash(body))
        if len(self._row) < _IN_A_ROW or (now - self._row_began < _NO_REPLY and answered):
            return None
        return self._failed(number, now)

    def _failed(self, number: float, now: float) -> float:
        self.scouting = True
        if number > self._known:
            self._known = self.starts
            self._delay = self._backoff.next_delay()
            self.due = now + self._delay
        return self._delay
