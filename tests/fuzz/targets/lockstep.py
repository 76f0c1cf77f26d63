"""A client on a program's terminal, and whoever types lines into its passwords.

At most one answer, to the question that is open, while somebody waits for it; never one for a line that came with
another.

The reference keeps every burst since nothing was open, with its time, and works out from them what is asked.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import cast

from support.clock import Clock
from support.inmemory.pools import made

from bridge.clients.lockstep import GRACE_AFTER_TIMEOUT, LockstepSession
from bridge.loop.reactor import Reactor
from bridge.pool.pool import Pool
from bridge.pool.router import Router
from bridge.protocol.query import Query, Verdict
from bridge.terminal.gate import Gate
from bridge.terminal.watcher import Look, Watcher
from fuzz.engine import Check
from fuzz.source import Source
from fuzz.streams import Stream, until_each_timer
from fuzz.targets.lines import may_pass

LIMIT, TIMEOUT = 40, 4.0
BURST, WHOLE = 0.050, 2048  # seconds, and bytes: as the rule has them

LINES = (
    *(b"auth:a:h:p\n", b"isuser:a:h\n", b"setpass:a:h:p\r\n", b"bogus\n", b"\n", b"auth:a:h:p", b"\nauth:b:h:p\n"),
    *(b"auth:a:h:auth:b:h:x\n", b"isuser:b:h\nisuser:c:h\n", b"x" * 60, b"y" * 60 + b"\n", b":h\n", b"\r", b"auth:a:"),
)
TOKENS = LINES
_TIMES = (0.001, 0.007, 0.049, 0.051, 0.2, 0.7, 4.1, 5.5)
_LOOKS = (Look.WAITING, Look.ELSEWHERE, Look.BUSY, Look.UNSEEN)
_COMMANDS = ("auth", "isuser", "setpass")
_ANOTHER = rb"(?s)(?=(?:auth|isuser|setpass|tryregister|removeuser3?):).*:"


@contextlib.contextmanager
def target() -> Iterator[Check]:
    yield check


class Reference:
    """What the client's bursts mean.

    Attributes:
      line: the open question, without its line end; `None` if there is none, or if it is a violation.
      violation: the open question is one; it may be answered `0` once it has been `quiet`.
      since, last: when the question was there; when the last bytes came.
      query: that of the line, once it was asked.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.bursts: list[tuple[float, bytes]] = []
        self.line: bytes | None = None
        self.violation = False
        self.query: Query | None = None

    @property
    def is_open(self) -> bool:
        return self.violation or self.line is not None

    def heard(self, data: bytes, now: float) -> None:
        if self.line is not None:
            if now - self.last > BURST:
                self.clear()  # the client gave up
            else:
                self.violation, self.line, self.query = True, None, None
            self.since = now
        self.last = now
        if self.violation:
            return
        self.bursts.append((now, data))
        whole = b"".join(part for _, part in self.bursts)
        if b"\n" in whole:
            self.since = now
            if self.is_clean(whole):
                self.line = whole[:-1].removesuffix(b"\r")
            else:
                self.violation = True

    def is_clean(self, whole: bytes) -> bool:
        """One line alone, in one piece, or in pieces as long as a terminal makes them; and not two in one."""
        size, begun = 0, self.bursts[0][0]
        for _, part in self.bursts[:-1]:
            size += len(part)
            if min(size, LIMIT + 2) < WHOLE:
                return False
        hidden = holds_another(whole[:-1].removesuffix(b"\r"))
        return whole.count(b"\n") == 1 and whole[-1:] == b"\n" and self.last - begun <= BURST and not hidden


def holds_another(line: bytes) -> bool:
    fields = line.split(b":", 3)
    return len(line) <= LIMIT and len(fields) == 4 and bool(re.search(_ANOTHER + re.escape(fields[2]), fields[3]))


class Scene:
    """The session, its pool, and its terminal; what each does is checked as it does it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reactor = Reactor(clock=self.clock)
        self.reference = Reference()
        self.stream = Stream(self.written, self.heard)
        self.asked: list[Query] = []
        self.looks: list[tuple[Look, bytes]] = []
        self.seen = Look.BUSY
        self.was_blind = self.blind = False
        self.answers = 0
        self.ended = self.over = False
        settings = made(max_line=LIMIT, answer_timeout=TIMEOUT)
        assert settings.program is not None
        self.program = settings.program
        router = Router(settings, self.clock)
        router.connect(settings, cast("Pool", self), {})
        router.warn = self.warned  # type: ignore[method-assign]
        gate = Gate(cast("Watcher", self))
        self.session = LockstepSession(*[self.stream.source] * 2, router, self.reactor, self.finished, gate)

    def close(self) -> None:
        self.session.close()
        self.reactor.close()
        self.stream.close()

    def finished(self) -> None:
        assert not self.over
        self.over = True

    # --- as a pool --------------------------------------------------------------------------------------------

    def ask(self, queries: Sequence[Query]) -> None:
        (query,) = queries
        assert not self.ended, "asked after its end"
        assert self.reference.line == query.body and self.reference.query is None, "asked what is no question"
        self.reference.query = query
        self.asked.append(query)

    def withdraw(self, asker: object) -> None: ...

    def settle(self, number: int, verdict: Verdict) -> None:
        if self.asked:
            self.asked[number % len(self.asked)].settle(verdict)

    # --- as a watcher -----------------------------------------------------------------------------------------

    def look(self) -> Look:
        self.seen, between = (
            self.looks.pop(0) if len(self.looks) > 1 else self.looks[0] if self.looks else (Look.WAITING, b"")
        )
        if between:
            self.looks[:] = [(look, b"") for look, _ in self.looks]
            self.stream.arrive(between)
        if self.seen is not Look.BUSY:
            self.was_blind, self.blind = self.blind, self.seen is Look.UNSEEN
        return self.seen

    # --- as a terminal ----------------------------------------------------------------------------------------

    def heard(self, data: bytes) -> None:
        self.reference.heard(data, self.clock.now)

    def written(self, data: bytes) -> None:
        now, reference = self.clock.now, self.reference
        assert not self.over and data in (b"1\n", b"0\n"), "this is no answer"
        assert reference.is_open, "nobody asked"
        assert not self.stream.unread, "it did not look whether there is more"
        assert self.seen is Look.WAITING or (self.seen is Look.UNSEEN and self.was_blind), "nobody waits for it"
        if reference.violation:
            assert data == b"0\n", "a violation was answered yes"
            assert now >= reference.last + BURST, "a violation was answered while it went on"
        else:
            assert now <= reference.since + TIMEOUT + GRACE_AFTER_TIMEOUT
            query = reference.query
            granted = query is not None and query.verdict is Verdict.GRANTED
            assert (query is None and not self.is_good(reference.line)) or (query is not None and query.settled)
            assert (data == b"1\n") == granted
        self.answers += 1
        reference.clear()

    def warned(self, message: str, **fields: object) -> None:
        if isinstance(error := fields.get("error"), Exception):
            raise error
        if message == "answer not written":
            late = self.clock.now > self.reference.since + TIMEOUT + GRACE_AFTER_TIMEOUT
            unseen = self.seen is Look.ELSEWHERE or (self.seen is Look.UNSEEN and not self.was_blind)
            assert late or unseen, "an answer was dropped that somebody waits for"
            self.reference.clear()
        else:
            assert message == "client gave up on a question"

    def is_good(self, line: bytes | None) -> bool:
        return line is not None and len(line) <= LIMIT and may_pass(line, _COMMANDS)

    # --- what happens -----------------------------------------------------------------------------------------

    def run(self) -> None:
        for _ in range(4):
            self.reactor.run_once()
        reference = self.reference
        if not self.ended and not self.stream.unread:
            assert reference.is_open != self.session.idle, "a question was not noticed, or answered without a word"
            assert not self.is_good(reference.line) or reference.query is not None, "a question was not asked"

    def wait(self, seconds: float) -> None:
        for _ in until_each_timer(self.clock, self.reactor, seconds):
            self.run()

    def end(self, how: int) -> None:
        self.ended = True
        if how == 0:
            self.stream.hang_up()
        elif how == 1:
            self.session.stop()
        else:
            self.session.abort()

    def goes_on(self) -> None:
        """Whatever was, the next good question gets its answer."""
        self.looks[:] = [(Look.WAITING, b"")]
        self.stream.full = False
        for query in self.asked:
            query.settle(Verdict.DENIED)
        self.wait(10.0)
        assert self.session.idle, "a question is open for ever"
        if self.reference.bursts:  # half a line: whatever comes next is a violation
            self.stream.arrive(b"\n")
            self.run()
            self.wait(10.0)
        before = self.answers
        self.stream.arrive(b"isuser:z:h\n")
        self.run()
        self.asked[-1].settle(Verdict.GRANTED)
        self.run()
        assert (self.answers, self.asked[-1].body) == (before + 1, b"isuser:z:h")


def check(data: bytes) -> None:
    source, scene = Source(data), Scene()
    try:
        while source:
            step(scene, source)
            scene.run()
        if not scene.ended:
            scene.goes_on()
    finally:
        scene.close()


def step(scene: Scene, source: Source) -> None:
    kind = source.below(16)
    if kind < 4:
        scene.stream.arrive(source.pick(LINES) if kind else source.take(source.below(32)))
        if source.below(2):
            return
    elif kind == 4:
        scene.stream.arrive(source.pick(LINES) + source.pick(LINES))
    elif kind < 8:
        scene.wait(source.pick(_TIMES))
    elif kind < 12:
        scene.settle(source.below(256), source.pick([*Verdict]))
    elif kind == 12:
        scene.looks[:] = [(source.pick(_LOOKS), b"") for _ in range(1 + source.below(6))]
    elif kind == 13:
        scene.looks[:] = [(source.pick(_LOOKS), source.pick(LINES)) for _ in range(1 + source.below(6))]
    elif kind == 14:
        scene.stream.full = not scene.stream.full
    elif not source.below(8):
        scene.end(source.below(3))
