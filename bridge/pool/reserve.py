"""The pool that a new one replaces, as long as the new one has not shown that it answers.

Without a probe, a new program counts as started when it has been alive for a while, but one that takes longer may still
be starting when the first question comes.  Until one of the new programs has given a good reply, what they do not
answer at once is given to the old ones.

No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.loop.timer import FOREVER

if TYPE_CHECKING:
    from bridge.pool.pool import Pool
    from bridge.protocol.query import Query


class Reserve:
    """The reserve of one pool; false if there is none.

    If nobody asks, it is given up after `start_timeout`.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._other: Pool | None = None
        self._until = -FOREVER

    def set(self, other: Pool) -> None:
        """Fall back on `other`, which is not in force any more, but still has its programs."""
        self._other = other
        self._keep()

    def __bool__(self) -> bool:
        if self._other is not None and (self._pool.staff.ready or self._pool.clock() >= self._until):
            self._other = None
        return self._other is not None

    def is_pool(self, other: Pool) -> bool:
        """Whether `other` may still be needed."""
        return bool(self) and self._other is other

    def answer(self, query: Query) -> None:
        """Have `query`, which no program of the pool answers, answered by the reserve, or else by a ready program."""
        if self._other is None or not self:
            self._pool.ask_ahead(query)
        else:
            try:
                self._keep()
                self._other.ask([query])
            except Exception:
                self._pool.give_up(query)
                raise

    def answer_all(self) -> None:
        """Have the queries that wait answered by the reserve, if there is one."""
        if self and self._other is not None and self._pool.waiting:
            self._keep()
            self._pool.hand_over(self._other)

    def _keep(self) -> None:
        self._until = self._pool.clock() + self._pool.settings.start_timeout
