"""Lends idle programs to queries, in the order of `fairqueue`, and never one program to two of them.

  - A freed program gets the next waiting query in the same step in which its reply is read.
  - Ready programs are asked first; a starting one is asked only if no ready one is idle, and only what changes nothing.
    Programs that have served enough (`max_requests`, `max_age`) are asked last, until they are replaced.
  - A query whose program died is asked once more, of another one, if it changes nothing and time is left, but not ahead
    of others: it may have been the cause.  A query that no program read was never asked, so it goes ahead, whether it
    changes anything or not.
  - A query still open at its deadline ends `UNAVAILABLE`, and what its program says to it is dropped; `rounds` decides
    what becomes of the program.  A query that no program could answer in the time left is not handed over.
  - If no program can be asked and none is due before a query's deadline, or if the last start failed for a permanent
    reason, the query ends at once: a waiting client is blocked.

No trio here: programs can be started before trio is imported.  The pool's `staff` starts them, its timer makes its
`rounds`, and the supervisor replaces and stops programs.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bridge.config.settings import ProgramSettings, Settings
from bridge.log.events import ending
from bridge.loop.reactor import Reactor
from bridge.loop.timer import FOREVER
from bridge.pool.again import Again
from bridge.pool.fairqueue import FairQueue
from bridge.pool.figures import Figures
from bridge.pool.idle import Idle
from bridge.pool.milestones import Milestones
from bridge.pool.overload import Overload
from bridge.pool.poollog import PoolLog
from bridge.pool.probation import Probation
from bridge.pool.record import Record, Standing
from bridge.pool.reserve import Reserve
from bridge.pool.rounds import ROUND, Rounds
from bridge.pool.staff import Staff
from bridge.pool.starts import Starts
from bridge.protocol.query import Query, Verdict
from bridge.worker.state import State
from bridge.worker.stderrlines import Lines
from bridge.worker.worker import Worker

_GRANTED, _UNAVAILABLE = Verdict.GRANTED, Verdict.UNAVAILABLE
_ASKABLE, _WORN = State.ASKABLE, Standing.WORN
_NONE: deque[Query] = deque()

if TYPE_CHECKING:
    from bridge.protocol.query import Asker


class Pool:
    """The programs of one kind, and the queries that wait for them.

    Args:
      starts: told when a start is due.
      attention: called when the supervisor is needed: the pool's first program was started, or one has served enough.
      launch: starts a program.

    Attributes:
      name: for the log: the host it serves, or "default".
      staff: its programs, and when others are started.
      workers: every program whose process is not yet gone, with its record.
      waiting: queries that no program has.
      idle: programs that have no query.
      reserve: the pool it falls back on after a reload.
      again: for queries that have been asked.
      in_force: it is asked, and not one that is being proven, or was replaced.
      last_failure: why a program failed or could not be started, the last time; one line without secrets.
    """

    def __init__(
        self,
        name: str,
        program: ProgramSettings,
        settings: Settings,
        reactor: Reactor,
        starts: Starts,
        attention: Callable[[Pool], None],
        launch: Callable[[Pool], Worker] | None = None,
    ) -> None:
        self.name = name
        self.program = program
        self.settings = settings
        self.reactor = reactor
        self.clock = reactor.clock
        self.figures = Figures()
        self._granted, self._denied = self.figures.granted_by, self.figures.denied_by
        self.staff = Staff(self, starts, attention, launch)
        self.workers = self.staff.workers
        self.idle = Idle(self.others_answer)
        self.waiting = FairQueue()
        self._hurried = self.waiting.hurried
        self.last_failure = ""
        self.in_force = True
        self.reserve = Reserve(self)
        self.again = Again(self)
        self.log = PoolLog(name, program.argv, self.figures, self.clock)
        self._attention = attention
        self._milestones = Milestones(self.figures, self.clock, self._proved)
        self.service_time = self._milestones.service_time
        self.overload = Overload(self)
        self.probation = Probation(self)
        self._short: deque[Query] = self.waiting.short  # the first in it is the next query for a ready program,
        self._following: Callable[[], Query | None] = self.waiting.next  # or, if it is empty, what this returns
        self._held_back: frozenset[str] = frozenset()
        self._timer = reactor.call_at(FOREVER, Rounds(self).make)
        self._ahead = max(0.0, settings.answer_timeout - ROUND)  # from the next round to a new query's deadline

    # --- queries -----------------------------------------------------------------------------------------

    def ask(self, queries: Sequence[Query]) -> None:
        """Have `queries` answered: at least one, all of one client and with one deadline.

        The asker is told of each, perhaps before this returns.
        """
        soon = queries[0].deadline - self._ahead
        if soon < self._timer.when:
            self._timer.set(soon)
        if self.probation.knows_any and not (queries := self.probation.let_through(queries)):
            return
        take, lent = self.idle.take, 0
        for query in queries:  # no idle program may get what waits; `lend` inlined, as it is a call for each line
            if (worker := take(query)) is None or not (worker.give(query) or self._lent_otherwise(worker, query)):
                break
            lent += 1
        else:
            return
        queries = queries[lent:]
        if self.overload.looms(len(queries), self.settings.answer_timeout):
            self.overload.add(queries)
        else:
            self.waiting.add(queries)
        if not self.staff.ready:
            self.staff.missed()
            self.give_up_hopeless()

    def set_timer(self, when: float) -> None:
        """Make a round at `when` at the latest."""
        self._timer.set(when)

    def mind(self, query: Query) -> None:
        """Make a round in time for the deadline of `query`."""
        self._timer.set(query.deadline - self._ahead)

    def earliest_deadline(self) -> float:
        """The earliest one of an open query, or infinity."""
        if not (self.workers or self.waiting or self.probation.waiting):
            return FOREVER
        open_ones = (worker.query for worker in self.workers if worker.query is not None)
        deadlines = [query.deadline for query in open_ones if query.verdict is None]
        waiting = self.waiting.first_deadline(), self.waiting.hurried.first_deadline(), self.probation.first_deadline()
        return min([*deadlines, *waiting])

    def withdraw(self, asker: Asker) -> None:
        """End the queries of `asker` that no program has yet."""
        for query in [*self.waiting.take_all_of(asker), *self.probation.take_all_of(asker)]:
            self.give_up(query)

    def may_be_asked(self, query: Query) -> bool:
        """Whether its programs may be asked `query`, which passed the checks for another pool's."""
        return self.program.checks(allow_empty_password=True)(query.body) is None

    def others_answer(self) -> bool:
        """Whether there are programs that have given a reply, so that others need not be asked everything."""
        return self.staff.ready > 0 or bool(self.reserve)

    def hand_over(self, other: Pool) -> None:
        """Have `other` answer the queries that no program has yet."""
        for query in self.waiting.take_out(lambda _query: True):
            try:
                if other.may_be_asked(query):
                    other.ask([query])
                else:  # that passed the checks for this pool's program
                    self.give_up(query)
            except Exception:
                self.give_up(query)
                raise

    @property
    def in_flight(self) -> int:
        """Number of queries that wait or are with a program."""
        if not (self.workers or self.waiting or self.probation.waiting):
            return 0
        asked = sum(worker.query is not None and worker.query.verdict is None for worker in self.workers)
        return len(self.waiting) + self.probation.waiting + asked

    def lend(self, query: Query, only_ready: bool = False) -> bool:
        """Give `query` to an idle program; false if there is none for it."""
        worker = self.idle.take_ready() if only_ready else self.idle.take(query)
        return worker is not None and (worker.give(query) or self._lent_otherwise(worker, query, only_ready))

    def _lent_otherwise(self, worker: Worker, query: Query, only_ready: bool = False) -> bool:
        """`lend`, after an idle program was not given `query`: it has failed, or the query is too long."""
        while worker.state is not _ASKABLE:
            another = self.idle.take_ready() if only_ready else self.idle.take(query)
            if another is None:
                return False
            if another.give(query):
                return True
            worker = another
        self.shelve(worker)
        self._give_up_too_long(query)
        return True

    def use_idle(self) -> None:
        """Give what waits to idle programs: a change waits for one that has replied, but only while there is one."""
        for worker in reversed([*self.idle]):
            if not self.waiting:
                break
            self.idle.discard(worker)
            try:
                self.give_next(worker)
            except Exception as error:
                worker.failed(error)

    def give_next(self, worker: Worker) -> None:
        """Give a free program the next query, or make it idle."""
        following = self._next_for(worker)
        if following is None:
            self.shelve(worker)
        elif following.deadline <= self.clock() or not worker.give(following):
            self._not_handed_over(worker, following)

    def _not_handed_over(self, worker: Worker, query: Query) -> None:
        """A free program was not given `query`: its time is over, the program has failed, or the query is too long."""
        while worker.state is _ASKABLE:
            if query.deadline <= self.clock():  # we were stopped, and our timer with us
                self.time_out(query)
            else:
                self._give_up_too_long(query)
            following = self._next_for(worker)
            if following is None:
                self.shelve(worker)
                return
            if following.deadline > self.clock() and worker.give(following):
                return
            query = following
        self.again.ahead(query)

    def _next_for(self, worker: Worker) -> Query | None:
        """The next query for a free program."""
        if worker.served:
            return self._following()
        if not self.others_answer():
            return self.waiting.next(proven=False) or self.waiting.next()
        while (following := self.waiting.next(proven=False)) is not None and following.attempts:
            self.again.ahead(following)  # a ready one is to ask it: from one that starts it might move to a third
        return following

    def hold_back(self, addresses: frozenset[str]) -> None:
        """Have queries for clients at these addresses asked only while no others wait."""
        self._held_back = addresses
        self.choose_following()

    @property
    def holds_back(self) -> bool:
        """Whether queries for some addresses are asked only while no others wait."""
        return bool(self._held_back)

    def choose_following(self) -> None:
        """Have ready programs ask those on probation too, or no longer; most of the time there are no exceptions."""
        exceptions = self.probation.waiting > 0 or bool(self._held_back)
        self._following = self._next_in_turn if exceptions else self.waiting.next
        self._short = _NONE if exceptions else self.waiting.short

    def _next_in_turn(self) -> Query | None:
        return self.probation.next() or self.waiting.next(True, self._held_back) or self.waiting.next()

    def _give_up_too_long(self, query: Query) -> None:
        self.give_up(query)
        self.log.too_long(len(query.body))

    def end_hurried(self, now: float) -> None:
        """End the queries whose time is over although others, who share their question, have some left."""
        for query in self._hurried.take_late(now):
            self.time_out(query)

    def time_out(self, query: Query) -> None:
        """End a query whose time is over."""
        self.give_up(query)
        self.figures.timeouts += 1

    def give_up(self, query: Query) -> None:
        """End a query that cannot be answered."""
        query.settle(_UNAVAILABLE)  # first: counting needs memory
        self.figures.unavailable_by[query.body[0]] += 1

    def give_up_hopeless(self) -> None:
        """If no program is ready, end the queries whose deadline comes before one can be."""
        if not self.waiting or self.others_answer():
            return
        hope = self.staff.hope(self.clock())
        for query in self.waiting.take_out(lambda query: query.deadline < hope):
            self.give_up(query)

    def hasten(self, answer_timeout: float) -> None:
        """Let no query take longer than `answer_timeout` from now: a shorter limit applies to open queries too."""
        deadline = self.clock() + answer_timeout
        self._ahead = max(0.0, answer_timeout - ROUND)
        self.service_time.limit(answer_timeout)
        with_programs = (worker.query for worker in self.workers if worker.query is not None)
        sharing = (query for sharers in self.waiting.hurried for query in sharers.queries)
        for query in [*self.waiting, *self.probation, *with_programs, *sharing]:
            query.deadline = min(query.deadline, deadline)
        self._timer.set(self.clock())

    # --- what workers report -----------------------------------------------------------------------------

    def retired(self, worker: Worker) -> None:
        """Forget a program that may not be asked any more."""
        self.staff.retired(worker)
        self.idle.discard(worker)

    def replied(self, worker: Worker, query: Query, verdict: Verdict) -> None:
        """Tell the asker of a valid reply, and give the program its next query."""
        clock = self.clock  # a name first: calling an attribute that holds a function takes three times as long
        now = clock()
        if self._hurried:
            self.end_hurried(now)
        if query.deadline <= now:
            self._late(query)
        else:
            counts = self._granted if verdict is _GRANTED else self._denied
            counts[query.body[0]] += 1
            query.verdict = verdict  # `settle` inlined: saves a call per line
            try:
                query.asker.settled(query)
            except Exception as error:
                query.asker.failed(error)
        if worker.served >= worker.milestone and not self._passed_milestone(worker, query, now):
            return
        short = self._short
        following = short.popleft() if short else self._following()
        if following is None:
            record = self.workers[worker]  # `shelve` inlined
            record.timed_from = None
            self.idle.put(worker, record.standing is _WORN)
        elif following.deadline <= now or not worker.hand_over(following):
            self._not_handed_over(worker, following)

    def _late(self, query: Query) -> None:
        """A good reply is nobody's: its query has ended, or ends now because we were stopped, and our timer with us."""
        if query.verdict is None:
            self.time_out(query)
        else:
            self.figures.late += query.asks

    def replies_in_pieces(self) -> None:
        """The first part of a reply came alone, or may have."""
        self._milestones.in_pieces = True
        for worker in self.workers:
            worker.careful = True

    def failing(self, worker: Worker, reason: str) -> None:
        """Take a failed program out of service, and plan the start of another one."""
        record = self.workers[worker]
        record.reason = self.last_failure = reason
        self.figures.failed(worker.fault.value, self.clock())
        if worker.blamed is not None:
            self.probation.accuse(worker.blamed)
        unasked_for_long = worker.query is None and self.clock() >= record.born + self.settings.start_timeout
        if not (worker.served or unasked_for_long):
            query = worker.query if worker.was_read() else None
            body = query.body if query is not None and query.asks else None
            self.staff.failed_starting(record, body, self.figures.answered)
        self._plan_start()

    def ended(self, worker: Worker, query: Query | None, was_read: bool) -> None:
        """A program is gone: log it, and ask its query again or give it up."""
        record = self.workers.pop(worker)
        try:
            self.staff.forget(record)
            self.log.program_ended(worker, record.reason, query)
            if record.reason and worker.status != -signal.SIGKILL:
                how = f"with status {worker.status}" if worker.status >= 0 else ending(worker.status)
                self.last_failure = f"{record.reason}, {how}"
            self._plan_start()  # its place is free now
        finally:
            if query is not None and query.verdict is None:
                self.again.once_more(query, was_read, proved=worker.served > 0)

    def _plan_start(self) -> None:
        self.staff.plan()
        self.give_up_hopeless()

    def complained(self, worker: Worker, lines: Lines) -> None:
        """Log what a program wrote on stderr, within limits."""
        told_to_exit = worker.state is not _ASKABLE and not self.workers[worker].reason
        self.log.program_wrote(worker, lines, told_to_exit)

    def may_not_kill(self, worker: Worker) -> None:
        """Log that a program goes on although it was to be killed."""
        self.workers[worker].unkillable = True
        self.log.may_not_kill(worker)

    # --- programs ----------------------------------------------------------------------------------------

    def shelve(self, worker: Worker) -> None:
        """Make a free program idle."""
        record = self.workers[worker]
        record.timed_from = None  # it will wait for its next query
        self.idle.put(worker, record.standing is _WORN)

    def is_down(self, cause: str) -> None:
        """No program can answer, and that will not change at once."""
        if self.in_force:
            self.log.down(self.program.pool_size, cause)

    def why_down(self) -> str:
        """Why no program can answer, as far as that is known; empty if one can, or may soon."""
        if self.staff.is_failing(self.clock()):
            return self.last_failure or "its programs fail"
        return "its programs do not answer" if self.staff.ready and self.log.is_down else ""

    # --- inside ------------------------------------------------------------------------------------------

    def _proved(self, worker: Worker, record: Record) -> None:
        """A program has given its first good reply."""
        self.staff.proved(worker, record, worker.state is _ASKABLE)
        self.log.back()

    def _passed_milestone(self, worker: Worker, query: Query, now: float) -> bool:
        """Check a program that has reached its milestone with its reply to `query`; returns whether it goes on."""
        record = self.workers[worker]
        if record.standing is Standing.LEAVING:
            if worker.served == 1:
                self._proved(worker, record)
            worker.close_stdin()
            return False
        if self._milestones.passed(worker, record, query, now, self.settings, busy=bool(self.waiting)):
            self._attention(self)
        return True
