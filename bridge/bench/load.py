"""A service's client that measures its only pool: phase after phase, with nothing in flight between two of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.bench.phases import Job, Phase, Sized, WarmUp
from bridge.log.events import event, log
from bridge.protocol.query import Query

if TYPE_CHECKING:
    from bridge.config.settings import Settings
    from bridge.pool.poolset import PoolSet

_LOOK = 0.02
"""Seconds between looks at how far it is."""


class Load:
    """A service's client that measures its only pool.

    Args:
      over: called when the service may stop.
      show: called now and then with what is done, and the share of it that is over, from 0 to 1.

    Attributes:
      sized: the result, as far as there is one.
      interrupted: it was told to stop.
    """

    def __init__(
        self, job: Job, poolset: PoolSet, over: Callable[[], None], show: Callable[[str, float], None]
    ) -> None:
        (self.pool,) = poolset.pools.values()
        self.job = job
        self.reactor = poolset.reactor
        self.clock = poolset.clock
        self.sized: Sized | None = None
        self._trouble: Callable[[], str] | None = None
        self.interrupted = False
        self.startup = 0.0
        self._router = poolset.router
        self._over = over
        self._show = show
        self._asked: dict[Query, float] = {}  # in flight, and when each was meant to be asked
        self._born = self.clock()
        self._phase: Phase = WarmUp(self)
        self._timer = self.reactor.call_at(self.clock(), self._begin)

    def ask(self, intended: float) -> None:
        """Ask the next query, which was meant to be asked at this time."""
        (query,) = self._router.ask([self.job.line()], self)
        if query.settled:
            self._phase.ended(query, intended)
        else:
            self._asked[query] = intended

    def settled(self, query: Query) -> None:
        """A query has ended."""
        intended = self._asked.pop(query, None)
        if intended is not None:  # otherwise `ask` has not seen it yet
            self._phase.ended(query, intended)

    def failed(self, error: Exception) -> None:
        """End everything after an error of ours."""
        log.error(event("internal error, please report it", error=error))
        self.give_up(lambda: "an internal error")
        self._over()

    @property
    def trouble(self) -> str:
        """Why there is no result, or only a part of one; one line without secrets, or empty."""
        return self._trouble() if self._trouble is not None else ""

    def give_up(self, why: Callable[[], str]) -> None:
        """Measure no further; why is asked for at the end, when more may be known."""
        self._trouble = why

    def _begin(self) -> None:
        self._timer = self.reactor.call_at(self.clock() + _LOOK, self._look)
        self._phase.begin()

    def _look(self) -> None:
        """See how far it is, and go on to the next phase if this one is over."""
        now, phase = self.clock(), self._phase
        self._show(phase.name, min(phase.progress(now), 1.0))
        if not phase.over or (self._asked and self._trouble is None):
            self._timer.set(now + _LOOK)
            return
        self._conclude(True)
        following = phase.following()
        if self._trouble is not None or following is None:
            self._over()
        else:
            self._phase = following
            self._begin()

    def _conclude(self, complete: bool) -> None:
        """Keep what the present phase has measured."""
        self.sized = self._phase.result(self.sized, complete) or self.sized

    def reconfigure(self, settings: Settings) -> None:
        """Nothing to do: what is measured does not change."""

    def stop(self) -> None:
        """Interrupted: keep what there is."""
        if not self.interrupted:
            self.interrupted = True
            self._timer.cancel()
            self._conclude(False)
        self._over()

    abort = stop

    def close(self) -> None:
        """Nothing to close."""

    def warmed_up(self) -> None:
        """All programs have replied."""
        self.startup = self.clock() - self._born
