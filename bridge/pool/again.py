"""Queries that are asked again: whose program took long or ended, or could not be given them after all.

Each call has the only reference to its query, so whatever happens, it is asked, waits, or is given up.  No I/O.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.pool.pool import Pool
    from bridge.protocol.query import Query


class Again:
    """Asks the queries of one pool again."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def ahead(self, query: Query, only_ready: bool = False) -> None:
        """Ask `query` before all others: it has waited longest.

        If a program has it already, it goes to a ready one, as long as there are any.
        """
        pool = self._pool
        try:
            if not (pool.lend(query, only_ready) or pool.probation.takes_back(query)):
                pool.mind(query)
                pool.waiting.add_again(query)
        except Exception:
            pool.give_up(query)
            raise
        pool.give_up_hopeless()

    def elsewhere(self, query: Query) -> None:
        """Have `query`, with which a program takes long, answered by the reserve, or else by a ready program."""
        pool = self._pool
        try:
            taken = pool.reserve.takes(query)
        except Exception:
            pool.give_up(query)
            raise
        if not taken:
            self.ahead(query)

    def once_more(self, query: Query, was_read: bool, proved: bool) -> None:
        """Ask another program, or give up `query`, whose program died."""
        pool = self._pool
        try:
            again = query.survives(was_read, proved) and pool.clock() < query.deadline
            pool.figures.retries += again
        except Exception:
            pool.give_up(query)
            raise
        if again:
            (self._last if was_read else self.ahead)(query)
            return
        pool.give_up(query)
        if was_read and query.deaths > 1:
            pool.probation.accuse(query)

    def _last(self, query: Query) -> None:
        """Ask `query` after all others: it may be what ended its program."""
        pool = self._pool
        try:
            if pool.reserve.takes(query) or (pool.probation.knows_any and not pool.probation.let_through([query])):
                return
            if pool.waiting or not pool.lend(query):
                pool.waiting.add([query])
        except Exception:
            pool.give_up(query)
            raise
        pool.give_up_hopeless()
