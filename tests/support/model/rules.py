"""What must hold whatever programs, clients and time do.

What is broken is noted, as the bridge may handle the errors of those it calls, and raised by `check`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.log.events import log
from bridge.pool.record import Standing
from bridge.pool.shared import Shared
from bridge.protocol.query import Query, Verdict
from bridge.worker.state import State
from bridge.worker.worker import Worker
from support.model.programs import FOREVER, Frame, Program

if TYPE_CHECKING:
    from support.model.site import Site

SECRET = "hunter2"
"""Part of every secret, and of nothing else."""

_OVERDUE = 0.01
"""Seconds by which a query's end may be late, while the bridge is not stopped."""

_SOON = 0.4
"""Seconds: a few rounds."""

_LITTLE = 0.5
"""Share of `answer_timeout` that a program has, at least, for a question of an account whose questions did harm."""

_ROUNDING = 1e-6


class Client:
    """Whoever asks.

    Attributes:
      latest: the deadline of its last query.
      more: bodies that it asks from within its next answers, one each.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.latest = 0.0
        self.more: list[bytes] = []

    def settled(self, query: Query) -> None:
        self.site.rules.settled(query)
        if self.more:
            self.site.ask(self, [self.more.pop()])

    def failed(self, error: Exception) -> None:
        self.site.rules.note(f"an asker was told of an error: {error!r}")


class Rules(logging.Handler):
    """Watches one site, and its log.

    Attributes:
      open: queries without a verdict, and when each has to end.
    """

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.pool = site.pool
        self.open: dict[Query, float] = {}
        self._asked: dict[Query, float] = {}
        self._frames: dict[Query, list[tuple[Program, Frame]]] = {}
        self._workers: dict[Program, Worker] = {}  # without those whose process is gone
        self._timeouts = [(-FOREVER, self.pool.settings.answer_timeout)]
        self._broken: list[str] = []
        self._seen: list[Program] = []  # that have replied, as the bridge knows
        self._harmful: set[bytes] = set()
        self._failures: list[float] = []
        self._proved_at = -FOREVER
        self._level = log.level
        log.setLevel(logging.DEBUG)
        log.addHandler(self)

    def note(self, what: str) -> None:
        """This is broken."""
        self._broken.append(f"{what} (at {self.site.now - 1000:.4f})")

    def close(self) -> None:
        log.removeHandler(self)
        log.setLevel(self._level)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if SECRET in line or "internal error" in line:
            self.note(f"the log says: {line}")

    # --- queries ---------------------------------------------------------------------------------------------

    def asked(self, queries: Sequence[Query]) -> None:
        for query in queries:
            self.open[query], self._asked[query] = query.deadline, self.site.now

    def settled(self, query: Query) -> None:
        """Once each; and an answer is what a program gave to this very question, in time."""
        now, deadline = self.site.now, self.open.pop(query, None)
        if deadline is None:
            self.note("a query is settled twice")
        elif query.verdict is not Verdict.UNAVAILABLE:
            if now >= deadline:
                self.note(f"{query.verdict} after the deadline")
            if not any(frame.reply is query.verdict and frame.replied <= now for frame in self._frames_of(query)):
                self.note(f"{query.verdict}, which no program said of {_shown(query)}")

    def _frames_of(self, query: Query) -> list[Frame]:
        """Those of this query; identical `isuser` that waited at the same time may share theirs."""
        frames = [frame for _, frame in self._frames.get(query, ())]
        if query.body.startswith(b"isuser:"):
            for other, others in self._frames.items():
                if other.body == query.body:
                    frames += [frame for _, frame in others if frame.handed >= self._asked[query]]
        return frames

    def withdrawn(self, client: Client) -> None:
        """What no program has of this client has ended."""
        with_programs = {query for queries in self._with_programs() for query in queries}
        if any(query.asker is client and query not in with_programs for query in self.open):
            self.note("a query goes on waiting although it was withdrawn")

    def _with_programs(self) -> list[Sequence[Query]]:
        """The queries that programs have now, those together that share a question."""
        held = [worker.query for worker in self.pool.workers]
        return [query.sharers.queries if isinstance(query, Shared) else [query] for query in held if query is not None]

    # --- programs --------------------------------------------------------------------------------------------

    def started(self, program: Program, worker: Worker) -> None:
        """Never too many at a time."""
        self._workers[program] = worker
        worker.end.then(lambda: self._ended(program))
        most, settings = self.pool.program.pool_max, self.pool.settings
        renews = most > 1 and bool(settings.max_requests or settings.max_age)
        if len(self.alive) > most + renews:
            self.note(f"{len(self.alive)} programs run, of at most {most}")

    @property
    def alive(self) -> list[Program]:
        """Programs whose process has not ended."""
        return [*self._workers]

    def usable(self, program: Program) -> bool:
        return program in self._workers and self._workers[program].state is State.ASKABLE

    def handing(self, program: Program, query: Query) -> None:
        """One frame at a time; nothing that has ended; and nothing twice that may change something."""
        if not self.usable(program):
            self.note("a program is asked that may not be")
        if program.frame is not None:
            self.note("two frames are with one program")
        if not query.asks:
            return
        if query.verdict is not None or self.site.now >= query.deadline:
            self.note("a query is asked that has ended, or should have")
        before = self._frames.get(query, [])
        read = [(other, frame) for other, frame in before if frame.read < FOREVER]
        if query.repeatable:
            for other, frame in read:
                frame.taken_back = frame.taken_back or not other.is_gone
            if sum(not frame.taken_back for _, frame in read) > 1:
                self.note("a query is asked again although two programs died of it")
            return
        if read:
            self.note("what changes something is asked again although a program has read it")
        if not program.proven and any(self.usable(other) for other in self._seen):
            self.note("what changes something is asked of a program that never replied, while another one has")

    def handed(self, program: Program, frame: Frame) -> None:
        self._frames.setdefault(frame.query, []).append((program, frame))

    def hastened(self, answer_timeout: float) -> None:
        self._timeouts.append((self.site.now, answer_timeout))
        for query, deadline in self.open.items():
            self.open[query] = min(deadline, self.site.now + answer_timeout)

    def killing(self, program: Program, reason: str) -> None:
        """Never for time that was not its own."""
        if "internal error" in reason:
            self.note(reason)
        healthy = not program.is_gone and not program.misbehaved and self.usable(program)
        if healthy and (wrong := self._wrong_with_killing(program)):
            self.note(f"a healthy program is killed, {wrong}: {reason}")
        self._harmful |= {_account(frame.query) for frame in program.frames[-2:]}

    def _wrong_with_killing(self, program: Program) -> str:
        """What is wrong with killing a program that did nothing wrong but take long; empty if nothing is."""
        frame, now, settings = program.frame, self.site.now + _ROUNDING, self.pool.settings
        if frame is None:
            return "which had nothing to do"
        query, held = frame.query, now - frame.handed
        is_over = now >= query.deadline and query.asks
        if is_over and self.pool.workers[self._workers[program]].standing is Standing.LEAVING:
            return ""
        if _account(query) in self._harmful and held >= self._patience(frame) * _LITTLE:
            return ""
        if is_over and not query.repeatable:  # or it might happen after all
            return ""
        if held < self._patience(frame):
            return f"after {held:.3f} s"
        starting = not program.proven and now < program.frames[0].handed + settings.start_timeout
        if starting and not self._knows_starts():
            return f"while it was starting, after {held:.3f} s"
        return ""

    def _knows_starts(self) -> bool:
        """Whether some program has started, so that the pool may take a longer start for a program that hangs, once."""
        return self._proved_at >= 0 or any(program.proven for program in self._workers)

    def _patience(self, frame: Frame) -> float:
        """The shortest `answer_timeout` in force since it was handed over."""
        before = [seconds for when, seconds in self._timeouts if when <= frame.handed]
        return min([before[-1], *(seconds for when, seconds in self._timeouts if when > frame.handed)])

    def cannot_start(self) -> None:
        self._failures.append(self.site.now)

    def failures_in_a_row(self) -> int:
        """Starts that did not lead to a reply, since one has."""
        proved = [program.frames[0].replied for program, worker in self._workers.items() if worker.served]
        return sum(when >= max([self._proved_at, *proved]) for when in self._failures)

    def _ended(self, program: Program) -> None:
        if self._workers.pop(program).served:
            self._proved_at = max(self._proved_at, program.frames[0].replied)
        else:
            self._failures.append(self.site.now)
        self._harmful |= {_account(frame.query) for frame in program.frames[-2:]}

    # --- at rest ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Whenever all that was to happen has happened."""
        now, pool = self.site.now, self.pool
        self._seen = [program for program in self._workers if program.proven]
        with_programs = self._with_programs()
        sharing = sum(max(0, len(queries) - 1) for queries in with_programs)
        if pool.in_flight != len(self.open) - sharing:
            self.note(f"in_flight is {pool.in_flight}, of {len(self.open)} queries, {sharing} of which share others'")
        if any(deadline < now - _OVERDUE for deadline in self.open.values()):
            self.note("a query is overdue")
        if self.open and (free := [program for program in self._workers if self._is_free(program)]):
            waiting = self.open.keys() - {query for queries in with_programs for query in queries}
            if any(_account(query) not in self._harmful for query in waiting):
                self.note("a query waits although a program is free")
            since = min(program.frames[-1].replied for program in free)
            if now >= max(since, self.site.stopped_at) + _SOON and any(map(self._is_left, self._workers)):
                self.note("a query is left with a program that is starting although another one is free")
        assert not self._broken, "; ".join(self._broken)

    def _is_left(self, program: Program) -> bool:
        """Whether a query that could be asked elsewhere has been unread for a while by a program that is starting."""
        frame = program.frame
        if frame is None or program.proven or frame.read < FOREVER or self._workers[program].query is not frame.query:
            return False
        query = frame.query
        is_open = query in self.open and query.repeatable and _account(query) not in self._harmful
        return is_open and self.site.now >= frame.handed + _SOON

    def _is_free(self, program: Program) -> bool:
        """Whether it has shown that it answers, and has nothing to do."""
        if not program.proven or program.frame is not None or program.is_gone or not self.usable(program):
            return False
        return self.pool.workers[self._workers[program]].standing is not Standing.LEAVING


def _account(query: Query) -> bytes:
    return query.body.split(b":")[1]


def _shown(query: Query) -> str:
    return query.body.decode().replace(SECRET, "…")
