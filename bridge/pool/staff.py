"""The programs of one pool: how many there are, how many are started, and when.

  - `pool_size` programs count: those that are starting, ready or worn.  One that is stuck or leaving does not, so
    another one is started, while at most `pool_max` run.  A program's place is taken until its process is gone.
  - *Died at work*: a program that had given a good reply is replaced at once, however often that happens; only the rate
    of starts that lead to no reply is limited, so that a crash loop does not eat the machine.
  - *Cannot start*: a program ended, or ran out of time, before its first good reply.  Then one program tries, after
    longer and longer pauses, and when it is ready, or has been up for a while, the others start at once.
  - If that program had a question, the question may be to blame: it takes three different ones in a row, and a while
    without any good reply.  The pauses are short then: whoever asks such questions must not keep everybody else out.

No I/O besides `launch`.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bridge.log.events import describe
from bridge.log.tokenbucket import TokenBucket
from bridge.loop.timer import FOREVER
from bridge.pool.backoff import LONGEST_DELAY, Backoff
from bridge.pool.record import Record, Standing
from bridge.pool.rounds import ROUND
from bridge.pool.startuptime import StartupTime
from bridge.protocol.codecs import codec_of
from bridge.protocol.query import StandIn
from bridge.worker.spawn import start
from bridge.worker.state import State
from bridge.worker.worker import Worker

if TYPE_CHECKING:
    from bridge.pool.pool import Pool
    from bridge.pool.starts import Starts

_STARTS_A_SECOND = 20.0
"""Starts that did not lead to a good reply: what a small machine can start of interpreted programs, with half of it
left for those that work."""

_PAUSE = 1 / _STARTS_A_SECOND

_IN_A_ROW = 3
"""Different questions that ended a program which had given no reply: one, or two, may be poison."""

_NO_REPLY = 1.0
"""Seconds without any good reply, besides: as long as others are answered, programs can start."""

_LONGEST_BY_QUESTIONS = 1.0
"""Seconds of the longest pause if questions end the programs: two people who ask such questions, on a site where others
are seldom, would otherwise put it out for as long as they go on.  If a back end is away instead, a start a second, and
only while somebody asks, is no burden."""

_LONGEST_IF_PASSING = 5.0
"""Seconds of the longest pause while the machine has no process, memory or descriptor left: a try costs hardly anything
then, and with longer pauses nobody could log in long after there are some again.  Longer than `answer_timeout` usually
is, so that most of those who ask meanwhile are refused at once."""

_PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY}
"""Errors of a start that may succeed a moment later."""


class Staff:
    """The programs of one pool.

    Args:
      pool: employs those that were started.
      starts: told when a start is due.
      attention: called when the supervisor is needed: the first program was started, or there are spares.
      launch: starts a program.

    Attributes:
      workers: every program whose process is not yet gone, with its record.
      usable: number of programs that may be asked, now or after the query they have.
      ready: number of those that have given a good reply.
      stuck: number of programs that are stuck, by the last round.
      size: programs that are to count.
      most: programs that may run.
      due: when the next start may be.
      hopeless: the last start failed for a reason that will not go away by itself, like a missing file.
      startup: how long starts take.
      closed: it starts no more programs.
      paused: it starts none until `resume`, and queries wait.
    """

    def __init__(
        self,
        pool: Pool,
        starts: Starts,
        attention: Callable[[Pool], None],
        launch: Callable[[Pool], Worker] | None,
    ) -> None:
        self.workers: dict[Worker, Record] = {}
        self.usable = 0
        self.ready = 0
        self.stuck = 0
        self.size = pool.program.pool_size
        self.most = pool.program.pool_max
        self.due = 0.0
        self.hopeless = False
        self.startup = StartupTime()
        self.closed = False
        self.paused = False
        self._pool = pool
        self._clock = pool.clock
        self._starts = starts
        self._attention = attention
        self._launch = launch or start_worker
        self._started = 0
        self._spares = 0  # wanted besides `size`
        self._planned = FOREVER  # when `starts` has been told to call
        self._missed_at = -FOREVER  # when a query last found no program
        self._scouting = False  # no program has become ready since one could not start
        self._backoff = Backoff()
        self._delay = 0.0
        self._known = 0  # starts up to the last failure: if others of these fail too, that tells nothing new
        self._rate = TokenBucket(_STARTS_A_SECOND, self.size + self.most, self._clock)
        self._row: set[int] = set()  # hashes of the questions that ended a starting program
        self._row_began = 0.0
        self._row_answered = 0

    # --- how many ----------------------------------------------------------------------------------------

    @property
    def serving(self) -> int:
        """Number of programs that may be expected to answer; at least one."""
        return max(1, self.usable - self.stuck)

    @property
    def any_at_hand(self) -> bool:
        """Whether a program that has given a good reply may be expected to answer."""
        return any(record.standing in {Standing.READY, Standing.WORN} for record in self.workers.values())

    @property
    def surplus(self) -> int:
        """Programs beyond `size` that count."""
        return max(0, self._counted - self.size)

    @property
    def full(self) -> bool:
        """Whether no more programs may run."""
        return len(self.workers) >= self.most

    def want_spare(self) -> None:
        """Start one more program, unless one is starting: what waits is given to that one."""
        if not any(record.standing is Standing.STARTING for record in self.workers.values()):
            self._spares = self.surplus + 1

    @property
    def _counted(self) -> int:
        return sum(record.counts for record in self.workers.values())

    @property
    def _missing(self) -> int:
        """Programs to be started, one after the other, as far as there are places."""
        return min(self.size + self._spares - self._counted, self.most - len(self.workers))

    # --- when --------------------------------------------------------------------------------------------

    @property
    def pressing(self) -> bool:
        """Whether it has usable programs, or lacked one for a query within the longest back-off."""
        return self.usable > 0 or self._clock() < self._missed_at + LONGEST_DELAY

    def missed(self) -> None:
        """A query found no program that is ready."""
        self._missed_at = self._clock()
        self._starts.hasten(self)

    def hope(self, now: float) -> float:
        """The earliest time at which a program may be ready; infinity if there is no hope of that."""
        startup = self.startup.expected
        trying = [record.born + startup for record in self.workers.values() if record.standing is not Standing.LEAVING]
        hopeless = self.hopeless and self.due > now
        blocked = sum(record.unkillable for record in self.workers.values()) >= self.most
        due = FOREVER if hopeless or blocked else max(self.due, now) + startup
        return max(now, min([*trying, due]))

    def plan(self) -> None:
        """Plan the next start, if a program is missing."""
        when = self._next_start(self._clock())
        if when < self._planned:
            self._starts.plan(self, when)
            self._planned = when

    def start_due(self) -> bool:
        """Start a program if one is missing and due; returns whether another one is."""
        now = self._clock()
        self._planned = FOREVER
        if self._next_start(now) <= now:
            if self._rate.take():
                self.start()
            else:
                self.due = now + _PAUSE
        if self._next_start(now) <= now:
            return True
        self.plan()
        return False

    def _next_start(self, now: float) -> float:
        """When the next program is to be started; infinity if none is."""
        if self.closed or self.paused or self._missing <= 0:
            return FOREVER
        trying = [record.born for record in self.workers.values() if record.standing is Standing.STARTING]
        if self._scouting and trying:
            up = max(trying) + self.startup.unasked
            self._scouting = up > now
            return max(self.due, now, up)
        return max(self.due, now)

    def start(self, replaces: Worker | None = None) -> Worker | None:
        """Start a program, perhaps as the successor of another one; a successor is not employed.

        Returns:
          `None` if it could not be started, or the pool is closed; the next start is planned then.
        """
        if self.closed:
            return None
        try:
            worker = self._launch(self._pool)
        except (OSError, ValueError, MemoryError) as error:
            self._not_started(error, replaces is None)
            return None
        self._enlist(worker, replaces)
        return worker

    def _enlist(self, worker: Worker, replaces: Worker | None) -> None:
        self._started += 1
        self._pool.figures.starts += 1
        self._spares = 0
        self.hopeless = False
        predecessor = self.workers[replaces] if replaces is not None else None
        self.workers[worker] = Record(self._started, self._clock(), predecessor)
        self.usable += 1
        if len(self.workers) == 1 or len(self.workers) > self.size:
            self._attention(self._pool)
        if replaces is None:
            try:
                self.employ(worker)
            except Exception as error:
                worker.failed(error)

    def employ(self, worker: Worker) -> None:
        """Give a new program the probe, if there is one, or the next query, or make it idle."""
        if not worker.served and self._pool.program.probe:
            self.probe(worker)
        else:
            self._pool.give_next(worker)

    def probe(self, worker: Worker) -> None:
        """Ask a free program the probe; any good reply will do."""
        pool = self._pool
        user, _, host = pool.program.probe.partition("@")
        pool.idle.discard(worker)
        pool.set_timer(self._clock() + ROUND)
        if not worker.give(StandIn(f"isuser:{user}:{host}".encode())) and worker.state is State.ASKABLE:
            pool.shelve(worker)  # no pipe is large enough, so it may never be

    def dismiss(self, worker: Worker) -> None:
        """Have a program exit, after the query it has."""
        if worker.state is not State.ASKABLE:
            return
        if worker.query is not None and worker.query.verdict is None:
            self.workers[worker].enter(Standing.LEAVING)
            worker.milestone = 0  # its next reply is its last
        else:
            worker.close_stdin()

    def pause(self) -> None:
        """Start no programs until `resume`; queries wait."""
        self.paused = True

    def resume(self) -> None:
        """Start programs again."""
        self.paused = False
        self.plan()

    def is_failing(self, now: float) -> bool:
        """Whether no program can be expected to answer: none has, and the last ones could not start."""
        latest = now - self.startup.unasked
        up = any(record.standing is not Standing.LEAVING and record.born <= latest for record in self.workers.values())
        return self._scouting and not self.ready and not up

    def close(self) -> None:
        """Start no more programs; those that run go on."""
        self.closed = True
        self.due = FOREVER

    # --- what becomes of programs ------------------------------------------------------------------------

    def proved(self, worker: Worker, record: Record, askable: bool) -> None:
        """A program has given its first good reply."""
        now = self._clock()
        record.proven = askable
        self.ready += askable
        record.enter(Standing.READY)
        self.startup.learn(record.born, record.asked, now)
        if not self._pool.program.probe:  # otherwise they may exit after that, for ever, with nobody asking anything
            self._rate.give_back()
        self._backoff.reset()
        self._scouting = False
        self._row.clear()
        if not self.closed:
            self.due = now
        self.plan()
        record.proof.set()

    def retired(self, worker: Worker) -> None:
        """A program may not be asked any more."""
        record = self.workers[worker]
        self.usable -= 1
        self.ready -= record.proven
        record.enter(Standing.LEAVING)

    def forget(self, record: Record) -> None:
        """A program is gone: its successor would keep its record, with its last question, and so on for ever."""
        for other in self.workers.values():
            if other.replaces is record:
                other.replaces = None

    def failed_starting(self, record: Record, body: bytes | None, answered: int) -> None:
        """A program ended, or was ended, before its first good reply.

        Args:
          body: the question of a client that it had read, if any.
          answered: good replies of the pool so far.
        """
        if body is not None:
            now = self._clock()
            if not self._row or answered != self._row_answered:
                self._row.clear()
                self._row_began, self._row_answered = now, answered
            if len(self._row) < _IN_A_ROW:
                self._row.add(hash(body))
            if len(self._row) < _IN_A_ROW or (now - self._row_began < _NO_REPLY and answered):
                return
        if body is None:
            self._failed(record.number, LONGEST_DELAY)
        else:
            self._failed(record.number, _LONGEST_BY_QUESTIONS, "programs die of questions")

    def _not_started(self, error: Exception, was_missing: bool) -> None:
        pool = self._pool
        pool.figures.failed("not started", self._clock())
        reason = _reason(error, pool.program.argv)
        pool.log.cannot_start(reason)
        pool.last_failure = f"it cannot be started: {reason}"
        if was_missing:
            self.hopeless = not isinstance(error, MemoryError) and getattr(error, "errno", None) not in _PASSING
            self._failed(FOREVER, LONGEST_DELAY if self.hopeless else _LONGEST_IF_PASSING)
            pool.give_up_hopeless()

    def _failed(self, number: float, longest: float, cause: str = "programs cannot start") -> None:
        self._scouting = True
        if number > self._known:
            self._known = self._started
            self._delay = min(self._backoff.next_delay(), longest)
            self.due = FOREVER if self.closed else self._clock() + self._delay
        if self._delay > 0 and not self.closed and not self.ready:
            self._pool.is_down(cause)
        self.plan()


def _reason(error: Exception, argv: Sequence[str]) -> str:
    """Why a program could not be started, in one line without secrets."""
    with contextlib.suppress(Exception):  # no descriptor for the import, no memory: it is no time to be thorough
        from bridge.worker.startfault import why_not_started

        return why_not_started(error, argv)
    return describe(error)


def start_worker(pool: Pool) -> Worker:
    """Start a pool's program.

    Raises:
      OSError, ValueError, MemoryError: it cannot be started; nothing is left of it.
    """
    process = start(pool.program.argv, pool.program.cwd, pool.program.env)
    try:
        return Worker(process, pool.reactor, pool, pool.settings.max_line, codec_of(pool.program.protocol))
    except BaseException:
        process.discard()
        raise
