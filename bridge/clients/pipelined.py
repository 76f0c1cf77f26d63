"""One pipelined client: many lines in, their answers out in the same order."""

from __future__ import annotations

from collections.abc import Callable

from bridge.clients.budget import Budget
from bridge.clients.windowed import WindowedSession
from bridge.loop.reactor import Reactor
from bridge.loop.streams import Borrowed
from bridge.protocol.lines import UNKNOWN, LineReader
from bridge.protocol.ordering import Ordering
from bridge.protocol.query import AGREED, REFUSED, UNASKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.protocol.query import Answerer, Refusal


class PipelinedSession(WindowedSession):
    """A pipelined client on two streams.

    Args:
      over: called once, when everything has been answered, or cannot be.
      three_answers: its first line, which is answered here, has requested the third answer: UNKNOWN instead of NO when
        the verdict is `UNAVAILABLE`.
      budget: shared with other clients.
    """

    def __init__(
        self,
        source: Borrowed,
        sink: Borrowed,
        router: Answerer,
        reactor: Reactor,
        over: Callable[[], None],
        three_answers: bool = False,
        budget: Budget | None = None,
    ) -> None:
        self._ordering = Ordering()  # as `_unanswered`, of which the base class knows less
        lines = LineReader(router.settings.max_line)
        super().__init__(source, sink, router, reactor, over, lines, self._ordering, budget)
        if three_answers:
            self._ordering.unavailable = UNKNOWN
            self._ordering.append(AGREED)
            self._flush_later()

    def _take(self, lines: Sequence[bytes | Refusal]) -> None:
        full = self._unwritten or len(lines) >= self._window - len(self._ordering)
        if full:
            lines = self._fitting(lines)
        queries = self._router.ask(lines, self)  # may already settle some: their answers are written at the flush
        self._ordering.extend(queries)
        if REFUSED in queries and not self._flush_due:  # `settled` is not called for refused lines
            self._flush_later()
        if full:
            self._listen()

    def _leave_unasked(self, lines: Sequence[bytes | Refusal]) -> None:
        self._ordering.extend([UNASKED] * len(lines))
