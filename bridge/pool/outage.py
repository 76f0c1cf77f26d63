"""Says in the log that a pool is down, and that it is back: once each, with what came of it."""

from __future__ import annotations

from collections.abc import Callable

from bridge.log.events import event, log
from bridge.pool.slot import Figures


class Outage:
    """Of one pool, by turns."""

    def __init__(self, pool: str, figures: Figures, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._figures = figures
        self._clock = clock
        self._began: float | None = None
        self._unavailable_before = 0

    def begin(self, programs: int) -> None:
        """None of so many programs runs, and none is to be started at once."""
        if self._began is None:
            self._began = self._clock()
            self._unavailable_before = self._figures.unavailable
            log.error(event("pool is down", pool=self._pool, programs=programs))

    def end(self) -> None:
        """A program has given a good reply."""
        if self._began is None:
            return
        seconds, self._began = self._clock() - self._began, None
        unavailable = self._figures.unavailable - self._unavailable_before
        log.warning(event("pool is back", pool=self._pool, down_seconds=round(seconds, 1), unavailable=unavailable))
