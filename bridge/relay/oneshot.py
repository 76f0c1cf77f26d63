"""One question to the shared daemon by hand: the relay's own connection, for a single line."""

from __future__ import annotations

from bridge.log.events import event
from bridge.loop.reactor import Reactor
from bridge.protocol.query import Query, Verdict, nothing
from bridge.relay.settings import RelaySettings
from bridge.relay.upstream import Upstream

_NO_PROGRAM = "the daemon could ask no program, or none answered well and in time; its log says why"


def inquire(settings: RelaySettings, line: bytes) -> tuple[Verdict, str]:
    """Ask the daemon, and wait for its answer for at most `answer_timeout`.

    Args:
      line: checked, without its line end.

    Returns:
      the verdict, and if that is `UNAVAILABLE` why, in one line.  An old daemon, which has no third answer, says `0`,
      `DENIED`, also when no program could be asked.
    """
    happened: list[str] = []

    def warn(message: str, **fields: object) -> None:
        happened.append(event(message, **fields))

    reactor = Reactor()
    upstream = Upstream(settings, lambda: settings, True, reactor, warn, nothing, negotiates=True)
    try:
        (query,) = upstream.ask([line], _Asker())
        reactor.run_until(lambda: query.settled)
    finally:
        upstream.close()
        reactor.close()
    return query.verdict or Verdict.UNAVAILABLE, "; ".join(happened) or _NO_PROGRAM


class _Asker:
    def settled(self, query: Query) -> None:
        """Whoever waits looks at the query."""

    def failed(self, error: Exception) -> None:
        """Nothing above can fail."""
