"""One client that speaks the tagged protocol: many lines in, each answered as soon as its verdict is known.

A client that violates the protocol is disconnected at once, and what it has in flight is withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bridge.clients.budget import TAGGED_LINE, Budget
from bridge.clients.windowed import WindowedSession
from bridge.loop.reactor import Reactor
from bridge.loop.streams import Borrowed
from bridge.pool.router import Router
from bridge.protocol.query import REFUSED, Query
from bridge.protocol.tagged import Tagged, TaggedLines, TaggedReader, Tagging, Violation


class TaggedSession(WindowedSession):
    """A client on two streams whose first line, which is answered here, has requested the tagged protocol.

    Args:
      over: called once, when everything has been answered, or cannot be.
      budget: shared with other clients.
    """

    _line_costs = TAGGED_LINE

    def __init__(
        self,
        source: Borrowed,
        sink: Borrowed,
        router: Router,
        reactor: Reactor,
        over: Callable[[], None],
        budget: Budget | None = None,
    ) -> None:
        lines = TaggedReader(router.settings.max_line)
        self._tagging = Tagging(lines.in_use)  # as `_unanswered`, of which the base class knows less
        self._ask_for = router.ask_for
        super().__init__(source, sink, router, reactor, over, lines, self._tagging, budget)
        self._flush_later()  # the answer to its first line

    def settled(self, query: Query) -> None:
        """A query has its verdict, which is written at the end of this batch."""
        self._tagging.settled.append(query)
        if not self._flush_due:
            self._flush_later()

    def failed(self, error: Exception) -> None:
        """End the session after a violation of the client's, or an error of ours."""
        if isinstance(error, Violation):
            self._drop("client disconnected: it violated the tagged protocol", reason=str(error))
        else:
            super().failed(error)

    def _take(self, lines: TaggedLines) -> None:
        full = self._unwritten or len(lines.tags) >= self._window - len(self._tagging)
        if full:
            lines = self._fitting(lines)
        if tags := lines.tags:
            queries = self._ask_for(lines.questions, lines.addresses, self)
            self._tagging.add(tags, queries)
            if REFUSED in queries and not self._flush_due:  # `settled` is not called for refused lines
                self._flush_later()
        if full:
            self._listen()

    def _leave_unasked(self, lines: Iterable[Tagged]) -> None:
        self._tagging.unasked([tag for tag, _, _ in lines])
