"""What is checked at some of a program's replies only, as doing it for each would cost every line.

  - The first reply: it proves the program, and ends an outage.
  - The one after which it has served enough (`max_requests`): from then on it is asked last, until it is replaced.
  - Now and then: one is timed, and whether replies arrive whole is looked at again.

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
    from bridge.worker.worker import Worker

_WHOLE = 10_000
"""Replies of a pool's programs, none in pieces, after which they are assumed to write replies whole.  Being `careful`
costs some of the rate under full load, and nothing otherwise."""


class Milestones:
    """The milestones of one pool's programs.

    Args:
      figures: the pool's; read only.
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
        self._proved = proved

    def passed(self, worker: Worker, record: Record, settings: Settings, busy: bool) -> bool:
        """Check a program that has reached the milestone in its record, and set the next one.

        Args:
          busy: it gets its next query at once.

        Returns:
          whether it has just served enough.
        """
        if worker.served == 1:
            self._proved(worker, record)
        worker.careful = self.in_pieces or self._figures.answered < _WHOLE
        limit = settings.max_requests or FOREVER
        replies = self.service_time.measure(record, self._clock(), busy, settings.answer_timeout)
        record.milestone = worker.served + replies
        if worker.served < limit:
            record.milestone = min(record.milestone, limit)
            return False
        return record.enter(Standing.WORN)
