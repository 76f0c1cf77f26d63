"""Logs, rate-limited, how a pool's programs failed, what they wrote on stderr, and when all were down."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bridge.log.events import describe, event, log
from bridge.log.ratelimit import RateLimited
from bridge.pool.slot import Figures
from bridge.worker.stderrlines import Lines
from bridge.worker.worker import Worker


class PoolLog:
    """The log of one pool.

    Args:
      pool: its name.
      program: the program it starts.
      figures: the pool's; read only.
      clock: seconds.
    """

    def __init__(self, pool: str, program: str, figures: Figures, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._program = program
        self._figures = figures
        self._clock = clock
        self._failures = RateLimited(5, 60.0, clock)
        self._stderr = RateLimited(40, 20.0, clock)
        self._down_since: float | None = None
        self._unavailable_before = 0

    def down(self, programs: int) -> None:
        """None of the pool's programs runs, and none will be started at once."""
        if self._down_since is None:
            self._down_since = self._clock()
            self._unavailable_before = self._figures.unavailable
            log.error(event("pool is down", pool=self._pool, programs=programs))

    def back(self) -> None:
        """A program has given its first valid reply."""
        if self._down_since is None:
            return
        seconds, self._down_since = self._clock() - self._down_since, None
        unavailable = self._figures.unavailable - self._unavailable_before
        log.warning(event("pool is back", pool=self._pool, down_seconds=round(seconds, 1), unavailable=unavailable))

    def cannot_start(self, error: Exception) -> None:
        """A program could not be started."""
        self._warn("program cannot be started", reason=describe(error), program=self._program)

    def program_ended(self, worker: Worker, reason: str) -> None:
        """A program is gone; if there is a `reason`, it failed."""
        if reason:
            ended = {"pid": worker.pid, "status": worker.status, "served": worker.served}
            self._warn("program failed", reason=reason, program=self._program, **ended)
        else:
            log.debug(event("program exited", pool=self._pool, pid=worker.pid, served=worker.served))

    def may_not_kill(self, worker: Worker) -> None:
        """A program goes on although it was to be killed."""
        self._warn("a program may not be killed: it has changed its user", pid=worker.pid, program=self._program)

    def too_long(self, size: int) -> None:
        """A question of `size` bytes cannot be asked, which is no program's fault."""
        what = "question cannot be asked: no pipe is large enough for it (fs.pipe-user-pages-soft)"
        self._warn(what, bytes=size)

    def program_wrote(self, worker: Worker, lines: Lines) -> None:
        """A program wrote `lines` on stderr; only those that are logged cost time."""
        for number, line in enumerate(lines):
            if not self._stderr.log(logging.WARNING, "", "program says", pool=self._pool, pid=worker.pid, stderr=line):
                self._stderr.suppress("", len(lines) - number - 1)
                return

    def _warn(self, message: str, **fields: object) -> None:
        self._failures.log(logging.WARNING, message, message, pool=self._pool, **fields)
