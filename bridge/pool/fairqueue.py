"""The queue of queries that wait for a program: clients take turns, each with its oldest query.

So a client with a full window delays another's single query by no more than one query's time.  A query that is asked
again, because its program died, goes before all others: it has waited longest.

If memory runs out, no query is lost.

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
    """The queue of one pool.  The queries of a client are in the order of their deadlines."""

    def __init__(self) -> None:
        self._again: deque[Query] = deque()  # asked before; by deadline
        self._queues: dict[Asker, deque[Query]] = {}  # none of them is empty
        self._turns: deque[deque[Query]] = deque()  # the same queues, the next one first; and some emptied since

    def __bool__(self) -> bool:
        return bool(self._queues or self._again)

    def __len__(self) -> int:
        return len(self._again) + sum(map(len, self._queues.values()))

    def add(self, queries: Sequence[Query]) -> None:
        """Add `queries` of one client, at least one, after its others."""
        asker = queries[0].asker
        queue = self._queues.get(asker)
        if queue is None:
            self._queues[asker] = queue = deque(queries)
            try:
                self._turns.append(queue)
            except MemoryError:
                del self._queues[asker]
                raise
        else:
            queue.extend(queries)

    def add_again(self, query: Query) -> None:
        """Add a query that was asked before, ahead of all that were not."""
        at = sum(other.deadline <= query.deadline for other in self._again)
        self._again.insert(at, query)

    def next(self, proven: bool = True, held_back: object = ()) -> Query | None:
        """Take out the query whose turn it is; `None` if there is none."""
        if self._again:
            return self._again.popleft()
        turns = self._turns
        while turns:
            queue = turns[0]
            try:
                query = queue.popleft()
            except IndexError:  # its queries were withdrawn
                turns.popleft()
                continue
            if not queue:
                turns.popleft()
                del self._queues[query.asker]
            else:
                turns.rotate(-1)
            return query
        return None

    def ahead_of(self, query: Query) -> int:
        return len(self)

    def take_last(self) -> Query | None:
        for queue in reversed(self._turns):
            if queue:
                query = queue.pop()
                if not queue:
                    del self._queues[query.asker]
                return query
        return None

    def first_deadline(self) -> float:
        """The earliest deadline of all, or infinity."""
        deadlines = [queue[0].deadline for queue in self._queues.values()]
        if self._again:
            deadlines.append(self._again[0].deadline)
        return min(deadlines, default=FOREVER)

    def take_out(self, hopeless: Callable[[Query], bool]) -> Iterator[Query]:
        """Take out, one by one, all queries that are `hopeless`, as any with an earlier deadline must be too."""
        while self._again and hopeless(self._again[0]):
            yield self._again.popleft()
        for queue in [*self._turns]:
            while queue and hopeless(queue[0]):
                query = queue.popleft()
                if not queue:
                    del self._queues[query.asker]
                yield query
        with contextlib.suppress(MemoryError):  # the empty queues go another time
            self._turns = deque(queue for queue in self._turns if queue)

    def take_all_of(self, asker: Asker) -> list[Query]:
        """Take out every query of one client, without a search: its empty queue is dropped when its turn comes."""
        again = [query for query in self._again if query.asker is asker]
        queue = self._queues.get(asker, deque[Query]())
        taken = [*again, *queue]
        for query in again:
            self._again.remove(query)
        if queue:
            del self._queues[asker]
            queue.clear()
        return taken

    def __iter__(self) -> Iterator[Query]:
        for queue in (self._again, *self._turns):
            yield from queue
