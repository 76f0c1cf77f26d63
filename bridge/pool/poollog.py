"""Logs, rate-limited, how a pool's programs failed, what they wrote on stderr, and when all were down."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bridge.log.events import describe, event, log
from bridge.log.ratelimit import RateLimited
from bridge.pool.figures import Figures
from bridge.protocol.checks import shape_of
from bridge.protocol.query import Query
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
        self._answered_before = 0

    @property
    def is_down(self) -> bool:
        """Whether that was said, and no program has answered since."""
        return self._down_since is not None

    def down(self, programs: int, cause: str) -> None:
        """No program of the pool can answer, and that will not change at once."""
        if self._down_since is None:
            self._down_since = self._clock()
            self._unavailable_before = self._figures.unavailable
            self._answered_before = self._figures.answered
            self._failures.log(logging.ERROR, "down", "pool is down", pool=self._pool, programs=programs, cause=cause)

    def answers(self, answered: int) -> None:
        """The pool has given this many valid replies: if it was down, it is back after another one."""
        if self._down_since is not None and answered > self._answered_before:
            self.back()

    def back(self) -> None:
        """A program has given its first valid reply."""
        if self._down_since is None:
            return
        seconds, self._down_since = self._clock() - self._down_since, None
        unavailable = self._figures.unavailable - self._unavailable_before
        fields = {"down_seconds": round(seconds, 1), "unavailable": unavailable}
        self._failures.log(logging.WARNING, "back", "pool is back", pool=self._pool, **fields)

    def cannot_start(self, error: Exception) -> None:
        """A program could not be started."""
        self._warn("program cannot be started", reason=describe(error), program=self._program)

    def program_ended(self, worker: Worker, reason: str, query: Query | None) -> None:
        """A program is gone; if there is a `reason`, it failed, perhaps because of the `query` it had."""
        if reason:
            ended = {"pid": worker.pid, "status": worker.status, "served": worker.served}
            query = worker.blamed or query
            asked = {"question": shape_of(query.body)} if query is not None and query.asks else {}
            self._warn("program failed", reason=reason, program=self._program, **asked, **ended)
        else:
            log.debug(event("program exited", pool=self._pool, pid=worker.pid, served=worker.served))

    def convicted(self, query: Query, pause: float) -> None:
        """A question hung or ended programs while others were answered well."""
        what = "a question does harm to programs: it is not asked again for a while"
        self._warn(what, question=shape_of(query.body), seconds=round(pause))

    def not_asked_again(self, query: Query) -> None:
        """The same question came again too soon."""
        self._warn("a question was not asked again, as it did harm to programs", question=shape_of(query.body))

    def may_not_kill(self, worker: Worker) -> None:
        """A program goes on although it was to be killed."""
        self._warn("a program may not be killed: it has changed its user", pid=worker.pid, program=self._program)

    def too_long(self, size: int) -> None:
        """A question of `size` bytes cannot be asked, which is no program's fault."""
        what = "question cannot be asked: no pipe is large enough for it (fs.pipe-user-pages-soft)"
        self._warn(what, bytes=size)

    def program_wrote(self, worker: Worker, lines: Lines, told_to_exit: bool) -> None:
        """A program wrote `lines` on stderr; only those that are logged cost time.

        Args:
          told_to_exit: and it has not failed; some exit with a traceback.
        """
        level = logging.DEBUG if told_to_exit else logging.WARNING
        for number, line in enumerate(lines):
            if not self._stderr.log(level, "", "program says", pool=self._pool, pid=worker.pid, stderr=line):
                self._stderr.suppress("", len(lines) - number - 1)
                return

    def _warn(self, message: str, **fields: object) -> None:
        self._failures.log(logging.WARNING, message, message, pool=self._pool, **fields)
