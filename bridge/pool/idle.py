"""Idle programs, and which of them is asked next.

 1. The one used last, as its caches are warm.
 2. Those that have given no reply yet, the oldest first; but not for a query that changes something, while there are
    any others: if the program is still starting, the query would be refused, and happen later.  Nor for one that some
    program has had: it might move on to a third one, and this one would read it all the same.
 3. Those that have served enough.

No I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.protocol.query import Query
    from bridge.worker.worker import Worker


class Idle:
    """The idle programs of one pool.

    Args:
      others: whether there are programs, idle or not, that have given a reply.
    """

    def __init__(self, others: Callable[[], bool]) -> None:
        self._others = others
        self._used: list[Worker] = []
        self._new: deque[Worker] = deque()
        self._worn: list[Worker] = []

    def put(self, worker: Worker, is_worn: bool) -> None:
        """Add a free program."""
        if is_worn:
            self._worn.append(worker)
        elif worker.served:
            self._used.append(worker)
        else:
            self._new.append(worker)

    def take(self, query: Query) -> Worker | None:
        """Take out the one to ask `query`; `None` if there is none."""
        if self._used:
            return self._used.pop()
        if self._new and ((query.repeatable and not query.attempts) or not self._others()):
            return self._new.popleft()
        return self._worn.pop() if self._worn else None

    def take_ready(self) -> Worker | None:
        """Take out one that has given a reply; `None` if there is none."""
        if self._used:
            return self._used.pop()
        return self._worn.pop() if self._worn else None

    @property
    def any_ready(self) -> bool:
        """Whether there is one that has given a reply."""
        return bool(self._used or self._worn)

    def __bool__(self) -> bool:
        return bool(self._used or self._worn or self._new)

    def __iter__(self) -> Iterator[Worker]:
        """Those that are needed least first."""
        return iter([*self._worn, *self._new, *self._used])

    def discard(self, worker: Worker) -> None:
        """Take out `worker`, if it is idle."""
        for shelf in (self._used, self._new, self._worn):
            if worker in shelf:
                shelf.remove(worker)
