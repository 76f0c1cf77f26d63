"""Answers leave in the order of their questions, however the programs finish.  No I/O."""

from __future__ import annotations

from collections import deque

from bridge.lines import NO, YES
from bridge.messages import Query, Verdict

_GRANTED = Verdict.GRANTED
_DENIED = Verdict.DENIED


class Ordering:
    """The queries of one client that are not yet answered, oldest first.

    Its length is the number of lines in flight.

    Attributes:
      unavailable: the answer to a query whose verdict is `UNAVAILABLE`.
    """

    __slots__ = ("_queries", "add", "unavailable")

    def __init__(self) -> None:
        self.unavailable = NO
        self._queries: deque[Query] = deque()
        self.add = self._queries.append
        """Put a query, settled or not, behind all others."""

    def __len__(self) -> int:
        return len(self._queries)

    def answers(self) -> bytes:
        """Take out every answer whose turn has come: a digit and a line end for each."""
        queries = self._queries
        answers: list[bytes] = []
        while queries and queries[0].settled:
            verdict = queries.popleft().verdict
            answers.append(YES if verdict is _GRANTED else NO if verdict is _DENIED else self.unavailable)
        return b"".join(answers)

    def abandon(self) -> bytes:
        """Take out everything: the answers that are known; the rest is unavailable."""
        verdicts = [query.verdict if query.settled else Verdict.UNAVAILABLE for query in self._queries]
        self._queries.clear()
        return b"".join(
            [YES if verdict is _GRANTED else NO if verdict is _DENIED else self.unavailable for verdict in verdicts]
        )
