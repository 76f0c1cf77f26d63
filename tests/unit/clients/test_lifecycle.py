"""All kinds of session, every state, every event: the next state is the table's, and behaves as described.

Each session has an open question when the event happens, so that it does not end by itself.
"""

import contextlib
import os
from collections.abc import Iterator

import pytest
from support.inmemory.clients import YES, Client, on_pipes

from bridge.clients import lifecycle
from bridge.clients.lifecycle import NEXT, Event, State
from bridge.protocol.lines import HELLO

QUESTION = b"isuser:alice:h\n"
ANOTHER = b"isuser:bob:h\n"
ANSWERS = {State.OPEN, State.ENDED, State.STOPPED}

kinds = pytest.mark.parametrize("kind", ["pipelined", "lockstep", "tagged"])
states = pytest.mark.parametrize("state", State, ids=lambda state: state.name)
events = pytest.mark.parametrize("event", Event, ids=lambda event: event.name)


class Fault(Exception):
    """An error that none of our code raises."""


class Scene:
    """A session, and what it writes or tries to write.

    Attributes:
      question, another: lines to ask.
      unavailable: the answer if nobody could be asked.
      written: the pieces written, without tags.
    """

    def __init__(self, client: Client, kind: str) -> None:
        self.client = client
        self.lasts = State if kind != "lockstep" else {*State} - {State.MUTE}  # which is over at once in lockstep
        self.question, self.another, self.unavailable = QUESTION, ANOTHER, b"0\n"
        if kind == "tagged":
            self.question, self.another, self.unavailable = b"q - " + QUESTION, b"a - " + ANOTHER, b"2\n"
        self.written: list[bytes] = []
        self._write = client.session._sink.write
        client.session._sink.write = self._record

    def _record(self, data: bytes) -> int:
        self.written.append(data.removeprefix(b"q ").removeprefix(b"a "))
        return int(self._write(data))

    @property
    def state(self) -> State:
        state: State = self.client.session._state
        return state

    def reach(self, state: State) -> None:
        """Ask a question, and let the events happen that lead to `state`."""
        self.client.says(self.question)
        events = {
            State.OPEN: [],
            State.ENDED: [Event.END],
            State.STOPPED: [Event.STOP],
            State.MUTE: [Event.HANG_UP],
            State.OVER: [Event.FAIL],
            State.CLOSED: [Event.CLOSE],
        }
        for event in events[state]:
            self.happens(event)
        assert self.state is (state if state in self.lasts else State.OVER)

    def happens(self, event: Event) -> None:
        """Cause `event` as in real use."""
        match event:
            case Event.END:
                self.client.to = self._close(self.client.to)
            case Event.STOP:
                self.client.session.stop()
            case Event.HANG_UP:
                self.client.of = self._close(self.client.of)
            case Event.DONE:
                self.settle()
            case Event.FAIL:
                self.client.session.failed(Fault())
            case Event.CLOSE:
                self.client.session.close()
        self.client.run_once()

    def settle(self) -> None:
        for query in self.client.desk.asked:
            query.settle(YES)
        self.client.run_once()

    def ask_another(self) -> None:
        """Much later, so that this is not a burst."""
        self.client.clock.now += 1.0
        with contextlib.suppress(OSError):  # nobody reads it
            os.write(self.client.to, self.another)
        self.client.run_once()

    def _close(self, descriptor: int) -> int:
        os.close(descriptor)
        return os.open(os.devnull, os.O_RDWR)


@pytest.fixture
def scene(kind: str) -> Iterator[Scene]:
    with on_pipes(kind=kind) as client:
        yield Scene(client, kind)


def test_the_table_that_is_read_is_the_one_that_counts() -> None:
    head, *rows = [line.split() for line in (lifecycle.__doc__ or "").splitlines() if line.startswith("  ")]
    assert head == [event.name for event in Event]
    assert [row[0] for row in rows] == [state.name for state in State]
    for state, (_, *cells) in zip(State, rows, strict=True):
        following = [NEXT[state].get(event) for event in Event]
        assert cells == [found.name if found else "-" for found in following]


def follows(scene: Scene, event: Event) -> State:
    """Let `event` happen, and check that the session is in the table's next state."""
    before = scene.state
    expected = NEXT[before].get(event, before)
    if expected not in scene.lasts:
        expected = NEXT[expected][Event.DONE]
    scene.happens(event)
    assert scene.state is expected
    return expected


@kinds
@states
@events
def test_what_follows(scene: Scene, state: State, event: Event) -> None:
    scene.reach(state)
    was_over = scene.client.over
    following = follows(scene, event)
    assert scene.client.over == (was_over or following is State.OVER), "told once, and only then"
    assert scene.client.is_quiet


@kinds
@states
@events
def test_what_is_still_asked(scene: Scene, state: State, event: Event) -> None:
    scene.reach(state)
    following = follows(scene, event)
    scene.ask_another()
    assert scene.client.desk.lines == [QUESTION[:-1], ANOTHER[:-1]][: 1 + (following is State.OPEN)]
    assert scene.client.is_quiet


@kinds
@states
@events
def test_what_is_still_answered(scene: Scene, state: State, event: Event) -> None:
    scene.reach(state)
    was_over = scene.client.over
    following = follows(scene, event)
    if event is not Event.DONE:
        assert scene.written == []
        scene.settle()
        assert scene.written == [b"1\n"] * (following in ANSWERS)
    over = {State.OPEN: State.OPEN, State.CLOSED: State.CLOSED}
    assert scene.state is over.get(following, State.OVER)
    assert scene.client.over == (was_over or scene.state is State.OVER)


@kinds
@states
def test_aborted(scene: Scene, state: State) -> None:
    """Open questions are answered, in states that answer, and the session is over."""
    scene.reach(state)
    scene.client.session.abort()
    scene.client.run_once()
    assert scene.written == [scene.unavailable] * (state in ANSWERS)
    assert scene.state is (State.CLOSED if state is State.CLOSED else State.OVER)
    scene.settle()
    assert len(scene.written) == (state in ANSWERS)
    assert scene.client.over == (state is not State.CLOSED)


@kinds
def test_what_is_withdrawn_is_settled_at_once_and_nobody_is_answered(scene: Scene) -> None:
    """As a pool does with a query that waits for a program."""
    scene.client.desk.withdraw = lambda asker: scene.client.desk.asked[0].settle(YES)  # type: ignore[method-assign]
    scene.client.says(scene.question)
    scene.happens(Event.HANG_UP)
    assert scene.written == []
    assert scene.state is State.OVER
    assert scene.client.over == 1


@kinds
def test_descriptors_that_were_closed_are_somebody_else_s(scene: Scene) -> None:
    """The descriptors are soon reused for another client, which late events must not unwatch or close."""
    client = scene.client
    client.says(scene.question)
    numbers = [client.source, client.sink]
    client.session.close()
    reader, writer = os.pipe()
    heard: list[int] = []
    for number in numbers:
        os.dup2(reader, number)
        client.reactor.watch(number, lambda number=number: heard.append(number))
    for late in (client.session.stop, client.session.abort, scene.settle, client.session.close):
        late()
    client.session.failed(Fault())
    client.session.close()
    os.write(writer, b"x")
    client.reactor.run_once()
    assert {*heard} == {*numbers}
    for number in numbers:
        client.reactor.unwatch(number)
        os.close(number)
    os.close(reader)
    os.close(writer)


def test_one_that_was_closed_asks_nothing_more_of_what_it_had_read() -> None:
    with on_pipes(window=2) as client:
        client.says(QUESTION * 5)
        client.session.close()
        for number in range(2):
            client.settle(number)
        assert len(client.desk.asked) == 2


def test_streams_that_were_handed_over_are_not_the_reception_s_any_more() -> None:
    with on_pipes(kind="any") as client:
        reception = client.session
        client.says(HELLO + b"\n" + QUESTION)
        assert client.session is not reception
        for late in (reception.stop, reception.abort, reception.close):
            late()
        reception.failed(Fault())
        client.settle(0)
        assert client.over == 0
        assert client.got() == b"1\n1\n"
