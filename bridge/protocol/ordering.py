"""Answers leave in the order of their questions, however the programs finish.  No I/O."""

from __future__ import annotations

from bridge.protocol.lines import NO, YES
from bridge.protocol.query import Query, Verdict

_GRANTED = Verdict.GRANTED
_DENIED = Verdict.DENIED

GRACE_AFTER_DEADLINE = 0.1
"""Seconds after its query's deadline in which an answer may still be written: it may have waited for its turn behind
one that timed out at the same deadline, and on a busy machine the timer may be late."""


class Ordering(list[Query]):
    """The unanswered queries of one client, settled or not, oldest first.

    Its length is the number of lines in flight.

    Attributes:
      unavailable: the answer to a query whose verdict is `UNAVAILABLE`.
    """

    unavailable = NO

    def answers(self, now: float, everything: bool = False) -> bytes:
        """Take out every answer whose turn has come: a digit and a line end for each.

        Args:
          now: seconds, on the clock of the deadlines.  A query long past its deadline is unavailable: we were
            stopped meanwhile.
          everything: take out all queries; those without a verdict are unavailable.
        """
        answers: list[bytes] = []
        latest, unavailable = now - GRACE_AFTER_DEADLINE, self.unavailable
        for query in self:
            verdict = query.verdict
            if verdict is None and not everything:
                break
            if query.deadline <= latest:
                answers.append(unavailable)
            else:
                answers.append(YES if verdict is _GRANTED else NO if verdict is _DENIED else unavailable)
        del self[: len(answers)]  # a window is short: a deque would take them out one by one
        return b"".join(answers)

    def abandon(self, now: float) -> bytes:
        """Take out all queries; those without a verdict are unavailable."""
        return self.answers(now, everything=True)
