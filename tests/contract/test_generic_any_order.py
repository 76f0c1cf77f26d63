"""A worker whose program speaks Prosody's lines, in any order of events: whose digit is it?

The worker is real, and so are its pipes; only the process is missing.  Time stands still until the test moves it.
What the program does is recorded as it happens, and each reply that the worker reports is held against that record.
"""

import math
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.examples import examples
from support.model.workers import PipeEnds

from bridge.loop.reactor import Reactor
from bridge.protocol import generic
from bridge.protocol.query import Query, Verdict
from bridge.worker.state import State
from bridge.worker.stderrlines import Lines
from bridge.worker.worker import Worker

ALONE, AT_FIRST = 0.05, 0.3
"""Seconds after which a digit without a line end counts; the latter until one did."""

ANSWERED = re.compile(rb"(?:[01]\r?\n|[01])*\Z")
"""Whole replies."""


class Owner:
    """What the worker reports, as `when` sees the moment.

    Attributes:
      replies: bodies and verdicts, in order.
      failed: the reasons.
      breaches: of what must hold; the reactor would take an error for the worker's.
    """

    def __init__(self, check: Callable[[bytes, Verdict], None]) -> None:
        self.replies: list[tuple[bytes, Verdict]] = []
        self.failed: list[str] = []
        self.breaches: list[str] = []
        self._check = check

    def replied(self, worker: Worker, query: Query, verdict: Verdict) -> None:
        try:
            self._check(query.body, verdict)
        except AssertionError as breach:
            self.breaches.append(str(breach))
        self.replies.append((query.body, verdict))
        query.settle(verdict)

    def retired(self, worker: Worker) -> None: ...

    def replies_in_pieces(self) -> None:
        """All are careful here."""

    def failing(self, worker: Worker, reason: str) -> None:
        self.failed.append(reason)

    def ended(self, worker: Worker, query: Query | None, was_read: bool) -> None: ...

    def complained(self, worker: Worker, lines: Lines) -> None: ...

    def may_not_kill(self, worker: Worker) -> None: ...

    def settled(self, query: Query) -> None: ...


class Ends(PipeEnds):
    """A program's ends of its pipes, and a record of what it did.

    Attributes:
      written: all that it wrote.
      known: for each of these bytes, how many questions it had read before.
      reads: how many those are now.
      at: when it wrote last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.known: list[int] = []
        self.reads = 0
        self.at = -math.inf
        self.has_left = False

    def read_line(self) -> None:
        try:
            data = os.read(self._stdin, 1 << 16)
        except BlockingIOError:
            return
        assert data.count(b"\n") == 1 and data.endswith(b"\n"), data
        self.reads += 1

    def say(self, data: bytes, now: float) -> None:
        self.written += data
        self.known += [self.reads] * len(data)
        self.at = now
        self.write(data)

    def leave(self) -> None:
        self.has_left = True
        self.exit(0)


class Scene:
    """One worker, and a program that is played.

    Attributes:
      failed: why the worker failed before the end.
      stood_alone: a digit had to count without its line end.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.reactor = Reactor()
        self.reactor.clock = lambda: self.now
        self.ends = Ends()
        self.owner = Owner(self.check)
        self.given = 0
        self.failed: list[str] = []
        self.stood_alone = False
        self.worker = launched(self)

    # --- what happens

    def give(self) -> None:
        if not self.ends.has_left and self.worker.state is State.ASKABLE and self.worker.query is None:
            query = Query(b"auth:u%d:h:x" % self.given, math.inf, self.owner)
            self.given += self.worker.give(query)

    def read(self) -> None:
        if not self.ends.has_left:
            self.ends.read_line()

    def say(self, data: bytes) -> None:
        if not self.ends.has_left:
            self.ends.say(data, self.now)

    def leave(self) -> None:
        if not self.ends.has_left:
            self.ends.leave()

    def look(self) -> None:
        """The bridge does all that is to be done."""
        self.reactor.run_once()

    def later(self, milliseconds: int) -> None:
        self.now += milliseconds / 1000
        self.look()

    # --- what must hold

    def check(self, body: bytes, verdict: Verdict) -> None:
        """A reply is reported: it must be the program's, to this very question."""
        number = len(self.owner.replies)
        assert body == b"auth:u%d:h:x" % number, "another question's"
        written = bytes(self.ends.written)
        digits = [at for at, byte in enumerate(written) if byte in b"01"]
        assert number < len(digits), "a verdict from nowhere"
        at = digits[number]
        assert written[at : at + 1] == (b"1" if verdict is Verdict.GRANTED else b"0"), "another verdict than it gave"
        assert self.ends.known[at] == number + 1, "written before its question was read"
        assert ANSWERED.match(written[:at] + written[at : at + 1]), f"behind something else: {written!r}"
        behind = written[at + 1 :]
        assert re.fullmatch(rb"\r?\n?", behind), f"something stands behind it: {written!r}"
        waited = self.now - self.ends.at
        patience = ALONE if self.stood_alone else AT_FIRST
        whole = b"\n" in behind
        assert whole or self.ends.has_left or waited >= patience - 1e-6, f"after {waited * 1000:.0f} ms only"
        self.stood_alone = self.stood_alone or not whole

    def close(self) -> None:
        if not self.ends.has_left:
            self.ends.leave()
        self.later(1000)
        for _ in range(5):
            self.look()
        assert self.worker.state is State.GONE
        self.reactor.close()
        assert self.owner.breaches == [], bytes(self.ends.written)


def launched(scene: Scene) -> Worker:
    worker = Worker(scene.ends.process, scene.reactor, scene.owner, 4096, generic)
    worker.signal = lambda number: None  # type: ignore[method-assign]  # there is no process
    return worker


PIECES = (*(b"0", b"1", b"\n", b"\r", b"\r\n", b"0\n", b"1\n", b"1\r\n", b"\n1", b"\n0\n", b"1\n1\n", b"11", b"x"),)
EVENT = st.one_of(
    st.just(("give",)),
    st.just(("read",)),
    st.tuples(st.just("say"), st.sampled_from(PIECES)),
    st.just(("look",)),
    st.tuples(st.just("later"), st.sampled_from((1, 49, 51, 200, 301))),
)


def played(events: list[tuple[Any, ...]]) -> Scene:
    scene = Scene()
    try:
        for name, *arguments in events:
            getattr(scene, name)(*arguments)
        scene.failed = [*scene.owner.failed]
    finally:
        scene.close()
    return scene


BEGUN = (("give",), ("read",), ("say", b"1"), ("look",), ("later", 301))
"""A digit that stood alone: its line end is owed."""


@examples(400)
@given(
    st.tuples(st.sampled_from(((), BEGUN)), st.lists(EVENT, max_size=24)).map(lambda parts: [*parts[0], *parts[1]]),
    st.booleans(),
)
@example([*BEGUN, ("give",), ("say", b"\n1"), ("read",), ("later", 60)], True)
@example([*BEGUN, ("give",), ("say", b"\n"), ("look",), ("say", b"1"), ("read",), ("later", 60)], True)
@example([*BEGUN, ("give",), ("say", b"\n"), ("say", b"1"), ("read",), ("look",), ("later", 60)], True)
@example([*BEGUN, ("give",), ("say", b"\r"), ("look",), ("read",), ("say", b"\n1"), ("later", 60)], True)
@example([("give",), ("read",), ("say", b"1"), ("look",), ("later", 49), ("say", b"0\n"), ("look",)], True)
@example([*BEGUN, ("say", b"\r"), ("look",), ("give",), ("read",), ("say", b"1\n"), ("look",)], True)
@example([("say", b"1"), ("give",), ("read",), ("later", 60)], True)
@example([("give",), ("say", b"1"), ("look",), ("read",), ("later", 60)], True)
def test_no_digit_is_another_question_s(events: list[tuple[Any, ...]], leaves: bool) -> None:
    """Whatever the program writes, and whenever.  `Scene.check` looks at each reply."""
    scene = played([*events, *((("leave",), ("look",)) if leaves else ()), ("look",), ("later", 301), ("later", 301)])
    written, replies = bytes(scene.ends.written), len(scene.owner.replies)
    assert replies <= scene.given
    if replies < len(re.findall(rb"[01]", written)) or not re.fullmatch(rb"(?:[01](?:\r?\n)?)*\r?", written):
        assert scene.failed, "it goes on after what it wrote"


END = st.sampled_from((b"\n", b"\r\n", b""))
PAUSE = st.sampled_from(((), (("look",),), (("later", 1),), (("later", 20),), (("later", 51),), (("later", 299),)))
ANSWER = st.tuples(
    st.sampled_from((b"0", b"1")), END, st.sampled_from(("at once", "soon", "idle", "given", "read")), PAUSE
)


def honest(answers: list[tuple[bytes, bytes, str, tuple[tuple[Any, ...], ...]]]) -> list[tuple[Any, ...]]:
    """A program that answers each question once; line ends come behind, when idle, or with the next question."""
    events: list[tuple[Any, ...]] = []
    owed: tuple[bytes, str] = (b"", "")
    for digit, end, when, pause in answers:
        for moment in ("given", "read"):
            events.append(("give",) if moment == "given" else ("read",))
            if owed[1] == moment and owed[0]:
                events += [("say", owed[0]), ("look",), *pause]  # unseen it could be a second reply's
        if when == "at once":
            events += [("say", digit + end), *pause]
        else:
            events += [("say", digit), *pause]
            if when == "soon" and end:
                events += [("say", end)]
        events += [("look",), ("later", 301)]
        if when == "idle" and end:
            events += [("say", end), *pause]
        owed = (end, when)
    return events


@examples(150)
@given(st.lists(ANSWER, max_size=8), st.booleans())
def test_honest_answers_count_wherever_their_line_ends_are(answers: Any, leaves: bool) -> None:
    scene = Scene()
    try:
        for name, *arguments in honest(answers):
            getattr(scene, name)(*arguments)
        assert scene.owner.failed == []
        verdicts = [Verdict.GRANTED if digit == b"1" else Verdict.DENIED for digit, *_ in answers]
        assert [verdict for _, verdict in scene.owner.replies] == verdicts
    finally:
        scene.close()


@pytest.mark.parametrize("data", [b"1", b"1\n", b"0\n", b"\n", b"\r\n", b"x"])
def test_what_an_idle_program_says_ends_it(data: bytes) -> None:
    """Nothing is owed before there was an answer, nor behind one that had its line end."""
    assert played([("say", data), ("look",)]).failed
    answered = (("give",), ("read",), ("say", b"1\n"), ("look",))
    assert played([*answered, ("say", data), ("look",)]).failed


@pytest.mark.parametrize("data", [b"1", b"\n\n", b"\n1", b"\r\r", b"\r1", b"\n\r\n"])
def test_more_than_the_line_end_that_is_owed_ends_it(data: bytes) -> None:
    assert played([*BEGUN, ("say", data), ("look",)]).failed
    pieces = [event for byte in data for event in (("say", bytes((byte,))), ("look",))]
    assert played([*BEGUN, *pieces]).failed


LINE, DIGIT = b"1\n", b"1"
"""How the question before was answered: with a line end, or alone, so that one is owed."""

OUT_OF_TURN = [
    (LINE, ["1\n", "read"]),
    (LINE, ["1", "read"]),
    (LINE, ["1", "read", "\n"]),
    (LINE, ["1", "\n", "read"]),
    (LINE, ["1", "read", "0\n"]),
    (LINE, ["1", "leave"]),
    (LINE, ["1\n", "leave"]),
    (LINE, ["\n1\n", "read"]),
    (LINE, ["\n", "read", "1\n"]),
    (LINE, ["read", "1\n1\n"]),
    (LINE, ["read", "11\n"]),
    (LINE, ["read", "1\n\n"]),
    (DIGIT, ["1\n", "read"]),
    (DIGIT, ["1", "read"]),
    (DIGIT, ["\n1", "read"]),
    (DIGIT, ["\n1\n", "read"]),
    (DIGIT, ["\n", "1", "read"]),
    (DIGIT, ["\n1", "read", "\n"]),
    (DIGIT, ["\n1", "leave"]),
    (DIGIT, ["\n1\n", "leave"]),
    (DIGIT, ["\n\n", "read", "1\n"]),
    (DIGIT, ["\n", "read", "\n1\n"]),
    (DIGIT, ["read", "\n\n1\n"]),
    (DIGIT, ["\r", "read", "1\n"]),
]


@pytest.mark.parametrize("looks", [True, False], ids=["looks", "looks away"])
@pytest.mark.parametrize(("first", "steps"), OUT_OF_TURN)
def test_a_yes_out_of_turn_counts_for_nothing(first: bytes, steps: list[str], looks: bool) -> None:
    """Before its question was read, or more than one answer; the bridge looks at each step, or only afterwards."""
    events: list[tuple[Any, ...]] = [("give",), ("read",), ("say", first), ("look",), ("later", 301), ("give",)]
    for step in steps:
        events.append((step,) if step in ("read", "leave") else ("say", step.encode()))
        events += [("look",)] * looks
    scene = played([*events, ("look",), ("later", 60)])
    seen_in_time = looks and steps[0] == "read"  # the first of two answers may have been all there was
    assert len(scene.owner.replies) <= 1 + seen_in_time
    assert scene.failed


@pytest.mark.parametrize("ways", [("leave",), ("kill",), ("kill", "leave")])
def test_a_descriptor_that_is_somebody_else_s_by_then_is_left_alone(ways: tuple[str, ...]) -> None:
    """A digit alone, and the end before its time: what is read under that number later is a client's, perhaps."""
    scene = Scene()
    number = scene.ends.process.stdout
    for name, *arguments in (("give",), ("read",), ("say", b"1"), ("look",)):
        getattr(scene, name)(*arguments)
    if "kill" in ways:
        scene.worker.kill("because")
    scene.leave()
    scene.look()
    assert scene.worker.state is State.GONE
    ours, theirs = os.pipe()
    os.dup2(ours, number)
    os.set_blocking(number, False)
    os.write(theirs, b"a question\n")
    scene.later(301)
    assert os.read(number, 100) == b"a question\n"
    for descriptor in (ours, theirs, number):
        os.close(descriptor)
    scene.reactor.close()
