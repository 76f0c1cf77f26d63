"""How long a program takes for a query, measured now and then.

Replies are timed only while the pool has queries waiting: the next query is then handed over with each reply, so the
time between two replies is one query's time, and timing few of them costs nothing.

No I/O; the caller passes the time in, in seconds.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.pool.record import Record

_EVERY = 16
"""Replies of one program from one measurement to the next."""

_QUICK, _MANY = 0.001, 64
"""Seconds up to which there are more from one to the next: measuring takes as long as a fifth of a quick query."""

_SLOW = 0.1
"""Seconds from which every other reply is timed: it costs no more than the sixteenth part of quick ones."""

_SLOWER, _FASTER = 0.05, 0.5
"""Weight of a new measurement against all former ones: if queries differ, the quick ones count most, as those can still
be answered."""

_MARGIN = 1.2
"""A query is worth asking if this many times the usual time is left until its deadline."""


class ServiceTime:
    """One pool's usual time for a query.

    Attributes:
      usual: seconds a query takes; 0 until something has been measured.
      reserve: seconds that must be left until a waiting query's deadline; 0 until something has been measured.
    """

    def __init__(self) -> None:
        self.reserve = 0.0
        self.usual = 0.0
        self._quick = False  # some took too little to tell

    def measure(self, record: Record, now: float, busy: bool, answer_timeout: float) -> int:
        """Start or finish timing a reply of the program with this `record`.

        Args:
          busy: the program gets its next query at once.

        Returns:
          number of replies after which to call this again.
        """
        if record.timed_from is not None:
            # A program that was stopped, or a stalled machine, says nothing about other queries.
            self.note(min(now - record.timed_from, answer_timeout), answer_timeout)
            record.timed_from = None
            return _MANY if self.usual < _QUICK else _EVERY if self.usual < _SLOW else 1
        if busy:
            record.timed_from = now
        return 1 if busy else _EVERY

    def note(self, took: float, answer_timeout: float) -> None:
        """A query took so many seconds."""
        weight = 1.0 if not (self.usual or self._quick) else _SLOWER if took > self.usual else _FASTER
        self.usual += (took - self.usual) * weight
        self.reserve = self.usual * _MARGIN
        self.limit(answer_timeout)

    def took_at_most(self, seconds: float) -> None:
        """A query took no longer than this, and perhaps much less."""
        if not self.usual or self.usual > seconds:
            self.forget()
            self._quick = True

    def forget(self) -> None:
        """Nothing is known any more."""
        self.usual = self.reserve = 0.0
        self._quick = False

    def limit(self, answer_timeout: float) -> None:
        """Leave at least half of `answer_timeout` for waiting: otherwise a waiting query might never be asked."""
        self.usual = min(self.usual, answer_timeout / 2)
        self.reserve = min(self.reserve, answer_timeout / 2)
