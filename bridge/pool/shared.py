"""One question for all who ask the same at the same time.

  - Everybody's own deadline counts: the program has until the latest, and whoever has less time is told when that is
    over.
  - An asker's error does not reach the others.

No I/O, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from operator import attrgetter

from bridge.loop.timer import FOREVER
from bridge.protocol.query import Query, Verdict

_deadline = attrgetter("deadline")


class Sharers:
    """The askers of a shared question.

    Attributes:
      queries: theirs that are open, by deadline.
    """

    __slots__ = ("_hurried", "queries")

    def __init__(self, queries: Iterable[Query], hurried: Hurried) -> None:
        self.queries = deque(sorted(queries, key=_deadline))
        self._hurried = hurried
        if self.queries[0].deadline < self.queries[-1].deadline:
            hurried[self] = None

    def settled(self, query: Query) -> None:
        """Tell everybody the verdict."""
        self._hurried.pop(self, None)
        verdict, error = query.verdict or Verdict.UNAVAILABLE, None
        while self.queries:
            try:
                self.queries.popleft().settle(verdict)
            except Exception as raised:
                error = raised
        if error is not None:
            raise error

    def failed(self, error: Exception) -> None:
        """An asker could not even end itself: whoever settled the query is told, as if nothing were shared."""
        raise error


class Hurried(dict[Sharers, None]):
    """Those who share a question that a program has, if not all of them have the same time."""

    def first_deadline(self) -> float:
        """The earliest deadline of all their queries, or infinity."""
        return min([sharers.queries[0].deadline for sharers in self], default=FOREVER)

    def take_late(self, now: float) -> Iterator[Query]:
        """Take out, one by one, the queries whose deadline has come."""
        for sharers in [*self]:
            while sharers.queries and sharers.queries[0].deadline <= now:
                late = sharers.queries.popleft()
                if not sharers.queries:
                    self.pop(sharers, None)
                yield late


class Shared(Query):
    """The query that a program gets for several, which ask the same.

    Args:
      first: the one of them whose turn it is.
      queries: all of them.
      hurried: where they are found while not all of them have the same time.

    Attributes:
      sharers: its asker.
    """

    __slots__ = ("sharers",)

    def __init__(self, first: Query, queries: Iterable[Query], hurried: Hurried) -> None:
        self.sharers = Sharers(queries, hurried)
        super().__init__(first.body, self.sharers.queries[-1].deadline, self.sharers, first.address)
        self.deaths = max(query.deaths for query in self.sharers.queries)
        self.attempts = max(query.attempts for query in self.sharers.queries)

    def leave_out(self, others: deque[Query]) -> None:
        """Ask for all but `others`, the last ones besides perhaps the first; there is no memory for them."""
        queries, first = self.sharers.queries, None
        while others:
            query = queries.pop()
            if query is others[-1]:
                others.pop()
            else:
                first = query
        if first is not None:
            queries.append(first)
        self.deadline = self.sharers.queries[-1].deadline
