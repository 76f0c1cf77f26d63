"""A tagged session against any client, pool and operator, step by step.

The model knows every line sent and the fate of those asked.  Whatever the client reads must be the answer to one of its
lines, under that line's tag, and no line has two; and at the end, unless somebody hung up or all was broken off, every
line that was read has its answer.
"""

import os
import socket
from collections.abc import Sequence

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.examples import examples
from support.inmemory.clients import NO, UNAVAILABLE, YES, on_socket, unread

from bridge.protocol.query import Query, Verdict

LIMIT = 20
REFUSED = [b"", b"x", b"isuser:a:", b"isuser:a:\x80", b"y" * (LIMIT + 1), b"y" * 9 * LIMIT, b"removeuser:a:b"]
VIOLATIONS = [b"\n", b"-\n", b"tag - x\n" * 2, b"tag x isuser:a:b\n", b"y" * 400]
HEADS = [b"-", b"192.0.2.7", b"fe80::1%eth0"]
ANSWER = {YES: b"1", NO: b"0", UNAVAILABLE: b"2"}

ROUNDS = 1000
"""Far more steps than any example needs, as each line takes only a few."""


@attrs.define(eq=False)
class Line:
    """A line of the client's: a good one has a number, which its query shows."""

    number: int | None
    end: int  # of it in the stream


class TaggedMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.open: dict[bytes, Line] = {}  # by tag: those without an answer that was read
        self.tags = 0
        self.free: list[bytes] = []  # tags whose answers have been read
        self.unsent, self.sent = b"", 0
        self.good = 0
        self.got = b""
        self.written = 0  # answers that left the session
        self.window = 3
        self.heard: float = float("inf")  # bytes of the stream that were read in time
        self.stopped = self.input_ended = self.broken_off = self.aborted = False
        self.unsettled: set[int] = set()  # when it was aborted
        self.room: list[int] = []  # what the sink takes of the next writes
        pair = socket.socketpair()
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
        self._context = on_socket(kind="tagged", pair=pair, window=3, max_line=LIMIT)
        self.client = self._context.__enter__()
        _, sink = self.client.ends
        self._write, sink.write = sink.write, self.write_some
        self._ask = self.client.desk.ask
        self.client.desk.ask = self.ask  # type: ignore[method-assign]

    def write_some(self, data: bytes) -> int:
        """Behave like a stream with room for this many bytes, or for none."""
        size = self.room.pop() if self.room else len(data)
        if not size:
            raise BlockingIOError
        written = self._write(data[:size])
        self.written += data[:written].count(b"\n")
        return written

    def ask(self, queries: Sequence[Query]) -> None:
        assert not self.stopped
        open_ones = sum(not query.settled for query in self.client.desk.asked)
        assert open_ones + len(queries) <= self.window
        assert len(self.client.desk.asked) + len(queries) - self.written <= self.window, "unwritten answers count, too"
        self._ask(queries)

    # --- the client ------------------------------------------------------------------------------------------

    @rule(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=9))
    def little_room(self, sizes: list[int]) -> None:
        self.room = sizes

    @precondition(lambda self: not self.input_ended)
    @rule(what=st.sampled_from(["good", "good", "good", "cr", *REFUSED]), more=st.integers(0, 9), data=st.data())
    def write_lines(self, what: str | bytes, more: int, data: st.DataObject) -> None:
        """Put lines into the client's own buffer."""
        for _ in range(1 + more):
            number, line = None, what
            if isinstance(what, str):
                number, line = self.good, b"isuser:u%d:h" % self.good + b"\r" * (what == "cr")
                self.good += 1
            tag = self.free.pop() if self.free and data.draw(st.booleans()) else self._new_tag()
            self.unsent += b"%b %b %b\n" % (tag, data.draw(st.sampled_from(HEADS)), line)
            self.open[tag] = Line(number, self.sent + len(self.unsent))

    def _new_tag(self) -> bytes:
        self.tags += 1
        return b"%dx" % self.tags

    @precondition(lambda self: self.unsent and not self.input_ended)
    @rule(size=st.integers(1, 400), turn=st.booleans())
    def send(self, size: int, turn: bool) -> None:
        os.set_blocking(self.client.to, False)
        try:
            sent = os.write(self.client.to, self.unsent[:size])
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return
        self.sent += sent
        self.unsent = self.unsent[sent:]
        if turn:
            self.client.run_once()

    @precondition(lambda self: not self.input_ended)
    @rule(more=st.integers(0, 9), data=st.data())
    def say(self, more: int, data: st.DataObject) -> None:
        """Good lines, all at once: usually more than there is room for."""
        self.write_lines("good", more, data)
        self.send(len(self.unsent), True)

    @rule()
    def read(self) -> None:
        *answers, self.got = (self.got + self.client.got()).split(b"\n")
        for answer in answers:
            tag, verdict = answer.split(b" ")
            line = self.open.pop(tag)
            assert self.may_be(line, verdict), (tag, verdict, line)
            self.free.append(tag)
        self.client.run_once()

    def may_be(self, line: Line, verdict: bytes) -> bool:
        """Whether this line may have this answer."""
        if line.number is None:
            return verdict == b"0" or (verdict == b"2" and self.stopped)
        asked = {query.body: query for query in self.client.desk.asked}
        query = asked.get(b"isuser:u%d:h" % line.number)
        if query is None:
            return self.stopped and verdict == b"2"
        if line.number in self.unsettled:
            return self.aborted and verdict == b"2"
        return query.verdict is not None and verdict == ANSWER[query.verdict]

    @precondition(lambda self: not self.input_ended and not self.unsent)
    @rule()
    def end_input(self) -> None:
        self.input_ended = True
        self.client.end_input()
        self.client.run_once()

    @precondition(lambda self: self.is_busy and not self.broken_off)
    @rule(output_first=st.booleans())
    def hang_up(self, output_first: bool) -> None:
        self.client.end_output()
        if output_first:
            self.client.run_once()
        if not self.input_ended:
            self.client.end_input()
        self.client.run_once()  # what was sent before may be read first
        self.stopped = self.input_ended = self.broken_off = True

    @precondition(lambda self: self.is_busy and not self.input_ended and not self.unsent)
    @rule(what=st.sampled_from(VIOLATIONS))
    def violate(self, what: bytes) -> None:
        self.unsent += what
        self.input_ended = self.broken_off = True
        self.stopped = True  # but before it is read, more may be asked
        self.client.desk.ask = self._ask  # type: ignore[method-assign]

    # --- the pool --------------------------------------------------------------------------------------------

    @precondition(lambda self: any(not query.settled for query in self.client.desk.asked))
    @rule(data=st.data(), verdict=st.sampled_from([YES, NO, UNAVAILABLE]), turn=st.booleans())
    def settle(self, data: st.DataObject, verdict: Verdict, turn: bool) -> None:
        waiting = [query for query in self.client.desk.asked if not query.settled]
        data.draw(st.sampled_from(waiting)).settle(verdict)
        if turn:
            self.client.run_once()

    @rule(verdict=st.sampled_from([None, None, YES, NO, UNAVAILABLE]))
    def settle_at_once(self, verdict: Verdict | None) -> None:
        self.client.desk.verdict = verdict

    @property
    def is_busy(self) -> bool:
        """Far enough for an end to cut something off; if ended at once, most examples would show nothing."""
        return len(self.client.desk.asked) >= 3

    # --- the operator ----------------------------------------------------------------------------------------

    @precondition(lambda self: not self.broken_off)
    @rule(window=st.integers(1, 6))
    def reconfigure(self, window: int) -> None:
        self.window = window
        self.client.session.reconfigure(attrs.evolve(self.client.settings, window=window))

    @precondition(lambda self: self.is_busy and not self.stopped)
    @rule(turn=st.booleans())
    def stop(self, turn: bool) -> None:
        self._no_more_is_read()
        self.client.session.stop()
        if turn:
            self.client.run_once()

    @precondition(lambda self: self.is_busy and not self.broken_off)
    @rule()
    def abort(self) -> None:
        self._no_more_is_read()
        self.broken_off = self.aborted = True
        asked = enumerate(self.client.desk.asked)
        self.unsettled = {number for number, query in asked if not query.settled}
        self.client.session.abort()

    def _no_more_is_read(self) -> None:
        if not self.stopped:
            self.heard = self.sent - unread(self.client.source)
        self.stopped = self.input_ended = True

    # --- what must be so -------------------------------------------------------------------------------------

    @invariant()
    def the_lines_that_are_asked_are_the_good_ones_in_order(self) -> None:
        bodies = [query.body for query in self.client.desk.asked]
        assert bodies == [b"isuser:u%d:h" % number for number in range(len(bodies))]

    @invariant()
    def tags_in_use_are_those_in_flight(self) -> None:
        session = self.client.session
        in_flight = {*session._tagging._tags.values(), *(line[0] for line in session._backlog)}
        if not self.broken_off:
            assert session._lines.in_use.keys() == in_flight

    def teardown(self) -> None:
        try:
            self.everything_comes_to_its_end()
        finally:
            self._context.__exit__(None, None, None)

    def everything_comes_to_its_end(self) -> None:
        """With room for all, everything settled and everything sent, every line that was read has its answer."""
        self.room = []
        self.client.desk.verdict = NO
        rounds = 0
        while not self.is_done():
            rounds += 1
            assert rounds < ROUNDS, f"{len(self.open)} lines without an answer"
            if self.unsent and (not self.input_ended or self.broken_off):
                self.send(400, True)
            for query in self.client.desk.asked:
                query.settle(YES)
            self.read()
        assert self.client.is_quiet

    def is_done(self) -> bool:
        if self.broken_off:
            return self.client.over == 1
        answered = all(line.end > self.heard for line in self.open.values())
        return answered and not self.unsent if not self.input_ended else answered and self.client.over == 1


TaggedMachine.TestCase.settings = examples(200, stateful_step_count=40)
TestTagged = TaggedMachine.TestCase
