"""Passes each client's line to the pool that answers it, or refuses it; no other module decides that.

What is refused depends on the host: each may have its own program and its own commands.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING

from bridge.config.settings import Settings
from bridge.log.ratelimit import RateLimited
from bridge.log.text import shortened
from bridge.pool.pool import Pool
from bridge.protocol.checks import WITH_SECRET, WITHOUT_SECRET, Checks, host_of
from bridge.protocol.query import REFUSED, Query, Refusal

if TYPE_CHECKING:
    from bridge.pool.verdicts import VerdictLog
    from bridge.protocol.query import Asker


class Route:
    """The pool of a host's lines, and the checks they must pass."""

    def __init__(self, pool: Pool, allow_empty_password: bool) -> None:
        self.pool = pool
        self.checks = pool.program.checks(allow_empty_password)
        self.plain = self.checks.plain


class Router:
    """Connects all clients with all pools.

    Args:
      settings: those in force until `connect`.
      clock: seconds.
      draining: a live collection of the pools that were replaced by a reload and still have queries.

    Attributes:
      settings: those in force; a reload changes them and the routes together.
      clock: seconds; the clock of all deadlines.
      refused: number of lines refused so far, by reason.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float], draining: Collection[Pool] = ()) -> None:
        self.settings = settings
        self.clock = clock
        self.refused: Counter[Refusal] = Counter()
        self._draining = draining
        self._log = RateLimited(5, 60.0, clock)
        self._query: Callable[..., Query] = Query
        self._verdicts: VerdictLog | None = None
        self._default: Route | None = None
        self._only: Route | None = None  # the default, if nothing else is to be thought of
        self._hosts: Mapping[str, Route] = {}

    def connect(self, settings: Settings, default: Pool | None, hosts: Mapping[str, Pool]) -> None:
        """Send lines to these pools from now on, under these settings.

        Args:
          default: for all hosts not listed; without it their lines are refused.
          hosts: pools by domain, in lower case.
        """
        self.settings = settings
        self._log_verdicts(settings.log.verdicts)
        allow_empty = settings.allow_empty_password
        self._default = Route(default, allow_empty) if default is not None else None
        self._hosts = {domain: Route(pool, allow_empty) for domain, pool in hosts.items()}
        self._only = self._default if self._verdicts is None and not hosts else None

    def _log_verdicts(self, which: str) -> None:
        """Log `all` verdicts from now on, those that `failed`, or `none`, which costs a query nothing."""
        self._verdicts, self._query = None, Query
        if which != "none":
            from bridge.pool.verdicts import VerdictLog  # late: it is not needed at the start, and seldom later

            self._verdicts = VerdictLog(which == "all", self.clock)
            self._query = self._verdicts.query

    def ask(self, lines: Sequence[bytes | Refusal], asker: Asker) -> list[Query]:
        """Have `lines` of one client answered within `answer_timeout` from now.

        Returns:
          a query for each line: `REFUSED` for a refused one, of which the asker is not told; one that could not be
          asked is already settled, and its asker was told.
        """
        if not lines:  # `Pool.ask` needs at least one
            return []
        deadline = self.clock() + self.settings.answer_timeout
        route = self._only
        if route is not None and route.plain(lines):  # most of the time
            queries = [Query(line, deadline, asker) for line in lines]
            route.pool.ask(queries)
            return queries
        return self._ask_each(lines, repeat(""), deadline, asker)

    def ask_for(self, lines: Sequence[bytes | Refusal], addresses: Sequence[str], asker: Asker) -> list[Query]:
        """`ask`, at least one line, each for a client at the address in the same place; empty if it is not known."""
        deadline = self.clock() + self.settings.answer_timeout
        route = self._only
        if route is not None and route.plain(lines):  # most of the time
            queries = [*map(Query, lines, repeat(deadline), repeat(asker), addresses)]
            route.pool.ask(queries)
            return queries
        return self._ask_each(lines, addresses, deadline, asker)

    def _ask_each(
        self, lines: Sequence[bytes | Refusal], addresses: Iterable[str], deadline: float, asker: Asker
    ) -> list[Query]:
        """Ask line by line, as some may have to be refused or go to another pool."""
        queries: list[Query] = []
        new = self._query
        let_through: defaultdict[Pool, list[Query]] = defaultdict(list)
        flood: Counter[Refusal] = Counter()  # refused; nothing else is to be said of them
        for line, address in zip(lines, addresses, strict=False):
            if not isinstance(line, bytes):
                queries.append(self.refuse(line, address=address))
                continue
            route = self._route(line) if self._hosts else self._default
            if route is None:
                queries.append(self.refuse(Refusal.HOST, line, address))
            elif refusal := route.checks(line):
                if self._verdicts is None:
                    flood[refusal] += 1
                    queries.append(REFUSED)
                else:
                    queries.append(self.refuse(refusal, line, address))
            else:
                query = new(line, deadline, asker, address)
                queries.append(query)
                let_through[route.pool].append(query)
        for pool, its_queries in let_through.items():
            pool.ask(its_queries)
        for refusal, lines_refused in flood.items():
            self._note_refused(refusal, lines_refused)
        return queries

    def withdraw(self, asker: Asker, queries: Iterable[Query]) -> None:
        """End those of the `queries` of `asker` that no program has yet.

        Their pools are found here, from their hosts: there may be thousands of pools, and keeping track would cost
        every query something.
        """
        routes = {self._route(query.body) for query in queries if not query.settled}
        for pool in {*self._draining, *(route.pool for route in routes if route is not None)}:
            pool.withdraw(asker)

    def refuse(self, refusal: Refusal, line: bytes = b"", address: str = "") -> Query:
        """Count and log a refusal, never the line itself: of a well-formed one whose host is not served, the host."""
        host = {"host": _host_shown(line)} if refusal is Refusal.HOST and not _anything()(line) else {}
        self._note_refused(refusal, 1, **host)
        if self._verdicts is not None:
            self._verdicts.refused(refusal, line, address)
        return REFUSED

    def _note_refused(self, refusal: Refusal, lines: int, **host: str) -> None:
        """Count and log refused lines, all at once: a client may send thousands, and others wait meanwhile."""
        for number in range(lines):
            self.refused[refusal] += 1
            if not self._log.log(logging.WARNING, refusal, "line refused", reason=refusal.value, **host):
                held_back = lines - number - 1
                self.refused[refusal] += held_back
                self._log.suppress(refusal, held_back)
                return

    def warn(self, message: str, **fields: object) -> None:
        """Log an event about a client, rate-limited."""
        self._log.log(logging.WARNING, message, message, **fields)

    def _route(self, line: bytes) -> Route | None:
        host = host_of(line).decode(errors="replace")
        return self._hosts.get(host) or self._hosts.get(host.lower()) or self._default


@functools.cache
def _anything() -> Checks:
    """The checks that any well-formed line passes; others may be a part of a secret."""
    return Checks(WITH_SECRET | WITHOUT_SECRET, allow_empty_password=True)


def _host_shown(line: bytes) -> str:
    return shortened(host_of(line).decode(errors="replace"))
