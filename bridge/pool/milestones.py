"""What is checked at some of a program's replies only, as doing it for each would cost every line.

  - The first reply: it proves the program, and ends an outage.
  - The one after which it has served enough (`max_requests`): from then on it is asked last, until it is replaced.
  - Now and then: one is timed, and whether replies arrive whole is looked at again.
  - How long an answer took is noted for one of about 128 if there are many, for each if there are few, and for each
    that its program took long for.

No I/O; the caller supplies the clock.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.loop.timer import FOREVER
from bridge.pool.record import Record, Standing
from bridge.pool.servicetime import ServiceTime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.config.settings import Settings
    from bridge.pool.figures import Figures
    from bridge.protocol.query import Query
    from bridge.worker.worker import Worker

_WHOLE = 10_000
"""Replies of a pool's programs, none in pieces, after which they are assumed to write replies whole.  Being `careful`
costs some of the rate under full load, and nothing otherwise."""

_FEW = 0.02
"""Seconds from one reply of a pool to the next: if there are no more, noting each takes a ten-thousandth of a CPU."""

_BURST = 64 * _FEW
"""Seconds: as many replies as there would be in that time are noted, even if they come at once."""

_MANY, _MORE = 96, 64
"""Replies of a program from one that is noted to the next, if there are more, and up to so many besides: at random, as
clients have habits.  The microseconds of the clock are random enough, and cost less than `random`."""


class Milestones:
    """The milestones of one pool's programs.

    Args:
      figures: the pool's.
      clock: seconds.
      proved: called with a program, and its record, at its first reply.

    Attributes:
      in_pieces: part of a reply came alone.
      service_time: measured here.
    """

    def __init__(self, figures: Figures, clock: Callable[[], float], proved: Callable[[Worker, Record], None]) -> None:
        self.in_pieces = False
        self.service_time = ServiceTime()
        self._figures = figures
        self._clock = clock
        self._due = -FOREVER  # from when on each reply is noted
        self._many = False  # replies were given to tell whether they are written whole
        self._proved = proved

    def passed(self, worker: Worker, record: Record, query: Query, now: float, settings: Settings, busy: bool) -> bool:
        """Check a program that has reached its milestone, and set the next one.

        Args:
          busy: it gets its next query at once.

        Returns:
          whether it has just served enough.
        """
        if worker.served == 1:
            self._proved(worker, record)
        self._many = self._many or self._figures.answered >= _WHOLE
        worker.careful = self.in_pieces or not self._many
        limit = settings.max_requests or FOREVER
        if worker.served >= record.measured:
            replies = self.service_time.measure(record, self._clock(), busy, settings.answer_timeout)
            record.measured = worker.served + replies
        if now >= self._due or worker.served >= record.noting or record.long:
            self._note(worker, record, query, now, settings.answer_timeout)
        worker.milestone = worker.served + 1 if now >= self._due else min(record.measured, record.noting)
        if worker.served < limit:
            worker.milestone = min(worker.milestone, limit)
            return False
        return record.enter(Standing.WORN)

    def _note(self, worker: Worker, record: Record, query: Query, now: float, answer_timeout: float) -> None:
        """Note how long an answer took; it stands for all since the last of its program, but a long one for itself."""
        answers = 1 if record.long else worker.served - record.noted
        record.noted += answers
        record.long = False
        record.noting = worker.served + _MANY + int(now * 1e6) % _MORE
        self._due = min(max(self._due, now - _BURST), now) + _FEW
        if query.deadline > now:  # otherwise it came too late
            self._figures.latency.add(now, now - (query.deadline - answer_timeout), answers)
