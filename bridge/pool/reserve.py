"""The pool that a new one replaces, as long as the new one has not shown that it answers.

Without a probe, a new program counts as started when it has been alive for a while, but one that takes longer may still
be starting when the first question comes.  Until one of the new programs has given a good reply, what they do not
answer at once is given to the old ones, if these answer, and only what those may be asked.  A change is not: if the new
programs have another database, it would be lost there.

No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.loop.timer import FOREVER

if TYPE_CHECKING:
    from bridge.pool.pool import Pool
    from bridge.protocol.query import Query


class Reserve:
    """The reserve of one pool; false while there is none that answers.

    If nobody asks, it is given up after `start_timeout`.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._other: Pool | None = None
        self._until = -FOREVER

    def set(self, other: Pool) -> None:
        """Fall back on `other`, which is not in force any more, but still has its programs.

        If that has not shown yet that it answers either, fall back on its own reserve.
        """
        self._other = other.reserve._kept() or other
        self._keep()

    def __bool__(self) -> bool:
        return self._answering() is not None

    def is_pool(self, other: Pool) -> bool:
        """Whether `other` may still be needed."""
        return self._kept() is other

    def may_answer(self, query: Query) -> bool:
        """Whether there is a reserve that answers, and may be asked `query`."""
        return self._answering_to(query) is not None

    def takes(self, query: Query) -> bool:
        """Have `query` answered by the reserve, after all that it has to answer; false if that is not possible."""
        other = self._answering_to(query)
        if other is None:
            return False
        self._keep()
        other.ask([query])
        return True

    def take_waiting(self) -> None:
        """Have the queries that wait answered by the reserve, as far as that is possible."""
        if not self:
            return
        pool = self._pool
        for query in [*pool.waiting]:
            if self.may_answer(query):
                pool.waiting.remove(query)
                pool.again.elsewhere(query)

    def _kept(self) -> Pool | None:
        """The pool that may still be needed, if any."""
        if self._other is not None and (self._pool.staff.ready or self._pool.clock() >= self._until):
            self._other = None
        return self._other

    def _answering(self) -> Pool | None:
        """That pool, if it has programs that have given a reply."""
        other = self._kept()
        return other if other is not None and other.staff.ready else None

    def _answering_to(self, query: Query) -> Pool | None:
        """That pool, if it may be asked `query`."""
        other = self._answering()
        return other if other is not None and query.repeatable and other.may_be_asked(query) else None

    def _keep(self) -> None:
        self._until = self._pool.clock() + self._pool.settings.start_timeout
