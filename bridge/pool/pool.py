"""Lends idle programs to queries, first come first served, and never one program to two of them.

  - A freed program gets the next waiting query in the step in which its reply is read.
  - Programs that have served enough (`max_requests`, `max_age`) are asked last, until they are replaced.
  - A query whose program died is asked once more on another one if it changes nothing and time is left;
    one that nobody read was never asked, so it goes to the next program whatever it is.
  - Whatever is still open at its deadline ends `UNAVAILABLE`, and the program that has it is killed: its
    late reply must never be taken for the next query's.  A query that has waited so long that no program
    could answer it in the time left is not given to one: the delay is ours, and killing programs for it would
    stop an overloaded pool altogether.
  - While no program can be asked and none is due before a query's deadline, or the last start failed for a
    reason that lasts, a query ends at once: the client stands still while it waits.

No trio here: programs can be started before trio is even imported.  `starts` has `start_due` called whenever a slot is
vacant, a timer of its own `expire`; the supervisor renews and stops programs.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bridge.config.settings import ProgramSettings, Settings
from bridge.log.events import describe, event, log
from bridge.log.ratelimit import RateLimited
from bridge.loop.reactor import Reactor
from bridge.loop.timer import FOREVER
from bridge.pool.backoff import LONGEST_DELAY
from bridge.pool.fairqueue import FairQueue
from bridge.pool.servicetime import ServiceTime
from bridge.pool.slot import Figures, Slot
from bridge.pool.starts import Starts
from bridge.protocol.query import Query, Verdict, nothing
from bridge.worker.spawn import start
from bridge.worker.stderrlines import Lines
from bridge.worker.worker import Worker

_MAX_ATTEMPTS = 2
"""Programs that may have read one query: the first and, for one that changes nothing, one more."""

_MAX_DEATHS = 4
"""Programs that end with one query, read or not: enough where programs exit after each reply."""

_WHOLE = 10_000
"""Replies of a pool's programs, none of which came in pieces, after which they are believed to write them whole.  To be
careful costs some of the rate under full load, and nothing otherwise."""

_PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY}
"""Why a start may fail now and succeed in a moment."""

_GRANTED, _UNAVAILABLE = Verdict.GRANTED, Verdict.UNAVAILABLE


if TYPE_CHECKING:
    from bridge.protocol.query import Asker


class Pool:
    """The programs of one kind, and the queries that wait for them.

    Attributes:
      name: for the log: the host it serves, or "default".
      slots: one for each program of `pool_size`.
      workers: every program whose process is not yet gone, with its slot.
      worn: called when a program has served enough.
      peopled: called when a program was started and there was none before.
    """

    def __init__(
        self,
        name: str,
        program: ProgramSettings,
        settings: Settings,
        reactor: Reactor,
        starts: Starts,
        launch: Callable[[Pool], Worker] | None = None,
    ) -> None:
        self.name = name
        self.program = program
        self.settings = settings
        self.reactor = reactor
        self.clock = reactor.clock
        self._timer = reactor.call_at(FOREVER, self.expire)
        self._starts = starts
        self.slots = [Slot() for _ in range(program.pool_size)]
        self.workers: dict[Worker, Slot] = {}
        self.figures = Figures()
        self.worn: Callable[[], None] = nothing
        self.peopled: Callable[[], None] = nothing
        self._launch = launch or _launch
        self._idle: list[Worker] = []  # the last one is asked next; see _shelve
        self._waiting = FairQueue()
        self._service_time = ServiceTime()
        self._closed = False
        self._in_pieces = False  # a part of a reply came alone
        self._usable = 0  # programs that may be asked, now or after the query they have
        self._missed_at = -FOREVER  # when there was none for a query
        self._down_since = FOREVER
        self._unavailable_before = 0
        self._failures = RateLimited(5, 60.0, self.clock)
        self._stderr = RateLimited(40, 20.0, self.clock)

    # --- queries -----------------------------------------------------------------------------------------

    def ask(self, queries: Sequence[Query]) -> None:
        """Have `queries` answered: of one client, with one deadline, at least one.

        Their asker hears of each, perhaps before this returns.
        """
        due = queries[0].deadline - self._service_time.reserve
        if due < self._timer.when:
            self._timer.set(due)
        while self._lend(queries[0]):  # an idle program means that nobody waits
            if not (queries := queries[1:]):
                return
        self._waiting.add(queries)
        if not self._usable:
            self._missed_at = self.clock()
            self._starts.hasten(self)
            self._give_up_hopeless()

    def expire(self) -> None:
        """End what has had its time, and read every stderr again whose pause is over."""
        now = self.clock()
        for worker in [*self.workers]:
            if worker.resumes_at <= now:
                worker.resume()
            query = worker.query
            if query is not None and query.deadline <= now:
                worker.release()
                self._time_out(query)
                worker.kill("it gave no reply in time")
        in_vain = now + self._service_time.reserve
        for query in self._waiting.take_out(lambda query: query.deadline <= in_vain):
            self._time_out(query)
        self._timer.set(self.earliest_deadline())

    def earliest_deadline(self) -> float:
        """When `expire` has something to do next, or infinity."""
        if not self.workers and not self._waiting:
            return FOREVER
        deadlines = [worker.query.deadline for worker in self.workers if worker.query is not None]
        deadlines += [worker.resumes_at for worker in self.workers]
        return min([*deadlines, self._waiting.first_deadline() - self._service_time.reserve])

    @property
    def usable(self) -> int:
        """Programs that may be asked, now or after the query they have."""
        return self._usable

    def withdraw(self, asker: Asker) -> None:
        """End the queries of `asker` that no program has yet."""
        for query in self._waiting.take_all_of(asker):
            self._give_up(query)

    @property
    def in_flight(self) -> int:
        """Queries waiting or with a program."""
        if not self.workers and not self._waiting:
            return 0
        return len(self._waiting) + sum(worker.query is not None for worker in self.workers)

    def _lend(self, query: Query) -> bool:
        """Give `query` to an idle program, if there is one that is fit."""
        while self._idle:
            worker = self._idle.pop()
            if worker.give(query):
                return True
            if worker.usable:
                self._give_up_too_long(query)
                self._shelve(worker)
                return True
        return False

    def _ask_again(self, query: Query) -> None:
        """Before all others: it has waited longest.  Nobody else knows of it now: it must not be lost."""
        try:
            if not self._lend(query):
                self._waiting.add_again(query)
                self._timer.set(query.deadline - self._service_time.reserve)
                self._give_up_hopeless()
        except Exception:
            self._give_up(query)
            raise

    def _not_handed_over(self, worker: Worker, query: Query) -> None:
        """A free program did not take `query`, which is its own fault or the query's."""
        while worker.usable:
            self._give_up_too_long(query)
            following = self._waiting.next()
            if following is None:
                self._shelve(worker)
                return
            if worker.give(following):
                return
            query = following
        self._ask_again(query)

    def _give_up_too_long(self, query: Query) -> None:
        what = "question cannot be asked: no pipe can be had that takes it whole (fs.pipe-user-pages-soft)"
        self._failures.log(logging.WARNING, what, what, pool=self.name, bytes=len(query.body))
        self._give_up(query)

    def _time_out(self, query: Query) -> None:
        self.figures.timeouts += 1
        self._give_up(query)

    def _give_up(self, query: Query) -> None:
        self.figures.unavailable += 1
        query.settle(_UNAVAILABLE)

    def _give_up_hopeless(self) -> None:
        """No program can be asked: end what will have had its time before one can."""
        if self._usable:
            return
        now = self.clock()
        due = min(FOREVER if slot.hopeless and slot.due > now else slot.due for slot in self.slots)
        for query in self._waiting.take_out(lambda query: query.deadline < due):
            self._give_up(query)

    def hasten(self, answer_timeout: float) -> None:
        """Let no query take longer than so many seconds from now: a shorter time counts at once."""
        deadline = self.clock() + answer_timeout
        self._service_time.limit(answer_timeout)
        for query in [*self._waiting, *(worker.query for worker in self.workers if worker.query is not None)]:
            query.deadline = min(query.deadline, deadline)
        self._timer.set(deadline)

    # --- what workers report -----------------------------------------------------------------------------

    def left(self, worker: Worker) -> None:
        """A program may not be asked any more, whatever the reason."""
        self._usable -= 1
        if worker in self._idle:
            self._idle.remove(worker)

    def replied(self, worker: Worker, query: Query, verdict: Verdict) -> None:
        """A good reply: tell the asker, and give the program its next query."""
        if query.deadline <= self.clock():
            self._time_out(query)  # we stood still, as did its timer
        else:
            if verdict is _GRANTED:
                self.figures.granted += 1
            else:
                self.figures.denied += 1
            query.verdict = verdict  # as `settle` does it, which is one call more for each line
            try:
                query.asker.settled(query)
            except Exception as error:
                query.asker.failed(error)
        if worker.served >= worker.milestone and not self._passed_milestone(worker):
            return
        following = self._waiting.next()
        if following is None:
            self._shelve(worker)
        elif not worker.hand_over(following):
            self._not_handed_over(worker, following)

    def replies_in_pieces(self) -> None:
        """The first part of a reply came alone, or may have done so."""
        self._in_pieces = True
        for worker in self.workers:
            worker.careful = True

    def failing(self, worker: Worker, reason: str) -> None:
        """Take a program out of service that failed; the place it leaves is due for another."""
        worker.reason = reason
        self.figures.failures += 1
        self._free_place(worker, self.workers[worker])

    def _free_place(self, worker: Worker, slot: Slot) -> None:
        if slot.successor is worker:
            slot.successor = None
        elif slot.worker is worker:
            slot.worker, slot.successor = slot.successor, None
            if slot.worker is None:
                self._vacate(slot)

    def ended(self, worker: Worker, query: Query | None, was_read: bool) -> None:
        """A program is gone; decide what becomes of the query it had."""
        slot = self.workers.pop(worker)
        try:
            if not self._closed:
                self._free_place(worker, slot)  # should an error have kept it there
            self._log_end(worker)
        finally:
            if query is not None:
                self._ask_once_more(query, was_read)

    def _ask_once_more(self, query: Query, was_read: bool) -> None:
        """Its program died: ask another one, or give it up."""
        query.deaths += 1
        query.attempts += was_read
        may_repeat = not was_read or (query.repeatable and query.attempts < _MAX_ATTEMPTS)
        if may_repeat and query.deaths < _MAX_DEATHS and self.clock() < query.deadline:
            self.figures.retries += 1
            self._ask_again(query)
        else:
            self._give_up(query)

    def _log_end(self, worker: Worker) -> None:
        if worker.reason:
            program, ended = self.program.argv[0], {"pid": worker.pid, "status": worker.status, "served": worker.served}
            self._log_failure("program failed", worker.reason, program=program, **ended)
        else:
            log.debug(event("program left", pool=self.name, pid=worker.pid, served=worker.served))

    def complained(self, worker: Worker, lines: Lines) -> None:
        """Log what a program wrote on stderr, as long as it is not too much; only what is logged costs time."""
        for number, line in enumerate(lines):
            if not self._stderr.log(logging.WARNING, "", "program says", pool=self.name, pid=worker.pid, stderr=line):
                self._stderr.suppress("", len(lines) - number - 1)
                return

    def paused(self, worker: Worker) -> None:
        """Have a program's stderr read again in time; `expire` does it."""
        self._timer.set(worker.resumes_at)

    # --- what the supervisor does ----------------------------------------------------------------------------

    @property
    def pressing(self) -> bool:
        """Whether it serves somebody, or has failed to in the time of a longest back-off."""
        return self._usable > 0 or self.clock() < self._missed_at + LONGEST_DELAY

    def start_due(self) -> bool:
        """Start a program in a vacant slot that is due, if there is one; returns whether there is another one."""
        now = self.clock()
        vacant = [slot for slot in self.slots if slot.worker is None and slot.due <= now]
        if vacant:
            self.start(vacant[0])
        return len(vacant) > 1

    def start(self, slot: Slot) -> Worker | None:
        """Start a program for `slot`: to serve if it is vacant, else as the successor of the one that serves.

        A successor is not asked before `employ`.

        Returns:
          `None` if it could not be started, or the pool is closed; a vacant slot is due again then.
        """
        if self._closed:
            return None
        try:
            worker = self._launch(self)
        except (OSError, ValueError, MemoryError) as error:
            self.figures.failures += 1
            self._log_failure("program cannot be started", describe(error), program=self.program.argv[0])
            if slot.worker is None:
                slot.hopeless = not isinstance(error, MemoryError) and getattr(error, "errno", None) not in _PASSING
                self._vacate(slot)
            return None
        slot.hopeless = False
        self.figures.starts += 1
        self.workers[worker] = slot
        self._usable += 1
        if len(self.workers) == 1:
            self.peopled()
        if slot.worker is None:
            slot.worker = worker
            try:
                self.employ(worker)
            except Exception as error:
                worker.failed(error)
        else:
            slot.successor = worker
        return worker

    def employ(self, worker: Worker) -> None:
        """Give a new program the next query, or put it where one will find it."""
        following = self._waiting.next()
        if following is None:
            self._shelve(worker)
        elif not worker.give(following):
            self._not_handed_over(worker, following)

    def close(self) -> None:
        """No program is started any more; those that run go on."""
        self._closed = True
        for slot in self.slots:
            slot.due = FOREVER

    def promote(self, slot: Slot) -> bool:
        """Put the successor in its predecessor's place; false if there is none any more."""
        if slot.successor is None:
            return False
        slot.worker, slot.successor = slot.successor, None
        return True

    def dismiss(self, worker: Worker) -> None:
        """Let a program leave, after the query it has."""
        worker.milestone = 0
        if worker.query is None and worker.usable:
            worker.close_stdin()

    def worn_slot(self) -> Slot | None:
        """The slot of the oldest program that has served enough and has no successor yet."""
        latest = self.clock() - (self.settings.max_age or FOREVER)
        worn = [
            (slot.worker.born, number)
            for number, slot in enumerate(self.slots)
            if slot.worker is not None and slot.successor is None and (slot.worker.tired or slot.worker.born <= latest)
        ]
        return self.slots[min(worn)[1]] if worn else None

    def next_worn(self) -> float:
        """When the next program will have reached `max_age`, on the pool's clock."""
        born = (slot.worker.born for slot in self.slots if slot.worker is not None)
        return min(born, default=FOREVER) + (self.settings.max_age or FOREVER)

    # --- inside ------------------------------------------------------------------------------------------

    def _shelve(self, worker: Worker) -> None:
        """Keep a free program where the next query will find it.

        The last used is asked next, as its caches are warm; then those that were started and not yet heard of, the
        oldest first; then those that have served enough.
        """
        idle = self._idle
        if not idle or idle[-1].tired:  # most of the time
            idle.append(worker)
        elif worker.tired:
            idle.insert(0, worker)
        elif worker.served:
            idle.append(worker)
        else:
            idle.insert(sum(other.tired for other in idle), worker)

    def _passed_milestone(self, worker: Worker) -> bool:
        """A program's first reply, its last one, the one after which it has served enough, or one that is timed.

        Returns:
          whether it may go on.
        """
        if worker.milestone == 0:
            worker.close_stdin()
            return False
        if worker.served == 1:
            self.workers[worker].backoff.reset()
            worker.proved()
            self._log_back()
        worker.careful = self._in_pieces or self.figures.granted + self.figures.denied < _WHOLE
        limit = self.settings.max_requests or FOREVER
        if worker.served >= limit and not worker.tired:
            worker.tired = True
            self.worn()
        worker.milestone = self._service_time.measure(
            worker, self.clock(), bool(self._waiting), self.settings.answer_timeout
        )
        if worker.served < limit:
            worker.milestone = min(worker.milestone, limit)
        return True

    def _vacate(self, slot: Slot) -> None:
        delay = FOREVER if self._closed else slot.backoff.next_delay()
        slot.due = self.clock() + delay
        if not self._closed:
            self._starts.plan(self, slot.due)
        if 0 < delay < FOREVER and self._down_since == FOREVER and not any(other.worker for other in self.slots):
            self._down_since = self.clock()
            self._unavailable_before = self.figures.unavailable
            log.error(event("pool is down", pool=self.name, programs=len(self.slots)))
        self._give_up_hopeless()

    def _log_back(self) -> None:
        if self._down_since == FOREVER:
            return
        seconds, self._down_since = self.clock() - self._down_since, FOREVER
        unavailable = self.figures.unavailable - self._unavailable_before
        log.warning(event("pool is back", pool=self.name, down_seconds=round(seconds, 1), unavailable=unavailable))

    def _log_failure(self, message: str, reason: str, **fields: object) -> None:
        self._failures.log(logging.WARNING, message, message, pool=self.name, reason=reason, **fields)


def _launch(pool: Pool) -> Worker:
    process = start(pool.program.argv, pool.program.cwd, pool.program.env)
    try:
        return Worker(process, pool.reactor, pool, pool.clock(), pool.settings.max_line, pool.clock)
    except BaseException:
        process.discard()
        raise
