"""Logs one line for each verdict and each refused line, as `log.verdicts` says.

  question answered verdict=denied command=auth ms=212 address=203.0.113.7 account="alice@example.com"

- A query that is to be logged is a `LoggedQuery` instead of a `Query`.  So while none are, nothing on a query's way
  has to ask whether they are.
- What a stranger typed, the account, comes last and is always quoted: nobody can forge a field, or another line.
  The address is the client's own, as the module tells it; it is left out if it is not known.
- Nobody sets the lowest level of these lines but `log.verdicts`, and no line is held back: they are for accounting,
  and for programs like fail2ban, which count.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.log.events import event, log, quoted
from bridge.protocol.checks import WITH_SECRET, WITHOUT_SECRET, command_of
from bridge.protocol.query import Query, Verdict

if TYPE_CHECKING:
    from bridge.protocol.query import Asker, Refusal

_NAME = 320
"""Characters of an account that are shown: more than any that exists, and a line stays one write."""

_log = log.getChild("verdicts")
_log.setLevel(logging.INFO)  # its own: `log.level` is for everything else


class VerdictLog:
    """The log of all verdicts, or of those that are not `GRANTED`.

    Args:
      everything: log those that are, too.
      clock: seconds.

    Attributes:
      query: makes a query that is logged; called like `Query`.
      clock: seconds.
    """

    def __init__(self, everything: bool, clock: Callable[[], float]) -> None:
        self._everything = everything
        self.clock = clock
        self.query = functools.partial(LoggedQuery, self)

    def settled(self, query: LoggedQuery, verdict: Verdict) -> None:
        """Log the verdict of a query."""
        if verdict is not Verdict.GRANTED or self._everything:
            took = round((self.clock() - query.since) * 1000)
            asked = {"command": command_of(query.body), "ms": took}
            _say(query.body, query.address, verdict=verdict.value, **asked)

    def refused(self, refusal: Refusal, line: bytes, address: str) -> None:
        """Log that a line was refused.

        Args:
          line: may be anything; empty if there is none.
        """
        known = {"command": command_of(line)} if _has_account(line) else {}
        _say(line if known else b"", address, verdict="refused", **known, reason=refusal.value)


class LoggedQuery(Query):
    """A query whose verdict is logged when it is set.

    Attributes:
      since: when it was asked.
    """

    __slots__ = ("_log", "_verdict", "since")

    def __init__(self, log: VerdictLog, body: bytes, deadline: float, asker: Asker, address: str = "") -> None:
        self._log = log
        self.since = log.clock()
        super().__init__(body, deadline, asker, address)

    @property
    def verdict(self) -> Verdict | None:
        return self._verdict

    @verdict.setter
    def verdict(self, verdict: Verdict | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._verdict = verdict
        if verdict is not None:
            with contextlib.suppress(Exception):  # a log that fails must not fail a login
                self._log.settled(self, verdict)


def _say(line: bytes, address: str, **fields: object) -> None:
    if address:
        fields["address"] = address
    text = event("question answered", **fields)
    _log.info("%s", text + _account(line) if line else text)


def _account(line: bytes) -> str:
    user, host = line.split(b":", 3)[1:3]
    name = (user + b"@" + host).decode("utf-8", "backslashreplace")
    return " account=" + quoted(name if len(name) <= _NAME else name[:_NAME] + "...")


def _has_account(line: bytes) -> bool:
    """Whether `line` has a command we know and its fields; otherwise any part of it may be a part of a secret."""
    command, *fields = line.split(b":", 3)
    known = command.decode("ascii", "replace")
    return len(fields) == 3 if known in WITH_SECRET else known in WITHOUT_SECRET and len(fields) == 2
