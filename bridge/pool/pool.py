"""Lends idle programs to queries, in the order of `fairqueue`, and never one program to two of them.

  - A freed program gets the next waiting query in the same step in which its reply is read.
  - Programs that have served enough (`max_requests`, `max_age`) are asked last, until they are replaced.
  - A query whose program died is asked once more, of another one, if it changes nothing and time is left; a query that
    no program read was never asked, so it goes to the next program whether it changes anything or not.
  - A query still open at its deadline ends `UNAVAILABLE`, and the program that has it is killed: its late reply must
    never be taken for the next query's.  A query that has waited so long that no program could answer it in the time
    left is not handed over: the delay is ours, and killing programs for it would bring an overloaded pool to a halt.
  - If no program can be asked and none is due before a query's deadline, or if the last start failed for a permanent
    reason, the query ends at once: a waiting client is blocked.

No trio here: programs can be started before trio is imported.  `starts` calls `start_due` whenever a slot is vacant,
the pool's timer calls `expire`; the supervisor replaces and stops programs.
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

    Args:
      starts: told when a start is due.
      attention: called when the supervisor is needed: the pool's first program was started, or one has served enough.
      launch: starts a program.

    Attributes:
      name: for the log: the host it serves, or "default".
      slots: one for each program of `pool_size`.
      workers: every program whose process is not yet gone, with its record.
      usable: number of programs that may be asked, now or after the query they have.
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
        self._missed_at = -FOREVER  # when a query last found no program
        self._log = PoolLog(name, program.argv[0], self.figures, self.clock)
        self._milestones = Milestones(self.figures, self._log, self.clock)
        self._service_time = self._milestones.service_time

    # --- queries -----------------------------------------------------------------------------------------

    def ask(self, queries: Sequence[Query]) -> None:
        """Have `queries` answered: at least one, all of one client and with one deadline.

        The asker is told of each, perhaps before this returns.
        """
        due = queries[0].deadline - self._service_time.reserve
        if due < self._timer.when:
            self._timer.set(due)
        while self._lend(queries[0]):  # if there is an idle program, no query is waiting
            if not (queries := queries[1:]):
                return
        self._waiting.add(queries)
        if not self.usable:
            self._missed_at = self.clock()
            self._starts.hasten(self)
            self._give_up_hopeless()

    def expire(self) -> None:
        """End the queries whose time is over, and kill the programs that have one of them."""
        now = self.clock()
        for worker in [*self.workers]:
            query = worker.query
            if query is not None and query.deadline <= now:
                worker.release()
                self._time_out(query)
                worker.kill("it gave no reply in time")
        in_vain = now + self._service_time.reserve
        for query in self._waiting.take_out(lambda query: query.deadline <= in_vain):
            self._time_out(query)
        for query in self._waiting.hurried.take_late(now):
            self._time_out(query)
        self._timer.set(self.earliest_deadline())

    def earliest_deadline(self) -> float:
        """When `expire` next has something to do, or infinity."""
        if not self.workers and not self._waiting:
            return FOREVER
        deadlines = [worker.query.deadline for worker in self.workers if worker.query is not None]
        deadlines.append(self._waiting.hurried.first_deadline())
        return min([*deadlines, self._waiting.first_deadline() - self._service_time.reserve])

    def withdraw(self, asker: Asker) -> None:
        """End the queries of `asker` that no program has yet."""
        for query in self._waiting.take_all_of(asker):
            self._give_up(query)

    @property
    def in_flight(self) -> int:
        """Number of queries that wait or are with a program."""
        if not self.workers and not self._waiting:
            return 0
        return len(self._waiting) + sum(worker.query is not None for worker in self.workers)

    def _lend(self, query: Query) -> bool:
        """Give `query` to an idle program; false if there is none."""
        while (worker := self._idle.take()) is not None:
            if worker.give(query):
                return True
            if worker.state is _READY:
                self._give_up_too_long(query)
                self._shelve(worker)
                return True
        return False

    def _ask_again(self, query: Query) -> None:
        """Ask `query` before all others: it has waited longest.  Only this call has it, so it must not be lost."""
        try:
            if not self._lend(query):
                self._waiting.add_again(query)
                self._timer.set(self._waiting.first_deadline() - self._service_time.reserve)
                self._give_up_hopeless()
        except Exception:
            self._give_up(query)
            raise

    def _not_handed_over(self, worker: Worker, query: Query) -> None:
        """A free program did not take `query`: either the program failed, or the query is too long."""
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
        """If no program can be asked, end the queries whose deadline comes before one can."""
        if self.usable:
            return
        now = self.clock()
        due = min(slot.due_by(now) for slot in self.slots)
        for query in self._waiting.take_out(lambda query: query.deadline < due):
            self._give_up(query)

    def hasten(self, answer_timeout: float) -> None:
        """Let no query take longer than `answer_timeout` from now: a shorter limit applies to open queries too."""
        deadline = self.clock() + answer_timeout
        self._service_time.limit(answer_timeout)
        for query in [*self._waiting, *(worker.query for worker in self.workers if worker.query is not None)]:
            query.deadline = min(query.deadline, deadline)
        self._timer.set(deadline)

    # --- what workers report -----------------------------------------------------------------------------

    def retired(self, worker: Worker) -> None:
        """Forget a program that may not be asked any more."""
        self.usable -= 1
        self._idle.discard(worker)

    def replied(self, worker: Worker, query: Query, verdict: Verdict) -> None:
        """Tell the asker of a valid reply, and give the program its next query."""
        if query.deadline <= self.clock():
            self._time_out(query)  # we were stopped, and our timer with us
        else:
            if verdict is _GRANTED:
                self.figures.granted += 1
            else:
                self.figures.denied += 1
            query.verdict = verdict  # `settle` inlined: saves a call per line
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
        """The first part of a reply came alone, or may have."""
        self._milestones.in_pieces = True
        for worker in self.workers:
            worker.careful = True

    def failing(self, worker: Worker, reason: str) -> None:
        """Take a failed program out of service, and plan a start in its slot."""
        record = self.workers[worker]
        record.reason = reason
        self.figures.failures += 1
        self._free_place(worker, record.slot)

    def ended(self, worker: Worker, query: Query | None, was_read: bool) -> None:
        """A program is gone: log it, and ask its query again or give it up."""
        record = self.workers.pop(worker)
        try:
            self._free_place(worker, record.slot)  # in case an error kept it there
            self._log.program_ended(worker, record.reason)
        finally:
            if query is not None:
                self._ask_once_more(query, was_read, proved=worker.served > 0)

    def _ask_once_more(self, query: Query, was_read: bool, proved: bool) -> None:
        """Ask another program, or give up `query`, whose program died."""
        if query.survives(was_read, proved) and self.clock() < query.deadline:
            self.figures.retries += 1
            self._ask_again(query)
        else:
            self._give_up(query)

    def _free_place(self, worker: Worker, slot: Slot) -> None:
        if slot.vacate(worker):
            self._plan_start(slot)

    def complained(self, worker: Worker, lines: Lines) -> None:
        """Log what a program wrote on stderr, within limits."""
        self._log.program_wrote(worker, lines)

    # --- what the supervisor does ----------------------------------------------------------------------------

    @property
    def pressing(self) -> bool:
        """Whether it has usable programs, or lacked one for a query within the longest back-off."""
        return self.usable > 0 or self.clock() < self._missed_at + LONGEST_DELAY

    def start_due(self) -> bool:
        """Start a program in a vacant slot that is due, if there is one; returns whether another one is due."""
        now = self.clock()
        vacant = [slot for slot in self.slots if slot.worker is None and slot.due <= now]
        if vacant:
            self.start(vacant[0])
        return len(vacant) > 1

    def start(self, slot: Slot) -> Worker | None:
        """Start a program in `slot`, as the successor of its present one if there is one.

        A successor is not asked before `employ`.

        Returns:
          `None` if it could not be started, or the pool is closed; the next start in a vacant slot is planned then.
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
        """Give a new program the next query, or make it idle."""
        following = self._waiting.next()
        if following is None:
            self._shelve(worker)
        elif not worker.give(following):
            self._not_handed_over(worker, following)

    def close(self) -> None:
        """Start no more programs; those that run go on."""
        self._closed = True
        for slot in self.slots:
            slot.due = FOREVER

    def dismiss(self, worker: Worker) -> None:
        """Have a program exit, after the query it has."""
        if worker.state is not _READY:
            return
        if worker.query is not None:
            self.workers[worker].dismiss()
        else:
            worker.close_stdin()

    # --- inside ------------------------------------------------------------------------------------------

    def _shelve(self, worker: Worker) -> None:
        """Make a free program idle."""
        self._idle.put(worker, self.workers[worker].standing is _WORN)

    def _passed_milestone(self, worker: Worker, record: Record) -> bool:
        """Check a program that has reached its milestone; returns whether it goes on."""
        if record.standing is Standing.DISMISSED:
            worker.close_stdin()
            return False
        if self._milestones.passed(worker, record, self.settings, busy=bool(self._waiting)):
            self._attention(self)
        return True

    def _plan_start(self, slot: Slot) -> None:
        """Plan the next start in `slot`, which is vacant."""
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
        return Worker(process, pool.reactor, pool, pool.settings.max_line)
    except BaseException:
        process.discard()
        raise
