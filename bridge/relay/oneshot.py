"""Asks the shared daemon one question by hand, over a relay's connection."""

from __future__ import annotations

from bridge.log.events import event
from bridge.loop.reactor import Reactor
from bridge.protocol.query import Query, Verdict, nothing
from bridge.relay.settings import RelaySettings
from bridge.relay.upstream import Upstream

_NO_PROGRAM = "the daemon could ask no program, or none gave a valid answer in time; its log says why"


def ask_once(settings: RelaySettings, line: bytes) -> tuple[Verdict, str]:
    """Ask the daemon, and wait at most `answer_timeout` for its answer.

    Args:
      line: checked, without its line end.

    Returns:
      the verdict, and for `UNAVAILABLE` the reason, in one line.  An old daemon without the third answer says `0`,
      `DENIED`, even when no program could be asked.
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
        """Nothing to do: `run_until` looks at the query."""

    def failed(self, error: Exception) -> None:
        """Nothing above can fail."""
