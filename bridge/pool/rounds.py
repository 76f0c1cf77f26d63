"""The rounds a pool makes, ten a second while queries are out and none when there are none: what no reply tells.

  - A query whose time is over ends; its program is left with a stand-in, so that its reply will be nobody's.
  - A program that is starting has `start_timeout` from its first question on.  What waits for it goes to a ready one.
    If it has read its question, and takes far longer than starts usually do, it is stuck, and killed like a ready one
    if its place is needed.
  - A ready program that has had a question for `answer_timeout` is killed if others were answered meanwhile, or could
    be: the question is to blame.  While nobody is answered, the back end is, and killing programs would add their
    starts to the outage.  If all programs there may be are in that state, one after the other is replaced, to see.
  - One that has had its question far longer than usual is stuck: another program takes its place.
  - Queries that cannot be answered in the time left are refused, so that programs work for those that can.

How long a program has had a query is known to within a round, which costs queries nothing.  No I/O.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bridge.loop.timer import FOREVER
from bridge.pool.record import Record, Standing
from bridge.protocol.query import Query, Verdict
from bridge.worker.state import Fault, State

if TYPE_CHECKING:
    from bridge.pool.pool import Pool
    from bridge.worker.worker import Worker

_ANSWERED = Verdict.GRANTED, Verdict.DENIED

ROUND = 0.1
"""Seconds: nobody notices that much, and ten looks at all programs a second cost a thousandth of a CPU."""

_STUCK = 0.5
_UNUSUAL = 4.0
"""A program is stuck after this many seconds, or times the usual time.  A login that takes a second is noticed, and a
spare needs time to start; taken for stuck too early, it costs a spare that leaves a minute later."""

_LONG = 0.5
"""Seconds that queries wait, at least, until a spare is started for them: bursts are no reason."""

_GRACE = 1.0
"""Seconds for which others must have been answered before a program that took too long is killed: when a back end comes
back, all programs reply, but not in one moment."""

_FORGET = 10.0
"""Seconds without any query after which nothing is known of how long one takes: the last may have been a slow one."""

_JUST = 2.0
"""Seconds since others were answered before a query: otherwise it may be one of the first to meet a stalled back end,
after which some programs hang for good."""

_MOMENT = 0.05
"""Seconds that nobody notices: who waits no longer needs no turns."""

_MOST_AT_ONCE = 1000
"""Queries without turns; if it turns out that they wait for longer, they get them, all in one round."""

_SLOW = 2 * ROUND
"""Seconds from which the rounds tell how long a query took.  Of those that came and went between two of them it is
known that they took no longer than that: after a pause, the first round is `ROUND` after a query."""


class Rounds:
    """Of one pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._made_at = -FOREVER
        self._goes_on = False  # there was something to look at again
        self._since_last = ROUND
        self._answered = 0  # valid replies of the pool
        self._answered_at = -FOREVER  # when there was another one
        self._replaced_at = -FOREVER  # when a program was last killed in order to see

    def make(self) -> None:
        """Look at every program and at those that wait."""
        pool, now = self._pool, self._pool.clock()
        self._since_last = max(ROUND, now - self._made_at) if self._goes_on else ROUND
        if now - self._made_at > _FORGET:
            pool.service_time.forget()
        self._made_at = now
        if self._answered != (answered := pool.figures.answered):  # which nothing in a round changes
            self._answered, self._answered_at = answered, now
        for worker, record in [*pool.workers.items()]:
            self._look_at(worker, record, now)
        self._note_busy(now)
        for worker, record in [*pool.workers.items()]:
            if record.seen is not None:
                self._judge(worker, record, now)
        pool.staff.stuck = sum(record.standing is Standing.STUCK for record in pool.workers.values())
        if self._is_stalled(now) and not pool.idle:
            pool.is_down("no program answers")
        pool.probation.judge(now)
        pool.probation.serve()
        self._hold_back()
        self._look_at_waiting(now)
        pool.log.answers(self._answered)
        pool.staff.plan()
        pool.give_up_hopeless()
        self._set_timer(now)

    # --- programs ----------------------------------------------------------------------------------------

    def _look_at(self, worker: Worker, record: Record, now: float) -> None:
        """Note which query a program has."""
        query, before = worker.query, record.seen
        served, record.served = worker.served - record.served, worker.served
        if served > (before is not None):
            self._pool.service_time.took_at_most(self._since_last)
        if query is before and query is not None:
            record.long, worker.milestone = True, min(worker.milestone, worker.served + 1)
            self._watch_start(worker, record, now)
            return
        if before is not None:
            exact = self._pool.waiting and self._pool.service_time.usual  # it is measured with each reply
            if before.verdict in _ANSWERED and now - record.timed >= _SLOW and not exact:
                self._pool.service_time.note(now - record.timed, self._pool.settings.answer_timeout)
            if record.standing is Standing.STUCK:
                record.enter(Standing.READY)
        if query is None:
            record.seen = None
        else:
            amid_others = now - self._answered_at <= _JUST
            record.sees(query, now, self._answered, amid_others)
            self._watch_start(worker, record, now)

    def _watch_start(self, worker: Worker, record: Record, now: float) -> None:
        """Note when a new program has read its first question: until then it was starting."""
        if record.timed == FOREVER and worker.was_read():
            record.timed = now

    def _note_busy(self, now: float) -> None:
        """Note, for each query seen for the first time, how many other programs have one."""
        busy = sum(record.seen is not None for record in self._pool.workers.values())
        for record in self._pool.workers.values():
            if record.seen is not None and record.since == now:
                record.busy = busy - 1

    def _judge(self, worker: Worker, record: Record, now: float) -> None:
        """Decide what becomes of a program that has a query."""
        query = worker.query
        if query is None:
            return
        if query.verdict is None and query.deadline <= now:
            self._end(worker, record, query)
            if not query.repeatable or record.standing is Standing.LEAVING:
                self._kill(worker, query, now - record.since)
        if worker.state is not State.ASKABLE:
            return
        if record.proven:
            self._judge_by_time(worker, record, query, now - record.since, now)
        elif self._has_started(worker, record, query, now):
            self._judge_by_time(worker, record, query, now - record.timed, now)

    def _has_started(self, worker: Worker, record: Record, query: Query, now: float) -> bool:
        """Whether a program that has given no reply is taken for up; it has `start_timeout`, and its query may move."""
        held = now - record.since
        if held >= self._pool.settings.start_timeout:
            worker.kill(f"it gave no first reply within start_timeout, {_had(query, held)}{self._why()}", Fault.START)
            return False
        may_repeat = query.verdict is None and query.repeatable and not query.attempts
        if may_repeat and held >= ROUND and self._may_move(worker, query, held):
            self._move(worker, record, query)
        if self._pool.waiting and not self._pool.staff.any_at_hand and now - record.timed >= self._overdue():
            record.enter(Standing.STUCK)
        return now >= record.born + self._pool.staff.startup.ample and record.timed < FOREVER

    def _why(self) -> str:
        """What may be the matter, where no program has ever replied: nothing that they write would tell."""
        if self._pool.figures.answered:
            return ""
        protocol = self._pool.program.protocol
        other = "generic" if protocol == "ejabberd" else "ejabberd"
        hint = f"slow; or its protocol is {other}, not {protocol}; or its output is buffered"
        return f" ({hint}: extauth-bridge check tells)"

    def _judge_by_time(self, worker: Worker, record: Record, query: Query, held: float, now: float) -> None:
        """Decide what becomes of a program that is up and has had a query for `held` seconds."""
        pool, settings = self._pool, self._pool.settings
        if held >= self._unusual():
            record.enter(Standing.STUCK)
        others = self._are_others_answered(record, now)
        record.against = min(record.against, now) if others or pool.idle else FOREVER
        if others and pool.probation.knows_any and pool.probation.is_out_of_patience(worker, held):
            if query.repeatable:
                self._end(worker, record, query)
                pool.probation.convict_again(query)
                self._kill(worker, query, held)
            return
        if held < settings.answer_timeout:
            return
        if record.guilty is None:
            record.guilty = others and record.amid_others
            if record.guilty:
                pool.probation.convict(query)
        if not (record.proven or pool.staff.full):
            return
        if now >= record.against + _GRACE or held >= settings.start_timeout or self._may_replace(now):
            if not record.proven:
                pool.staff.startup.took_longer(now - record.born)
            self._kill(worker, query, held)

    def _kill(self, worker: Worker, query: Query, held: float) -> None:
        worker.kill(f"it gave no reply in time, {_had(query, held)}", Fault.TIME)

    def _overdue(self) -> float:
        """Seconds from reading its first question after which others do not wait for a program: one more is started.

        It may be a slow start all the same, so it is left alone, and each further one takes longer to come.
        """
        pool = self._pool
        already = sum(record.standing is Standing.STUCK and not record.proven for record in pool.workers.values())
        return pool.staff.startup.unasked * (1 + already)

    def _end(self, worker: Worker, record: Record, query: Query) -> None:
        """End the query of a program, if it has not ended yet."""
        if query.verdict is None:
            worker.release()
            record.seen = worker.query
            self._pool.time_out(query)

    def _move(self, worker: Worker, record: Record, query: Query) -> None:
        """Give the query of a starting program to a ready one, now or as soon as one is free."""
        query.attempts += 1
        worker.release()
        record.seen = worker.query
        self._pool.again.elsewhere(query)

    def _are_others_answered(self, record: Record, now: float) -> bool:
        """Whether questions that were asked after this program's have been answered, and not only long ago."""
        recently = now - self._answered_at <= self._pool.settings.answer_timeout / 2
        return recently and self._answered - record.answered > record.busy

    def _may_move(self, worker: Worker, query: Query, held: float) -> bool:
        """Whether a starting program's query is better given to another one.

        As long as it has not been read, the program is still starting: there are ready ones, or those of the pool that
        this one replaces.  One that has read it may be about to answer, unless it has had it for long.
        """
        pool = self._pool
        reserve = pool.reserve.may_answer(query)
        if not worker.was_read():
            return reserve or pool.staff.any_at_hand
        return held >= self._unusual() and (reserve or pool.idle.any_ready)

    def _is_stalled(self, now: float) -> bool:
        """Whether a question had all its time, and nobody's was answered meanwhile."""
        timeout = self._pool.settings.answer_timeout
        return now > self._answered_at + timeout and any(
            record.seen is not None and now >= record.since + timeout for record in self._pool.workers.values()
        )

    def _unusual(self) -> float:
        return min(max(_STUCK, self._pool.service_time.usual * _UNUSUAL), self._pool.settings.answer_timeout)

    def _may_replace(self, now: float) -> bool:
        """Whether a program may be killed in order to see: none can be started besides, and all are stuck."""
        pool = self._pool
        records = [record for record in pool.workers.values() if record.standing is not Standing.LEAVING]
        if not pool.staff.full or any(record.standing is not Standing.STUCK for record in records):
            return False
        if now < self._replaced_at + pool.settings.answer_timeout:
            return False
        self._replaced_at = now
        return True

    # --- queries that wait -------------------------------------------------------------------------------

    def _look_at_waiting(self, now: float) -> None:
        """Refuse those that cannot be answered in time, and want a spare if they wait for long."""
        pool = self._pool
        pool.end_hurried(now)
        pool.reserve.take_waiting()
        pool.use_idle()
        timeout = pool.settings.answer_timeout
        silent = now > self._answered_at + max(timeout / 2, 2 * pool.service_time.usual)
        reserve = pool.service_time.reserve
        in_vain = now + (reserve + ROUND if reserve else 0.0)  # there is no look at the time as one is handed over
        for query in pool.waiting.take_out(lambda query: query.deadline <= in_vain):
            if silent:
                pool.time_out(query)
            else:
                pool.overload.refuse(query, now)
        if not silent:
            pool.overload.refuse_last(now)
        usual = pool.service_time.usual
        takes_turns = not usual or pool.holds_back
        room = 0 if takes_turns else min(int(_MOMENT * pool.staff.serving / usual), _MOST_AT_ONCE)
        pool.waiting.keep_short(room, now + timeout - ROUND)
        oldest = timeout - (pool.waiting.first_deadline() - now)
        if oldest > max(_LONG, pool.staff.startup.expected) and pool.staff.ready > 0:
            pool.staff.want_spare()

    def _hold_back(self) -> None:
        """Let no address have more than half of the programs while others wait."""
        pool = self._pool
        held = Counter(worker.query.address for worker in pool.workers if worker.query is not None)
        most = max(1, pool.staff.usable // 2)
        pool.hold_back(frozenset(address for address, number in held.items() if address and number >= most))

    def _set_timer(self, now: float) -> None:
        """Make another round while there is anything to look at."""
        pool = self._pool
        overloaded = not pool.overload.over(now)
        asked = any(worker.query is not None for worker in pool.workers)
        self._goes_on = bool(pool.waiting or asked or overloaded or pool.probation.undecided)
        if self._goes_on:
            pool.set_timer(max(now, min(now + ROUND, pool.earliest_deadline())))


def _had(query: Query, held: float) -> str:
    """What a program has not answered, and for how long."""
    return f"for {held:.1f} s" if query.asks else f"to the probe, for {held:.1f} s"
