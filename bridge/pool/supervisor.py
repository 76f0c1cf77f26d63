"""Replaces a pool's programs when they have served enough, has idle spares leave, probes, and stops all at the end.

- It does not replace failed programs: `starts` decides when those are started again.
- A program that has served enough stays in service until its successor is ready.  A successor that nobody asks is taken
  for ready after a while, as long as another program has shown that it is: the last one that has stays.
  They are replaced one at a time, and slowly enough for the machine not to notice.
- A program that has to be alone (`pool_max` is 1) goes first.
- A program is stopped as ejabberd does it: end of input, `shutdown_grace`, then SIGTERM and SIGKILL for its
  whole process group.  If `run` is cancelled, only SIGKILL.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import trio

from bridge.log.tokenbucket import TokenBucket
from bridge.loop.timer import FOREVER
from bridge.pool.pool import Pool
from bridge.pool.record import Record, Standing
from bridge.worker.latch import Latch
from bridge.worker.state import State
from bridge.worker.worker import Worker

_REST = 0.25
"""Seconds before a successor gets its first query, while its predecessor serves: a query should not wait for a program
that is still starting.  And if a program is kept busy right from its start, Linux goes on expecting of it the CPU time
its start used: without this rest, 8 new programs answer a tenth fewer queries a second for as long as the load
lasts."""

_TERM_GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL: every real program that ignored end of input died of SIGTERM at once."""

_KILL_GRACE = 1.0
"""Seconds to wait for a killed process: one that the kernel cannot end (a dead NFS server) must not hold us up."""

_RENEWALS_A_SECOND = 1.0
_RENEWALS_AT_ONCE = 2
"""Under full load on two CPUs, replacing a program costs 6 ms, enough to answer hundreds of queries: half a percent of
the time is all it may take.  Real programs that die of old age do so after about 1000 queries; with `max_requests` at
500, up to 1000 queries a second let none get that far, and one that does die costs its query a second try."""

_RENEWAL_RETRY = 5.0
"""Seconds before a renewal whose successor failed is tried again: the old program still serves."""

_UNDECIDED = 5.0
"""Seconds between checks whether a successor that nobody asked may take over."""

_IDLE = 60.0
"""Seconds after which an idle spare leaves: what made it necessary may come back."""

_ROUNDING = 1e-6
"""Minimum wait in seconds for a program to be worn: a sum of times may be too early by a rounding error, repeatedly."""

_TENDING = 10.0
"""Seconds between checks of what is idle, while there are spares or a probe."""


class Supervisor:
    """The trio side of one pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._scope = trio.CancelScope()
        self._called = trio.Event()
        self._quiet: dict[Worker, tuple[int, float]] = {}  # replies of idle programs, and since when there were no more
        self._renewals = TokenBucket(_RENEWALS_A_SECOND, _RENEWALS_AT_ONCE, pool.clock)

    def look(self) -> None:
        """Check the pool again: a program may have served enough, or there are spares."""
        self._called.set()
        self._called = trio.Event()

    async def run(self) -> None:
        """Look after the pool's programs until stopped or cancelled; those that still run then are killed."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._renew)
                    nursery.start_soon(self._tend, nursery)
        finally:
            for worker in [*self.pool.workers]:
                worker.signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Stop all programs at the same time, and then `run`; call it when there are no more queries."""
        self.pool.staff.close()
        async with trio.open_nursery() as nursery:
            for worker in [*self.pool.workers]:
                nursery.start_soon(self._end, worker)
        self._scope.cancel()

    # --- renewal -----------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            worker = await self._next_worn()
            while not self._renewals.take():
                await trio.sleep(1 / _RENEWALS_A_SECOND)
            if worker.state is not State.ASKABLE:
                continue
            if self.pool.staff.most == 1 or await self._has_successor(worker):
                self.pool.figures.restarts["renewed"] += 1
                await self._dismiss(worker)
            else:
                await trio.sleep(_RENEWAL_RETRY)

    async def _has_successor(self, worker: Worker) -> bool:
        """Start a successor of `worker`, and wait until it may take over; false if there is none."""
        if len(self.pool.workers) > self.pool.staff.most:  # what cannot be ended keeps its place, that one's too
            return False
        successor = self.pool.staff.start(replaces=worker)
        return successor is not None and await self._takes_over(successor, worker)

    async def _next_worn(self) -> Worker:
        """The oldest program that has served enough."""
        while True:
            latest = self.pool.clock() - (self.pool.settings.max_age or FOREVER)
            serving = [(worker, record) for worker, record in self.pool.workers.items() if record.counts]
            worn = [pair for pair in serving if pair[1].standing is Standing.WORN or pair[1].born <= latest]
            if worn:
                return min(worn, key=lambda pair: pair[1].born)[0]
            # While no program is up, one may be started at any moment: look again before that one could be worn.
            longest = self.pool.settings.max_age or 3600.0
            due = min((record.born for _, record in serving), default=FOREVER) - latest
            with trio.move_on_after(max(_ROUNDING, min(due, longest))):
                await self._called.wait()

    async def _takes_over(self, successor: Worker, worn: Worker) -> bool:
        """Wait until a successor may take over; false if it ends before that."""
        await trio.sleep(_REST)
        if successor.state is not State.ASKABLE:
            return False
        record = self.pool.workers[successor]
        decided = _event(record.proof, successor.retirement)
        _guarded(self.pool.staff.employ, successor)
        pause = record.born + self.pool.staff.startup.unasked - self.pool.clock()
        while not decided.is_set():
            with trio.move_on_after(max(_ROUNDING, pause)):
                await decided.wait()
            if successor.query is None and self._can_do_without(worn, record):
                break
            pause = _UNDECIDED
        return successor.state is State.ASKABLE

    def _can_do_without(self, worn: Worker, successor: Record) -> bool:
        """Whether an unasked successor may take over: not from the last program that is known to answer, unless the
        successor has been there for as long as any start may take.
        """
        pool = self.pool
        proven = worn in pool.workers and pool.workers[worn].proven
        return not proven or pool.staff.ready > 1 or pool.clock() >= successor.born + pool.settings.start_timeout

    # --- spares and probes -------------------------------------------------------------------------------

    async def _tend(self, nursery: trio.Nursery) -> None:
        while True:
            pool, interval = self.pool, self.pool.settings.probe_interval
            probes = bool(pool.program.probe and interval)
            if probes or len(pool.workers) > pool.program.pool_size:
                with trio.move_on_after(min(_TENDING, interval / 2) if probes else _TENDING):
                    await self._called.wait()
            else:
                self._quiet.clear()
                await self._called.wait()
            self._look_at_idle(nursery)

    def _look_at_idle(self, nursery: trio.Nursery) -> None:
        """Have spares leave that have been idle for long, and probe others.

        Spares are those that have been idle the longest.  If they were probed, they would never have been idle for
        long; and whoever was probed last is asked next, so that all programs would be kept in use.
        """
        pool, now = self.pool, self.pool.clock()
        quiet, self._quiet = self._quiet, {}
        for worker in pool.idle:
            served, since = quiet.get(worker, (-1, now))
            self._quiet[worker] = worker.served, since if served == worker.served else now
        surplus = pool.staff.surplus
        for worker, (_, since) in sorted(self._quiet.items(), key=_since):
            if surplus > 0 and pool.workers[worker].counts:
                surplus -= 1
                if now - since >= _IDLE:
                    nursery.start_soon(self._dismiss, worker)
            elif pool.program.probe and 0 < pool.settings.probe_interval <= now - since:
                _guarded(pool.staff.probe, worker)

    # --- the end -----------------------------------------------------------------------------------------

    async def _dismiss(self, worker: Worker) -> None:
        """Stop a program that is no longer needed, after the query it has."""
        self.pool.staff.dismiss(worker)
        await _event(worker.retirement).wait()  # it may have a query, or what is left of one
        await self._end(worker)

    async def _end(self, worker: Worker) -> None:
        gone = _event(worker.end)
        if gone.is_set():
            return
        worker.close_stdin()
        for grace, number in ((self.pool.settings.shutdown_grace, signal.SIGTERM), (_TERM_GRACE, signal.SIGKILL)):
            with trio.move_on_after(grace):
                await gone.wait()
                return
            worker.signal(number)
        with trio.move_on_after(_KILL_GRACE):
            await gone.wait()


def _since(quiet: tuple[Worker, tuple[int, float]]) -> float:
    return quiet[1][1]


def _guarded(ask: Callable[[Worker], None], worker: Worker) -> None:
    """Have a program asked; an error of ours ends that program.  If it were raised here, it would end the daemon."""
    try:
        ask(worker)
    except Exception as error:
        worker.failed(error)


def _event(*latches: Latch) -> trio.Event:
    """An event that is set with the first of `latches`."""
    event = trio.Event()
    for latch in latches:
        latch.then(event.set)
    return event
