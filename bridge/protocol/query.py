"""The nouns of a question's life: what it asks, how it was refused, how it was answered.

No I/O, no clock, no trio.  A question is called a query from the moment its line passed the checks.
"""

from __future__ import annotations

import enum

TYPE_CHECKING = False  # importing typing for it would double what a relay takes to start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Protocol

    class Asker(Protocol):
        """Who waits for a query's verdict."""

        def settled(self, query: Query) -> None:
            """Called exactly once for each query asked; `query.verdict` is final."""
            ...

        def failed(self, error: Exception) -> None:
            """`settled` has raised: the asker's own affair, which it ends without raising."""
            ...

    class Limits(Protocol):
        """What a session must know of the settings; see bridge.config.options for units."""

        @property
        def max_line(self) -> int: ...

        @property
        def window(self) -> int: ...

        @property
        def answer_timeout(self) -> float: ...

    class Answerer(Protocol):
        """Whom a session asks: the router, or a relay's way to the daemon."""

        @property
        def settings(self) -> Limits: ...

        @property
        def clock(self) -> Callable[[], float]:
            """Seconds; deadlines are on it."""
            ...

        def ask(self, lines: Sequence[bytes | Refusal], asker: Asker) -> list[Query]:
            """Have `lines` answered: a query for each, `REFUSED` for those that are not asked."""
            ...

        def refuse(self, refusal: Refusal) -> Query:
            """Count and log a line that is not asked."""
            ...

        def withdraw(self, asker: Asker, queries: Iterable[Query]) -> None:
            """Nobody listens to `asker` any more, whose open queries are among these."""
            ...

        @property
        def warn(self) -> Callable[..., None]:
            """Log an event, not too often: constant text, and fields without secrets."""
            ...


class Verdict(enum.Enum):
    """How a query ended.  Never a bool: `UNAVAILABLE` is not the program's "no", though the client reads `0`."""

    GRANTED = "granted"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"  # no program could be asked, or none answered well and in time


class Refusal(enum.Enum):
    """Why a line was answered `0` without asking a program.  The client's side is to blame."""

    COMMAND = "command not allowed"
    FIELDS = "wrong number of fields"
    EMPTY = "empty user, host or secret"
    CONTROL = "control character"
    ENCODING = "not valid UTF-8"
    LENGTH = "longer than max_line"
    HOST = "host not served"
    INJECTION = "more than one line in a burst: possible injection"


_MAX_ATTEMPTS = 2
"""Programs that may have read one query: the first and, for one that changes nothing, one more."""

_MAX_DEATHS = 4
"""Programs that end with one query, read or not: enough where programs exit after each reply."""


class Query:
    """One question on its way: through the queue, to a program, back to its asker.

    Attributes:
      body: `command:user:host[:secret]`, byte for byte as it came.  Holds the secret: never log it.
      deadline: seconds on the pool's clock; from then on the verdict is `UNAVAILABLE`.  Infinity where there is nothing
        to wait for.
      asker: told the verdict, once, by `settle`.
      verdict: how it ended; `None` as long as it is open.
      deaths: programs that ended with it.
      attempts: those of them that may have read it.
    """

    __slots__ = ("asker", "attempts", "body", "deadline", "deaths", "verdict")

    def __init__(self, body: bytes, deadline: float, asker: Asker) -> None:
        self.body = body
        self.deadline = deadline
        self.asker = asker
        self.verdict: Verdict | None = None
        self.deaths = 0
        self.attempts = 0

    @property
    def settled(self) -> bool:
        """Whether there is a verdict."""
        return self.verdict is not None

    @property
    def repeatable(self) -> bool:
        """It changes nothing, so it may be asked once more when a program dies with it."""
        return self.body.startswith((b"auth:", b"isuser:"))

    def survives(self, was_read: bool) -> bool:
        """A program ended with it, and may have read it: whether it may be given to another one."""
        self.deaths += 1
        self.attempts += was_read
        may_repeat = not was_read or (self.repeatable and self.attempts < _MAX_ATTEMPTS)
        return may_repeat and self.deaths < _MAX_DEATHS

    def settle(self, verdict: Verdict) -> None:
        """Tell the asker, whose errors are no concern of who tells it; only the first verdict counts."""
        if self.verdict is None:
            self.verdict = verdict
            try:
                self.asker.settled(self)
            except Exception as error:
                self.asker.failed(error)

    def __repr__(self) -> str:
        return f"<Query of {len(self.body)} bytes, {'settled' if self.settled else 'open'}>"


class _Nobody:
    def settled(self, query: Query) -> None:
        """Nobody asked."""

    def failed(self, error: Exception) -> None:
        """Nobody can fail."""


REFUSED = Query(b"", deadline=float("inf"), asker=_Nobody())
"""Stands in the order of answers for every line that was refused."""
REFUSED.settle(Verdict.DENIED)

UNASKED = Query(b"", deadline=float("inf"), asker=_Nobody())
"""Stands there for every line that was read too late to be asked."""
UNASKED.settle(Verdict.UNAVAILABLE)

AGREED = Query(b"", deadline=float("inf"), asker=_Nobody())
"""Stands there for a client's wish that is met."""
AGREED.settle(Verdict.GRANTED)


def nothing() -> None:
    """What is called where nobody listens."""


def raised(error: Exception) -> None:
    """Told of an error where nobody listens: it goes on its way."""
    raise error
