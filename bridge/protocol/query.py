"""A query, its verdict, the refusal of a line, and the interfaces of those who ask and answer.

No I/O, no clock, no trio.  A question is called a query once its line has passed the checks.
"""

from __future__ import annotations

import enum

TYPE_CHECKING = False  # importing typing for it would double a relay's start-up time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Protocol

    class Asker(Protocol):
        """Waits for a query's verdict: a session."""

        def settled(self, query: Query) -> None:
            """Called exactly once for each query asked; `query.verdict` is final."""
            ...

        def failed(self, error: Exception) -> None:
            """`settled` has raised: the asker ends itself, without raising."""
            ...

    class Limits(Protocol):
        """The settings a session needs; see bridge.config.options for units."""

        @property
        def max_line(self) -> int: ...

        @property
        def window(self) -> int: ...

        @property
        def answer_timeout(self) -> float: ...

    class Answerer(Protocol):
        """Answers a session's lines: the router, or a relay's connection to the daemon."""

        @property
        def settings(self) -> Limits: ...

        @property
        def clock(self) -> Callable[[], float]:
            """Seconds; the clock of all deadlines."""
            ...

        def ask(self, lines: Sequence[bytes | Refusal], asker: Asker) -> list[Query]:
            """Have `lines` answered; returns a query for each, `REFUSED` for a refused one."""
            ...

        def refuse(self, refusal: Refusal) -> Query:
            """Count and log the refusal of a line."""
            ...

        def withdraw(self, asker: Asker, queries: Iterable[Query]) -> None:
            """End those queries of `asker` that no program has yet; all its open ones are among `queries`."""
            ...

        @property
        def warn(self) -> Callable[..., None]:
            """Log an event, rate-limited: constant text, and fields without secrets."""
            ...


class Verdict(enum.Enum):
    """How a query ended.  Never a bool: `UNAVAILABLE` is not the program's "no", though the client reads `0`."""

    GRANTED = "granted"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"  # no program could be asked, or none gave a valid reply in time


class Refusal(enum.Enum):
    """Why a line was answered `0` without asking a program.  The client's side is to blame."""

    COMMAND = "command not allowed"
    FIELDS = "wrong number of fields"
    EMPTY = "empty user, host or secret"
    CONTROL = "control character"
    ENCODING = "not valid UTF-8"
    LENGTH = "longer than max_line"
    HIDDEN = "a question hidden in the secret: possible injection"
    HOST = "host not served"
    INJECTION = "more than one line in a burst: possible injection"


_MAX_ATTEMPTS = 2
"""Programs that may have read one query: the first and, if the query changes nothing, one more."""

_MAX_DEATHS = 4
"""Programs that may end with one query, as far as it may be to blame for that."""


class Query:
    """One question on its way: through the queue, to a program, back to its asker.

    Attributes:
      body: `command:user:host[:secret]`, byte for byte as received.  Holds the secret: never log it.
      deadline: seconds on the pool's clock; from then on the verdict is `UNAVAILABLE`.  Infinity if there is nothing to
        wait for.
      address: of the client it is asked for, if known, as text; otherwise empty.
      asker: told the verdict, once, by `settle`.
      verdict: how it ended; `None` while it is open.
      deaths: programs that ended while they had it, without those that had just left as they do after each reply.
      attempts: those of them that may have read it.
    """

    asks = True
    """Whether somebody asked it: not so for a probe."""

    __slots__ = ("address", "asker", "attempts", "body", "deadline", "deaths", "verdict")

    def __init__(self, body: bytes, deadline: float, asker: Asker, address: str = "") -> None:
        self.body = body
        self.deadline = deadline
        self.address = address
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
        """Whether it changes nothing, so that it may be asked once more if a program dies with it."""
        return self.body.startswith((b"auth:", b"isuser:"))

    def survives(self, was_read: bool, proved: bool) -> bool:
        """Count a program that ended with it; returns whether it may be given to another one.

        Args:
          was_read: the program may have read it.
          proved: the program had answered another query before.  If it leaves with this one unread, as programs do that
            serve just once, the query is not to blame, however often that happens to it.
        """
        self.deaths += was_read or not proved
        self.attempts += was_read
        may_repeat = not was_read or (self.repeatable and self.attempts < _MAX_ATTEMPTS)
        return may_repeat and self.deaths < _MAX_DEATHS

    def settle(self, verdict: Verdict) -> None:
        """Tell the asker, whose errors do not reach the caller; only the first verdict counts."""
        if self.verdict is None:
            self.verdict = verdict
            try:
                self.asker.settled(self)
            except Exception as error:
                self.asker.failed(error)

    def __repr__(self) -> str:
        return f"<Query of {len(self.body)} bytes, {'settled' if self.settled else 'open'}>"


class StandIn(Query):
    """Takes the place of a query that has ended while its program still has it: the reply will be nobody's.

    A probe is one from the start.

    Args:
      of: the query that has ended, or `None` for a probe.
    """

    __slots__ = ("of",)

    def __init__(self, body: bytes, of: Query | None = None) -> None:
        super().__init__(body, float("-inf"), _NOBODY, of.address if of is not None else "")
        self.of = of
        self.verdict = Verdict.UNAVAILABLE

    @property
    def asks(self) -> bool:  # type: ignore[override]
        return self.of is not None


class _Nobody:
    def settled(self, query: Query) -> None:
        """Nothing to do: nobody asked."""

    def failed(self, error: Exception) -> None:
        """Nothing to do: `settled` does not raise."""


_NOBODY = _Nobody()

REFUSED = Query(b"", deadline=float("inf"), asker=_NOBODY)
"""Takes the place of every refused line in the order of answers."""
REFUSED.settle(Verdict.DENIED)

UNASKED = Query(b"", deadline=float("inf"), asker=_NOBODY)
"""Takes the place of every line that was read too late to be asked."""
UNASKED.settle(Verdict.UNAVAILABLE)

AGREED = Query(b"", deadline=float("inf"), asker=_NOBODY)
"""Takes the place of a client's HELLO that was accepted."""
AGREED.settle(Verdict.GRANTED)


def nothing() -> None:
    """A callback that does nothing."""


def raised(error: Exception) -> None:
    """Raise `error`: the report callback where nothing handles errors."""
    raise error
