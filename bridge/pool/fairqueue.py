"""Queries that wait for a program: clients take turns, and within a client the first comes first.

So a client with a full window delays another's single query by one query's time and no more.  A query that
is asked again, because its program died, goes before all others: it has waited longest.

Where there is no memory for something, no query is lost.

No I/O, no clock.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from bridge.loop.timer import FOREVER
from bridge.protocol.query import Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.protocol.query import Asker


class FairQueue:
    """The queue of one pool.  Every client's own queries are in the order of their deadlines."""

    def __init__(self) -> None:
        self._again: deque[Query] = deque()  # by deadline
        self._lines: dict[Asker, deque[Query]] = {}  # none of them is empty
        self._turns: deque[deque[Query]] = deque()  # the same lines, the next one first; and some whose client left

    def __bool__(self) -> bool:
        return bool(self._lines or self._again)

    def __len__(self) -> int:
        return len(self._again) + sum(map(len, self._lines.values()))

    def add(self, queries: Sequence[Query]) -> None:
        """Put `queries` of one client, at least one, behind its others."""
        asker = queries[0].asker
        line = self._lines.get(asker)
        if line is None:
            self._lines[asker] = line = deque(queries)
            try:
                self._turns.append(line)
            except MemoryError:
                del self._lines[asker]
                raise
        else:
            line.extend(queries)

    def add_again(self, query: Query) -> None:
        """Put `query` before all that were never asked."""
        at = sum(other.deadline <= query.deadline for other in self._again)
        self._again.insert(at, query)

    def next(self) -> Query | None:
        """Take out the query whose turn it is; `None` if there is none."""
        if self._again:
            return self._again.popleft()
        turns = self._turns
        while turns:
            line = turns[0]
            try:
                query = line.popleft()
            except IndexError:  # its client left
                turns.popleft()
                continue
            if not line:
                turns.popleft()
                del self._lines[query.asker]
            else:
                turns.rotate(-1)
            return query
        return None

    def first_deadline(self) -> float:
        """The earliest deadline of all, or infinity."""
        deadlines = [line[0].deadline for line in self._lines.values()]
        if self._again:
            deadlines.append(self._again[0].deadline)
        return min(deadlines, default=FOREVER)

    def take_out(self, hopeless: Callable[[Query], bool]) -> Iterator[Query]:
        """Take out, one by one, all queries for which `hopeless` is true, which must include those due before them."""
        while self._again and hopeless(self._again[0]):
            yield self._again.popleft()
        for line in [*self._turns]:
            while line and hopeless(line[0]):
                query = line.popleft()
                if not line:
                    del self._lines[query.asker]
                yield query
        with contextlib.suppress(MemoryError):  # then another time
            self._turns = deque(line for line in self._turns if line)

    def take_all_of(self, asker: Asker) -> list[Query]:
        """Take out every query of one client, which costs no more than these: its empty line is left to its turn."""
        again = [query for query in self._again if query.asker is asker]
        line = self._lines.get(asker, deque[Query]())
        taken = [*again, *line]
        for query in again:
            self._again.remove(query)
        if line:
            del self._lines[asker]
            line.clear()
        return taken

    def __iter__(self) -> Iterator[Query]:
        for line in (self._again, *self._turns):
            yield from line
