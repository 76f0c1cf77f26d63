"""Logs, rate-limited, how a pool's programs failed, what they wrote on stderr, and when all were down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from bridge.log.events import event, log
from bridge.log.ratelimit import RateLimited
from bridge.pool.chatter import Chatter, Sort
from bridge.pool.figures import Figures
from bridge.protocol.checks import shape_of
from bridge.protocol.query import Query
from bridge.worker.stderrlines import Lines
from bridge.worker.worker import Worker

_LOOKED_AT = 100
"""Lines of those read at once: whoever writes more is flooding, and telling its lines apart would cost others time."""


class PoolLog:
    """The log of one pool.

    Args:
      pool: its name.
      argv: the program it starts, with its arguments, which are not shown.
      figures: the pool's; read only.
      clock: seconds.
    """

    def __init__(self, pool: str, argv: Sequence[str], figures: Figures, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._argv = argv
        self._program = argv[0]
        self._figures = figures
        self._clock = clock
        self._failures = RateLimited(5, 60.0, clock)
        self._stderr = {sort: RateLimited(*sort.value, clock) for sort in Sort}
        self._chatter = Chatter(clock)
        self._down_since: float | None = None
        self._unavailable_before = 0
        self._answered_before = 0

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

    def cannot_start(self, reason: str) -> None:
        """A program could not be started."""
        self._warn("program cannot be started", reason=reason, program=self._program)

    def program_ended(self, worker: Worker, reason: str, query: Query | None) -> None:
        """A program is gone; if there is a `reason`, it failed, perhaps because of the `query` it had."""
        if reason:
            ended = {"pid": worker.pid, "status": worker.status, "served": worker.served}
            query = worker.blamed or query
            asked = {"question": shape_of(query.body)} if query is not None and query.asks else {}
            self._warn("program failed", reason=reason, program=self._program, **asked, **ended, **self._hint(worker))
        else:
            log.debug(event("program exited", pool=self._pool, pid=worker.pid, served=worker.served))

    def _hint(self, worker: Worker) -> dict[str, str]:
        """What may be wrong with a command whose program has never given a reply."""
        if worker.served:
            return {}
        from bridge.worker.startfault import shell_syntax  # late: it is seldom needed

        syntax = shell_syntax(self._argv)
        return {"hint": syntax} if syntax else {}

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
        if not log.isEnabledFor(level):
            return
        for number, line in enumerate(lines):
            if number == _LOOKED_AT:
                self._stderr[Sort.CHATTER].suppress("", len(lines) - number)
                return
            limited = self._stderr[self._chatter.sort_of(line)]
            limited.log(level, "", "program says", pool=self._pool, pid=worker.pid, stderr=line)

    def _warn(self, message: str, **fields: object) -> None:
        self._failures.log(logging.WARNING, message, message, pool=self._pool, **fields)
