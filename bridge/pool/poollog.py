"""Logs, rate-limited, how a pool's programs failed, what they wrote on stderr, and when all were down.

Of what they write, neither a flood nor chatter hides the line that tells what is wrong:

  - A kind of line is what is left of its beginning without digits: a time or a pid makes no line new.
  - The first lines of each kind are logged, as far as all new kinds together stay within a limit.  What goes on after
    that is chatter, all of which has a limit of its own, so that it takes nothing away from new lines.
  - A line that looks like a complaint has its own limit too: chatter may be of a new kind each time, with a name in it.
"""

from __future__ import annotations

import contextlib
import enum
import logging
from collections.abc import Callable, Sequence

from bridge.log.events import event, log
from bridge.log.ratelimit import RateLimited
from bridge.log.tokenbucket import TokenBucket
from bridge.pool.figures import Figures
from bridge.protocol.checks import shape_of
from bridge.protocol.query import Query
from bridge.worker.stderrlines import Line, Lines
from bridge.worker.worker import Worker

_OF_A_KIND = 5
_AGAIN = 60.0
"""Lines of one kind that are new, in so many seconds."""

_KINDS = 256
"""Those remembered; a program that has more kinds of lines is within the limit for new ones anyway."""

_COMPLAINTS = (
    *(b"error", b"warn", b"fail", b"fatal", b"exception", b"traceback", b"panic", b"denied", b"refused", b"cannot"),
    *(b"can't", b"could not", b"unable", b"timeout", b"timed out", b"gone away", b"not found", b"no such", b"invalid"),
)

_LOOKED_AT = 100
"""Lines of those read at once: whoever writes more is flooding, and telling its lines apart would cost others time."""


class Sort(enum.Enum):
    """What a line is, for the limit that applies to it: lines, and in how many seconds."""

    NEW = 40, 20.0
    COMPLAINT = 20, 20.0
    CHATTER = 5, 20.0


class Chatter:
    """Tells new lines from chatter.

    Args:
      clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kinds: dict[int, TokenBucket] = {}

    def sort_of(self, line: Line) -> Sort:
        """What a line is; it counts as one of its kind from now on."""
        start = line.start()
        kind = hash(start.translate(None, b"0123456789"))
        bucket = self._kinds.pop(kind, None) or TokenBucket(_OF_A_KIND / _AGAIN, _OF_A_KIND, self._clock)
        self._kinds[kind] = bucket  # the latest last
        if len(self._kinds) > _KINDS:
            del self._kinds[next(iter(self._kinds))]
        if not bucket.take():
            return Sort.CHATTER
        start = start.lower()
        return Sort.COMPLAINT if any(word in start for word in _COMPLAINTS) else Sort.NEW


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
        with contextlib.suppress(Exception):  # no descriptor for the import, no memory: it is no time to be thorough
            from bridge.worker.startfault import shell_syntax  # late: it is seldom needed

            if not worker.served and (syntax := shell_syntax(self._argv)):
                return {"hint": syntax}
        return {}

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
