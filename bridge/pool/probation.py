"""Queries of suspects: some are not asked for a while, others wait apart, and get a few ready programs at a time.

  - A query is accused when it hung a ready program, ended two programs, or was answered twice.  It is convicted if
    others were answered well meanwhile; while nobody is, the fault is the back end's.
  - On probation, an account has one query with a program at a time, and all of them together hold at most a quarter of
    the programs.  They go to a starting program only if no ready one is left, and get less time than others.

No I/O.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

from bridge.loop.timer import FOREVER
from bridge.pool.record import Record, Standing
from bridge.pool.suspects import Suspects
from bridge.protocol.query import Query, StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.pool.pool import Pool
    from bridge.protocol.query import Asker
    from bridge.worker.worker import Worker

_NONE_READY = 1.0
"""Seconds that a query on probation waits for a program that is ready and not stuck, as long as there is none: if
nobody else asks, there never will be."""

_SHARE = 4
"""One program of this many that may run is for all suspects together."""

_DECIDED = 1.0
"""Seconds after an accusation in which somebody else has to be answered."""

_UNUSUAL = 8.0
"""On probation a query has half the time of others, or this many times the usual time: the victim whose name an
attacker uses waits behind it, but that one's own login may take its time, too."""


class Probation:
    """The suspects of one pool, and those of their queries that wait.

    Attributes:
      knows_any: whether there is any suspect.
    """

    def __init__(self, pool: Pool) -> None:
        self.knows_any = False
        self._pool = pool
        self._suspects = Suspects()
        self._waiting: list[tuple[Query, bytes]] = []  # with the digest of the account; by deadline
        self._lent: list[tuple[Query, bytes]] = []  # those with a program, perhaps, and with the same digest
        self._accused: list[tuple[Query, float, int]] = []  # when, and how many the pool had answered
        self._others_turn = False

    @property
    def waiting(self) -> int:
        """Number of queries that wait."""
        return len(self._waiting)

    @property
    def suspects(self) -> int:
        """Number of questions that did harm, not long ago."""
        return len(self._suspects)

    @property
    def undecided(self) -> bool:
        """Whether anybody is accused, or waits."""
        return bool(self._accused or self._waiting)

    def __iter__(self) -> Iterator[Query]:
        """The queries that wait."""
        return iter([query for query, _ in self._waiting])

    def first_deadline(self) -> float:
        """The earliest deadline of those that wait, or infinity."""
        return self._waiting[0][0].deadline if self._waiting else FOREVER

    def let_through(self, queries: Sequence[Query]) -> list[Query]:
        """Keep back, or give up, the queries of suspects; returns the others."""
        others = self._kept_apart(queries)
        try:
            self.serve()
        except Exception as error:  # the next round does it, and whoever asks must not think that nobody has the query
            self._pool.reactor.report(error)
        return others

    def _kept_apart(self, queries: Sequence[Query]) -> list[Query]:
        now, others = self._pool.clock(), list[Query]()
        for query in queries:
            if self._suspects.refuses(query, now):
                self._pool.figures.suspected += 1
                self._pool.give_up(query)
                self._pool.log.not_asked_again(query)
            elif account := self._suspects.watches(query, now):
                insort(self._waiting, (query, account), key=_deadline)
            else:
                others.append(query)
        return others

    def takes_back(self, query: Query) -> bool:
        """Have `query` wait again if it was lent from here, but no program has read it; returns whether it was."""
        for entry in self._lent:
            if entry[0] is query:
                self._lent.remove(entry)
                insort(self._waiting, entry, key=_deadline)
                self._pool.choose_following()
                return True
        return False

    def take_all_of(self, asker: Asker) -> list[Query]:
        """Take out every query of one client that waits."""
        taken = [query for query, _ in self._waiting if query.asker is asker]
        self._waiting = [entry for entry in self._waiting if entry[0].asker is not asker]
        return taken

    # --- guilt -------------------------------------------------------------------------------------------

    def accuse(self, query: Query) -> None:
        """`query` did harm to a program; it is convicted once somebody else is answered, very soon."""
        if (of := _origin(query)) is not None:
            self._accused.append((of, self._pool.clock(), self._pool.figures.answered))
            self._pool.set_timer(self._pool.clock())

    def convict(self, query: Query) -> None:
        """`query` did harm to a program while others were answered well."""
        if (of := _origin(query)) is not None:
            now = self._pool.clock()
            told = self._suspects.refuses(of, now)  # each program that it hung or ended accuses it
            pause = self._suspects.convict(of, now)
            if not told:
                self._pool.log.convicted(of, pause)
            self.knows_any = True

    def convict_again(self, query: Query) -> None:
        """Convict `query` if it was convicted before: on probation it took long, as it may with nobody's fault."""
        of = _origin(query)
        if of is not None and self._suspects.knows(of):
            self.convict(of)

    def judge(self, now: float) -> None:
        """Decide on the accused, and forget old suspects."""
        undecided: list[tuple[Query, float, int]] = []
        for query, when, answered in self._accused:
            if self._pool.figures.answered > answered:
                self.convict(query)
            elif now < when + _DECIDED:
                undecided.append((query, when, answered))
        self._accused = undecided
        if self.knows_any:
            self._suspects.forget(now)
            self.knows_any = bool(self._suspects or self._waiting)

    def is_out_of_patience(self, worker: Worker, held: float) -> bool:
        """Whether a program has had a suspect's query for too long."""
        patience = max(self._pool.settings.answer_timeout / 2, _UNUSUAL * self._pool.service_time.usual)
        return held > patience and self._has_suspect(worker)

    # --- turns -------------------------------------------------------------------------------------------

    def next(self) -> Query | None:
        """Take out one for a ready program that is free, every other time: others wait too."""
        if not self._waiting:
            return None
        self._others_turn = not self._others_turn
        return None if self._others_turn else self._eligible()

    def serve(self) -> None:
        """Give up the queries whose time is over, and give others to idle programs."""
        now, pool = self._pool.clock(), self._pool
        while self._waiting and self._waiting[0][0].deadline <= now:
            pool.time_out(self._waiting.pop(0)[0])
        while self._waiting and pool.idle.any_ready and (query := self._eligible()) is not None:
            pool.again.ahead(query, only_ready=True)
        if self._waits_in_vain(now) and (query := self._eligible()) is not None:
            pool.again.ahead(query)
        pool.choose_following()

    def _waits_in_vain(self, now: float) -> bool:
        """Whether the oldest has waited for long, and an idle program that has not given a reply is all there is."""
        pool = self._pool
        if not (self._waiting and pool.idle) or pool.staff.any_at_hand:
            return False
        return self._waiting[0][0].deadline - now <= pool.settings.answer_timeout - _NONE_READY

    def _eligible(self) -> Query | None:
        """Take out the oldest whose account has no query with a program, if there is one, and a place for it."""
        holders = self._holders()
        self._lent = [(query, account) for query, account in self._lent if query in holders]
        if len(self._lent) >= max(1, self._pool.staff.most // _SHARE):
            return None
        busy = {account for query, account in self._lent if holders[query].standing is not Standing.STUCK}
        for number, (query, account) in enumerate(self._waiting):
            if account not in busy:
                self._lent.append((query, account))
                del self._waiting[number]
                return query
        return None

    def _has_suspect(self, worker: Worker) -> bool:
        return any(query is _origin(worker.query) for query, _ in self._lent)

    def _holders(self) -> dict[Query | None, Record]:
        return {_origin(worker.query): record for worker, record in self._pool.workers.items()}


def _deadline(entry: tuple[Query, bytes]) -> float:
    return entry[0].deadline


def _origin(query: Query | None) -> Query | None:
    """The query that a program has, or had until its time was over."""
    return query.of if isinstance(query, StandIn) else query
