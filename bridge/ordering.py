"""Answers leave in the order of their questions, however the programs finish.  No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bridge.lines import NO, YES
from bridge.messages import Query, Verdict

_GRANTED = Verdict.GRANTED
_DENIED = Verdict.DENIED
_UNAVAILABLE = Verdict.UNAVAILABLE

LATE = 0.1
"""Seconds after its query's deadline in which an answer may still leave: it may have waited for its turn behind one
that ended at the same deadline, and a busy machine takes its time to say so."""


class Ordering(deque[Query]):
    """The queries of one client that are not yet answered, settled or not, oldest first.

    Its length is the number of lines in flight.

    Attributes:
      unavailable: the answer to a query whose verdict is `UNAVAILABLE`.
    """

    unavailable = NO

    def answers(self, now: float) -> bytes:
        """Take out every answer whose turn has come: a digit and a line end for each.

        Args:
          now: seconds, on the clock of the deadlines.  What should have left long ago is unavailable: we stood still
            meanwhile.
        """
        verdicts: list[Verdict | None] = []
        latest = now - LATE
        for query in self:
            verdict = query.verdict
            if verdict is None:
                break
            verdicts.append(verdict if query.deadline > latest else _UNAVAILABLE)
        for _ in verdicts:
            self.popleft()
        return self._answers_to(verdicts)

    def abandon(self, now: float) -> bytes:
        """Take out everything: the answers that are known; the rest is unavailable."""
        latest = now - LATE
        verdicts = [query.verdict if query.deadline > latest else _UNAVAILABLE for query in self]
        self.clear()
        return self._answers_to(verdicts)

    def _answers_to(self, verdicts: Sequence[Verdict | None]) -> bytes:
        unavailable = self.unavailable
        return b"".join([YES if one is _GRANTED else NO if one is _DENIED else unavailable for one in verdicts])
