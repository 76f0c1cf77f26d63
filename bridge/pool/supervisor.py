"""Replaces a pool's programs when they have served enough, and stops all of them at the end.

- It does not replace failed programs: `starts` decides when those are started again.
- A program that has served enough stays in service until its successor has had time to start, and has given a valid
  reply or been alive for a second.  They are replaced one at a time, so there are never fewer than pool_size and at
  most one more, and slowly enough for the machine not to notice.
- A program is stopped as ejabberd does it: end of input, `shutdown_grace`, then SIGTERM and SIGKILL for its
  whole process group.  If `run` is cancelled, only SIGKILL.
"""

from __future__ import annotations

import signal

import trio

from bridge.log.tokenbucket import TokenBucket
from bridge.loop.timer import FOREVER
from bridge.pool.pool import Pool
from bridge.pool.record import Standing
from bridge.pool.slot import Slot
from bridge.worker.latch import Latch
from bridge.worker.state import State
from bridge.worker.worker import Worker

_PROOF = 1.0
"""Seconds after which a program that has not been asked counts as started; real ones take up to half of this."""

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

_ROUNDING = 1e-6
"""Minimum wait in seconds for a program to be worn: a sum of times may be too early by a rounding error, repeatedly."""

_RENEWAL_RETRY = 5.0
"""Seconds before a renewal whose successor failed is tried again: the old program still serves."""


class Supervisor:
    """The trio side of one pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._scope = trio.CancelScope()
        self._called = trio.Event()
        self._renewals = TokenBucket(_RENEWALS_A_SECOND, _RENEWALS_AT_ONCE, pool.clock)

    def look(self) -> None:
        """Check the pool again: a program may have served enough."""
        self._called.set()

    async def run(self) -> None:
        """Replace the pool's programs until stopped or cancelled; those that still run then are killed."""
        try:
            with self._scope:
                await self._renew()
        finally:
            for worker in [*self.pool.workers]:
                worker.signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Stop all programs at the same time, and then `run`; call it when there are no more queries."""
        self.pool.close()
        async with trio.open_nursery() as nursery:
            for worker in [*self.pool.workers]:
                nursery.start_soon(self._end, worker)
        self._scope.cancel()

    async def _renew(self) -> None:
        while True:
            slot = await self._next_worn_slot()
            while not self._renewals.take():
                await trio.sleep(1 / _RENEWALS_A_SECOND)
            worker = slot.worker
            if worker is None:
                continue
            successor = self.pool.start(slot)
            if successor is not None:
                await self._prove(successor)
            if successor is slot.worker or slot.promote():
                await self._dismiss(worker)
            else:
                await trio.sleep(_RENEWAL_RETRY)

    async def _next_worn_slot(self) -> Slot:
        while True:
            self._called = trio.Event()
            slot = self._worn_slot()
            if slot is not None:
                return slot
            # While no program is up, one may be started at any moment: look again before that one could be worn.
            longest = self.pool.settings.max_age or 3600.0
            with trio.move_on_after(max(_ROUNDING, min(self._next_worn() - self.pool.clock(), longest))):
                await self._called.wait()

    def _worn_slot(self) -> Slot | None:
        """The slot of the oldest program that has served enough and has no successor yet."""
        workers, latest = self.pool.workers, self.pool.clock() - (self.pool.settings.max_age or FOREVER)
        serving = (workers[slot.worker] for slot in self.pool.slots if slot.worker and slot.successor is None)
        worn = [record for record in serving if record.standing is Standing.WORN or record.born <= latest]
        return min(worn, key=lambda record: record.born).slot if worn else None

    def _next_worn(self) -> float:
        """When the next program will have reached `max_age`, on the pool's clock."""
        born = (self.pool.workers[slot.worker].born for slot in self.pool.slots if slot.worker)
        return min(born, default=FOREVER) + (self.pool.settings.max_age or FOREVER)

    async def _prove(self, worker: Worker) -> None:
        """Let a new program start, then wait until it has given a valid reply, has failed, or has stayed alive."""
        await trio.sleep(_REST)
        if worker.state is not State.READY:
            return
        decided = _event(self.pool.workers[worker].proof, worker.end)
        self.pool.employ(worker)
        with trio.move_on_after(_PROOF):
            await decided.wait()

    async def _dismiss(self, worker: Worker) -> None:
        """Stop a program that is no longer needed, after the query it has."""
        self.pool.dismiss(worker)
        await _event(worker.retirement).wait()  # it may have a query, which ends at its deadline at the latest
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


def _event(*latches: Latch) -> trio.Event:
    """An event that is set with the first of `latches`."""
    event = trio.Event()
    for latch in latches:
        latch.then(event.set)
    return event
