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

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bridge.config.settings import ProgramSettings, Settings
from bridge.loop.reactor import Reactor
from bridge.loop.timer import FOREVER
from bridge.pool.backoff import LONGEST_DELAY
from bridge.pool.fairqueue import FairQueue
from bridge.pool.idle import Idle
from bridge.pool.milestones import Milestones
from bridge.pool.poollog import PoolLog
from bridge.pool.record import Record, Standing
from bridge.pool.slot import Figures, Slot
from bridge.pool.starts import Starts
from bridge.protocol.query import Query, Verdict
from bridge.worker.spawn import start
from bridge.worker.state import State
from bridge.worker.stderrlines import Lines
from bridge.worker.worker import Worker

_GRANTED, _UNAVAILABLE = Verdict.GRANTED, Verdict.UNAVAILABLE
_READY, _WORN = State.READY, Standing.WORN

if TYPE_CHECKING:
    from bridge.protocol.query import Asker


class Pool:
    """The programs of one kind, and the queries that wait for them.

    Attributes:
      name: for the log: the host it serves, or "default".
      slots: one for each program of `pool_size`.
      workers: every program whose process is not yet gone, and what is known of it.
      usable: programs that may be asked, now or after the query they have.
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
        """Args:
        attention: told when the supervisor is needed: a program was started and there was none before, or one has
          served enough.
        """
        self.name = name
        self.program = program
        self.settings = settings
        self.reactor = reactor
        self.clock = reactor.clock
        self._timer = reactor.call_at(FOREVER, self.expire)
        self._starts = starts
        self.slots = [Slot() for _ in range(program.pool_size)]
        self.workers: dict[Worker, Record] = {}
        self.usable = 0
        self.figures = Figures()
        self._attention = attention
        self._launch = launch or start_worker
        self._idle = Idle()
        self._waiting = FairQueue()
        self._closed = False
        self._missed_at = -FOREVER  # when there was none for a query
        self._log = PoolLog(name, program.argv[0], self.figures, self.clock)
        self._milestones = Milestones(self.figures, self._log, self.clock)
        self._service_time = self._milestones.service_time

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
        if not self.usable:
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
        while (worker := self._idle.take()) is not None:
            if worker.give(query):
                return True
            if worker.state is _READY:
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
        while worker.state is _READY:
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
        self._log.too_long(len(query.body))
        self._give_up(query)

    def _time_out(self, query: Query) -> None:
        self.figures.timeouts += 1
        self._give_up(query)

    def _give_up(self, query: Query) -> None:
        self.figures.unavailable += 1
        query.settle(_UNAVAILABLE)

    def _give_up_hopeless(self) -> None:
        """No program can be asked: end what will have had its time before one can."""
        if self.usable:
            return
        now = self.clock()
        due = min(slot.due_by(now) for slot in self.slots)
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

    def retired(self, worker: Worker) -> None:
        """A program may not be asked any more, whatever the reason."""
        self.usable -= 1
        self._idle.discard(worker)

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
        record = self.workers[worker]
        if worker.served >= record.milestone and not self._passed_milestone(worker, record):
            return
        following = self._waiting.next()
        if following is None:
            self._idle.put(worker, record.standing is _WORN)
        elif not worker.hand_over(following):
            self._not_handed_over(worker, following)

    def replies_in_pieces(self) -> None:
        """The first part of a reply came alone, or may have done so."""
        self._milestones.in_pieces = True
        for worker in self.workers:
            worker.careful = True

    def failing(self, worker: Worker, reason: str) -> None:
        """Take a program out of service that failed; the place it leaves is due for another."""
        record = self.workers[worker]
        record.reason = reason
        self.figures.failures += 1
        self._free_place(worker, record.slot)

    def ended(self, worker: Worker, query: Query | None, was_read: bool) -> None:
        """A program is gone; decide what becomes of the query it had."""
        record = self.workers.pop(worker)
        try:
            self._free_place(worker, record.slot)  # should an error have kept it there
            self._log.program_ended(worker, record.reason)
        finally:
            if query is not None:
                self._ask_once_more(query, was_read)

    def _ask_once_more(self, query: Query, was_read: bool) -> None:
        """Its program died: ask another one, or give it up."""
        if query.survives(was_read) and self.clock() < query.deadline:
            self.figures.retries += 1
            self._ask_again(query)
        else:
            self._give_up(query)

    def _free_place(self, worker: Worker, slot: Slot) -> None:
        if slot.vacate(worker):
            self._plan_start(slot)

    def complained(self, worker: Worker, lines: Lines) -> None:
        """Log what a program wrote on stderr, as long as it is not too much."""
        self._log.program_wrote(worker, lines)

    def paused(self, worker: Worker) -> None:
        """Have a program's stderr read again in time; `expire` does it."""
        self._timer.set(worker.resumes_at)

    # --- what the supervisor does ----------------------------------------------------------------------------

    @property
    def pressing(self) -> bool:
        """Whether it serves somebody, or has failed to in the time of a longest back-off."""
        return self.usable > 0 or self.clock() < self._missed_at + LONGEST_DELAY

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
            self._log.cannot_start(error)
            if slot.worker is None:
                slot.cannot_start(error)
                self._plan_start(slot)
            return None
        slot.hopeless = False
        self.figures.starts += 1
        self.workers[worker] = Record(slot, self.clock())
        self.usable += 1
        if len(self.workers) == 1:
            self._attention(self)
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

    def dismiss(self, worker: Worker) -> None:
        """Let a program leave, after the query it has."""
        if worker.state is not _READY:
            return
        if worker.query is not None:
            self.workers[worker].dismiss()
        else:
            worker.close_stdin()

    # --- inside ------------------------------------------------------------------------------------------

    def _shelve(self, worker: Worker) -> None:
        """Keep a free program where the next query will find it."""
        self._idle.put(worker, self.workers[worker].standing is _WORN)

    def _passed_milestone(self, worker: Worker, record: Record) -> bool:
        """Look at a program whose good replies have reached its milestone; returns whether it may go on."""
        if record.standing is Standing.DISMISSED:
            worker.close_stdin()
            return False
        if self._milestones.passed(worker, record, self.settings, busy=bool(self._waiting)):
            self._attention(self)
        return True

    def _plan_start(self, slot: Slot) -> None:
        """Nobody serves in `slot`: have a program started there in time."""
        delay = FOREVER if self._closed else slot.backoff.next_delay()
        slot.due = self.clock() + delay
        if not self._closed:
            self._starts.plan(self, slot.due)
        if 0 < delay < FOREVER and not any(other.worker for other in self.slots):
            self._log.down(len(self.slots))
        self._give_up_hopeless()


def start_worker(pool: Pool) -> Worker:
    """Start a pool's program.

    Raises:
      OSError, ValueError, MemoryError: it cannot be started; nothing is left of it.
    """
    process = start(pool.program.argv, pool.program.cwd, pool.program.env)
    try:
        return Worker(process, pool.reactor, pool, pool.settings.max_line, pool.clock)
    except BaseException:
        process.discard()
        raise
