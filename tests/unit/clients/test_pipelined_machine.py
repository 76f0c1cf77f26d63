"""A pipelined session against any client, pool and operator, step by step.

The model knows the lines sent and the fate of those asked.  At each moment the answers that
the client has read must be the beginning of the answers to its lines, each in its own line's place; and at the
end, unless somebody hung up or all was broken off, they must be all of them.
"""

import os
import socket
from collections.abc import Generator, Sequence

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.examples import examples
from support.inmemory.clients import Client, on_pipes, on_socket, unread

from bridge.protocol.lines import HELLO
from bridge.protocol.query import Query, Verdict

YES, NO, UNAVAILABLE = Verdict.GRANTED, Verdict.DENIED, Verdict.UNAVAILABLE

LIMIT = 40
REFUSED = [b"", b"x", b"isuser:a:", b"y" * (LIMIT + 1), b"y" * 3 * LIMIT, b"removeuser:a:b"]
WINDOWS = st.integers(1, 6)

ROUNDS = 1000
"""Far more steps than any example needs, as each line takes only a few."""


class Pipelined(RuleBasedStateMachine):
    """One client.  Good lines are numbered, so each query shows which line it was made from."""

    negotiates = False
    kind = "pipelined"

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[int | None] = []  # the number of each good line; None for one that is refused
        self.unsent = b""  # of the stream, whose lines are in `lines` already
        self.sent = b""
        self.heard = 0  # lines that were read before the end of input, or before the session was stopped
        self.good = 0
        self.hello: bool | None = None  # whether it was the first line
        self.got = b""
        self.window = 3
        self.written = 0  # bytes of answers that left the session
        self.stopped = self.broken_off = self.input_ended = False
        self.aborted: list[bytes] = []  # the answers as they were then
        self.room: list[int] = []  # what the sink takes of the next writes
        self._context = self.ways()
        self.client: Client = next(self._context)
        _, sink = self.client.ends
        self._write, sink.write = sink.write, self.write_some
        self._ask = self.client.desk.ask
        self.client.desk.ask = self.ask  # type: ignore[method-assign]

    def ways(self) -> Generator[Client]:
        pair = socket.socketpair()
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)  # the least there is: room for a few answers
        with on_socket(pair=pair, window=3, max_line=LIMIT, kind=self.kind) as client:
            yield client

    # --- the other end of the answers ------------------------------------------------------------------------

    def write_some(self, data: bytes) -> int:
        """Behave like a stream with room for this many bytes, or for none."""
        size = self.room.pop() if self.room else len(data)
        if not size:
            raise BlockingIOError
        written: int = self._write(data[:size])
        self.written += written
        return written

    @rule(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=9))
    def little_room(self, sizes: list[int]) -> None:
        self.room = sizes

    @rule()
    def read(self) -> None:
        self.got += self.client.got()
        self.client.run_once()

    # --- the client's lines ----------------------------------------------------------------------------------

    @precondition(lambda self: not self.input_ended)
    @rule(what=st.sampled_from(["good", "good", "good", "cr", "hello", *REFUSED]), more=st.integers(0, 9))
    def write_lines(self, what: str | bytes, more: int) -> None:
        """Put lines into the client's own buffer."""
        for _ in range(1 + more):
            if self.hello is None:
                self.hello = what == "hello"
            if what in ("good", "cr"):
                self.lines.append(self.good)
                line = b"isuser:u%d:h" % self.good + (b"\r" if what == "cr" else b"")
                self.good += 1
            else:
                self.lines.append(None)
                line = HELLO if what == "hello" else what  # type: ignore[assignment]
            self.unsent += line + b"\n"

    @precondition(lambda self: self.unsent and not self.input_ended)
    @rule(size=st.integers(1, 400), turn=st.booleans())
    def send(self, size: int, turn: bool) -> None:
        os.set_blocking(self.client.to, False)
        try:
            sent = os.write(self.client.to, self.unsent[:size])
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return
        self.sent += self.unsent[:sent]
        self.unsent = self.unsent[sent:]
        if turn:
            self.client.run_once()

    @precondition(lambda self: not self.input_ended)
    @rule(more=st.integers(0, 9))
    def say(self, more: int) -> None:
        """Good lines, all at once: usually more than there is room for."""
        self.write_lines("good", more)
        self.send(len(self.unsent), True)

    @precondition(lambda self: not self.input_ended and not self.unsent)
    @rule()
    def end_input(self) -> None:
        self.input_ended = True
        self.heard = len(self.lines)
        self.client.end_input()
        self.client.run_once()

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

    def ask(self, queries: Sequence[Query]) -> None:
        """The window holds the lines from the first without a written answer to the last one asked."""
        last = int(queries[-1].body.split(b":")[1][1:])
        assert self.lines.index(last) + 1 - self.written // 2 <= self.window
        assert not self.stopped
        self._ask(queries)

    @property
    def is_busy(self) -> bool:
        """Far enough for an end to cut something off; if ended at once, most examples would show nothing."""
        return len(self.client.desk.asked) >= 3

    # --- the operator ----------------------------------------------------------------------------------------

    @precondition(lambda self: not self.broken_off)
    @rule(window=WINDOWS)
    def reconfigure(self, window: int) -> None:
        self.window = window
        self.client.router.settings = attrs.evolve(self.client.settings, window=window)
        self.client.session.reconfigure(self.client.router.settings)

    @precondition(lambda self: self.is_busy and not self.stopped)
    @rule(turn=st.booleans())
    def stop(self, turn: bool) -> None:
        self.heard = self.sent[: len(self.sent) - unread(self.client.source)].count(b"\n")
        self.stopped = self.input_ended = True
        self.client.session.stop()
        if turn:
            self.client.run_once()

    @precondition(lambda self: self.is_busy and not self.broken_off)
    @rule()
    def abort(self) -> None:
        self.stopped = self.input_ended = self.broken_off = True
        self.client.session.abort()
        self.aborted = self.answers()

    @precondition(lambda self: self.is_busy and not self.broken_off)
    @rule(output_first=st.booleans())
    def hang_up(self, output_first: bool) -> None:
        """Nothing more is asked, and once the pool has finished what it has, the session is over."""
        self.client.end_output()
        if output_first:
            self.client.run_once()
        if not self.input_ended:
            self.client.end_input()
        self.client.run_once()  # what was sent before may be read first
        self.stopped = self.input_ended = self.broken_off = True

    # --- what must be so -------------------------------------------------------------------------------------

    def answers(self) -> list[bytes]:
        """The answers that may have been read by now, or later if `?`: one for each line sent."""
        asked = {query.body: query for query in self.client.desk.asked}
        unavailable = b"2\n" if self.negotiates and self.hello else b"0\n"
        due = []
        for place, number in enumerate(self.lines):
            query = None if number is None else asked.get(b"isuser:u%d:h" % number)
            if number is None:
                agreed = place == 0 and self.hello and self.negotiates
                due.append(b"1\n" if agreed else b"0\n")
            elif query is None:
                due.append(unavailable)  # only if it is never asked
            elif not query.settled:
                due.append(unavailable if self.broken_off else b"?\n")
            else:
                due.append({YES: b"1\n", NO: b"0\n", UNAVAILABLE: unavailable}[query.verdict])
        return due

    @invariant()
    def the_lines_that_are_asked_are_the_good_ones_in_order(self) -> None:
        bodies = [query.body for query in self.client.desk.asked]
        assert bodies == [b"isuser:u%d:h" % number for number in range(len(bodies))]

    @invariant()
    def what_was_read_is_the_beginning_of_the_answers(self) -> None:
        due = self.aborted or self.answers()
        got = self.got
        expected = b"".join(due)[: len(got)]
        if self.stopped:  # lines behind the last that was read are unavailable, refused or not
            return self._in_part(got, due)
        assert got == expected
        return None

    def _in_part(self, got: bytes, due: list[bytes]) -> None:
        unavailable = b"2\n" if self.negotiates and self.hello else b"0\n"
        for place in range(len(got) // 2):
            one = got[place * 2 : place * 2 + 2]
            assert one == due[place] or (one == unavailable and self.lines[place] is None)

    # --- the end ---------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.everything_comes_to_its_end()
        finally:
            self._context.close()

    def everything_comes_to_its_end(self) -> None:
        """With room for all, everything settled and everything sent, every line that was read has its answer."""
        self.room = []
        self.client.desk.verdict = NO
        rounds = 0
        while not self.is_done():
            rounds += 1
            assert rounds < ROUNDS, f"{len(self.got) // 2} answers to {len(self.lines)} lines"
            if self.unsent and not self.input_ended:
                self.send(400, True)
            for query in self.client.desk.asked:
                query.settle(YES)
            self.read()
        self.what_was_read_is_the_beginning_of_the_answers()
        assert self.client.is_quiet

    def is_done(self) -> bool:
        if self.broken_off:
            return self.aborted != [] or self.client.over == 1
        if not self.input_ended:
            return not self.unsent and len(self.got) == 2 * len(self.lines)
        return self.client.over == 1 and len(self.got) == 2 * self.heard


class Negotiating(Pipelined):
    negotiates = True
    kind = "any"

    @initialize(alone=st.booleans())
    def begin(self, alone: bool) -> None:
        """Nearly always what such a client does."""
        self.write_lines("hello", 0)
        if alone:
            self.send(400, True)
            self.read()
            assert self.got == b"1\n"


class OnPipes(Pipelined):
    def ways(self) -> Generator[Client]:
        with on_pipes(window=3, max_line=LIMIT) as client:
            yield client


for machine in (Pipelined, Negotiating, OnPipes):
    machine.TestCase.settings = examples(200, stateful_step_count=40)

TestPipelined = Pipelined.TestCase
TestNegotiating = Negotiating.TestCase
TestOnPipes = OnPipes.TestCase
