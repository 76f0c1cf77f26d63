"""Answers leave in the order of their questions, however the programs finish.  No I/O."""

from __future__ import annotations

from collections import deque

from bridge.lines import NO, YES
from bridge.messages import Query, Verdict

_GRANTED = Verdict.GRANTED


class Ordering:
    """The queries of one client that are not yet answered, oldest first.

    Its length is the number of lines in flight.
    """

    __slots__ = ("_queries", "extend")

    def __init__(self) -> None:
        self._queries: deque[Query] = deque()
        self.extend = self._queries.extend
        """Put queries, settled or not, behind all others."""

    def __len__(self) -> int:
        return len(self._queries)

    def answers(self) -> bytes:
        """Take out every answer whose turn has come: `1` or `0` and a line end for each."""
        queries = self._queries
        answers: list[bytes] = []
        while queries and queries[0].settled:
            answers.append(YES if queries.popleft().verdict is _GRANTED else NO)
        return b"".join(answers)

    def abandon(self) -> bytes:
        """Take out everything: the answers that are known, and `0` for the rest."""
        answers = [YES if query.settled and query.verdict is _GRANTED else NO for query in self._queries]
        self._queries.clear()
        return b"".join(answers)
