"""The reactor with real descriptors: which handlers are called, and when."""

import contextlib
import fcntl
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.clock import Clock

from bridge.loop.reactor import ARRIVING, READABLE, SLICE, WRITABLE, Reactor

PATIENCE = 20.0
"""Seconds; waited for only by a test that fails."""


class Slices(Clock):
    """The clock of a reactor's slices."""

    def __call__(self) -> float:
        """A look takes a moment: some tests have it always find something."""
        self.pass_by(0.001)
        return self.now

    def pass_by(self, share: float) -> None:
        """So much of a slice passes."""
        self.now += share * SLICE


@pytest.fixture
def slices() -> Slices:
    """Hardly any time passes but what a test says, however busy the machine is."""
    return Slices()


@pytest.fixture(autouse=True)
def all_at_once(slices: Slices, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the one for all other tests: here slices are what is tested."""
    monkeypatch.setattr("bridge.loop.reactor.monotonic", slices)


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor()
    yield reactor
    reactor.close()


@pytest.fixture
def pipe() -> Iterator[Callable[[], tuple[int, int]]]:
    ends: list[int] = []

    def make() -> tuple[int, int]:
        reader, writer = os.pipe2(os.O_NONBLOCK)
        ends.extend((reader, writer))
        return reader, writer

    yield make
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def is_due(reactor: Reactor) -> bool:
    """What a task that waits for `fileno()` would see."""
    waiting = select.poll()
    waiting.register(reactor.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def test_nothing_to_do(reactor: Reactor) -> None:
    assert not is_due(reactor)
    assert reactor.pause() > 0
    reactor.run_once()
    assert not is_due(reactor)


def test_readable_is_told_until_it_is_read(reactor: Reactor, pipe) -> None:
    reader, writer = pipe()
    got = []
    reactor.watch(reader, lambda: got.append(os.read(reader, 1)))
    reactor.run_once()
    assert got == []
    os.write(writer, b"abc")
    assert is_due(reactor)
    reactor.run_once()
    assert got == [b"a", b"b", b"c"]
    assert not is_due(reactor)


def test_arriving_is_told_once_for_each_arrival(reactor: Reactor, pipe) -> None:
    reader, writer = pipe()
    got = []
    os.write(writer, b"abc")
    reactor.watch(reader, lambda: got.append(os.read(reader, 1)), ARRIVING)
    reactor.run_once()
    assert got == [b"a"], "what was there before"
    reactor.run_once()
    assert got == [b"a"], "what is left is no news"
    assert not is_due(reactor)
    os.write(writer, b"d")
    assert is_due(reactor)
    reactor.run_once()
    assert got == [b"a", b"b"]
    os.close(writer)
    reactor.run_once()
    assert got == [b"a", b"b", b"c"], "nobody is at the other end"


class Filled:
    """A pipe for `watch_taken`: notes when it is taken, and when its reader is gone."""

    def __init__(self, note: Callable[[str], object]) -> None:
        self.note = note
        self._taken = False

    @property
    def taken(self) -> bool:
        return self._taken

    @taken.setter
    def taken(self, taken: bool) -> None:
        self._taken = taken
        if taken:
            self.note("taken")

    def reader_gone(self) -> None:
        self.note("gone")


def full_pipe() -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    return reader, writer


def test_taken(reactor: Reactor) -> None:
    reader, writer = full_pipe()
    noted: list[str] = []
    pipe = Filled(noted.append)
    reactor.watch_taken(writer, pipe)
    reactor.run_once()
    assert not pipe.taken, "there was room all the time"
    for _ in range(2):
        os.write(writer, b"question")
        reactor.run_once()
        assert not pipe.taken
        os.read(reader, 8)
        reactor.run_once()
        assert pipe.taken
        pipe.taken = False
        reactor.run_once()
        assert not pipe.taken, "told once"
    assert noted == ["taken"] * 2
    os.write(writer, b"question")
    os.close(reader)
    reactor.run_once()
    assert not pipe.taken
    assert noted[2:] == ["gone"]
    reactor.unwatch(writer)
    os.close(writer)


def test_what_was_reported_before_it_was_unwatched_is_nobody_s(reactor: Reactor, pipe) -> None:
    """Its number may be another's by then."""
    reader, writer = full_pipe()
    noted: list[str] = []
    filled = Filled(noted.append)
    reactor.watch_taken(writer, filled)
    bell, ring = pipe()
    reactor.watch(bell, lambda: reactor.unwatch(writer))
    os.write(ring, b"x")  # reported first
    os.write(writer, b"question")
    os.read(reader, 8)
    reactor.run_once()
    assert (filled.taken, noted) == (False, [])
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("turning", [False, True], ids=["between turns", "within one"])
def test_forgetting_keeps_what_others_are_to_be_told_in_its_order(reactor: Reactor, pipe, turning: bool) -> None:
    """Two hundred pipes are written and emptied in different orders; only the forgotten one's event is lost."""
    order: list[tuple[str, int]] = []

    ends, replies = [], {}
    for _ in range(100):
        reader, writer = full_pipe()
        reactor.watch_taken(writer, Filled(partial(lambda writer, what: order.append((what, writer)), writer)))
        stdout, out = pipe()
        reactor.watch(stdout, partial(lambda stdout: order.append(("reply", stdout)), stdout), ARRIVING)
        ends.append((reader, writer))
        replies[writer] = stdout, out
    reactor.run_once()
    order.clear()
    bell, ring = pipe()
    forgotten = ends[50][1]
    reactor.watch(bell, lambda: (os.read(bell, 1), reactor.forget(forgotten)))
    if turning:
        os.write(ring, b"x")
    expected = []
    for number, (reader, writer) in enumerate(ends):
        stdout, out = replies[writer]
        os.write(writer, b"question")
        if number % 2:
            os.read(reader, 8)
        os.write(out, b"reply")
        if not number % 2:
            os.read(reader, 8)
        both = [("taken", writer), ("reply", stdout)]
        expected += both if number % 2 else both[::-1]
    if not turning:
        reactor.forget(forgotten)
    assert is_due(reactor)
    while is_due(reactor):
        reactor.run_once()
    assert order == [event for event in expected if event != ("taken", forgotten)]
    for reader, writer in ends:
        reactor.unwatch(writer)
        os.close(reader)
        os.close(writer)


def test_forgetting_among_many_that_are_always_ready(reactor: Reactor, pipe) -> None:
    """They are reported again by every poll: it must not poll for ever."""
    for _ in range(200):
        reader, writer = pipe()
        os.write(writer, b"x")
        reactor.watch(reader, lambda: None)
    reader, writer = full_pipe()
    filled = Filled(print)
    reactor.watch_taken(writer, filled)
    os.write(writer, b"question")
    reactor.forget(writer)
    os.read(reader, 8)
    for _ in range(10):
        reactor.run_once()
    assert filled.taken
    reactor.unwatch(writer)
    os.close(reader)
    os.close(writer)


def test_writable_only_where_it_is_asked_for(reactor: Reactor, pipe) -> None:
    _, writer = pipe()
    calls = []
    reactor.watch(writer, lambda: calls.append("write"), 0)
    reactor.run_once()
    assert calls == []
    reactor.unwatch(writer)
    reactor.watch(writer, lambda: (calls.append("write"), reactor.unwatch(writer)), WRITABLE)
    reactor.run_once()
    assert calls == ["write"]


def test_a_reader_that_is_gone_is_told_even_where_nothing_was_asked_for(reactor: Reactor, pipe) -> None:
    reader, writer = pipe()
    calls = []
    reactor.watch(writer, lambda: (calls.append("gone"), reactor.unwatch(writer)), 0)
    os.close(reader)
    reactor.run_once()
    assert calls == ["gone"]


def test_after_unwatch_nobody_is_called(reactor: Reactor, pipe) -> None:
    reader, writer = pipe()
    calls = []
    reactor.watch(reader, lambda: calls.append("read"))
    os.write(writer, b"x")
    reactor.unwatch(reader)
    reactor.unwatch(reader)  # no error
    reactor.run_once()
    assert calls == []


def test_unwatched_within_the_batch_in_which_it_was_due(reactor: Reactor, pipe) -> None:
    """Two handlers that unwatch each other: whichever runs first, the other is not called any more."""
    (one, to_one), (other, to_other) = pipe(), pipe()
    calls = []
    reactor.watch(one, lambda: (calls.append("one"), reactor.unwatch(other), reactor.unwatch(one)))
    reactor.watch(other, lambda: (calls.append("other"), reactor.unwatch(one), reactor.unwatch(other)))
    os.write(to_one, b"x")
    os.write(to_other, b"x")
    reactor.run_once()
    assert len(calls) == 1


def test_closed_and_opened_anew_within_the_batch_in_which_it_was_due(reactor: Reactor, pipe) -> None:
    """The number's new owner may be called for nothing, and tolerates "would block"."""
    (one, to_one), (other, to_other) = pipe(), pipe()
    calls = []

    def replace(old: int, name: str) -> None:
        reactor.unwatch(old)
        os.close(old)
        new, _ = pipe()
        assert new == old

        def read() -> None:
            with pytest.raises(BlockingIOError):
                os.read(new, 1)
            calls.append(name)

        reactor.watch(new, read)

    reactor.watch(one, lambda: (os.read(one, 1), replace(other, "new other")))
    reactor.watch(other, lambda: (os.read(other, 1), replace(one, "new one")))
    os.write(to_one, b"x")
    os.write(to_other, b"x")
    reactor.run_once()
    assert len(calls) <= 1
    assert not is_due(reactor)


def test_more_descriptors_than_one_batch_takes(reactor: Reactor, pipe) -> None:
    pipes = [pipe() for _ in range(200)]
    seen = set()
    for reader, writer in pipes:
        reactor.watch(reader, lambda reader=reader: (os.read(reader, 1), seen.add(reader)))
        os.write(writer, b"x")
    while is_due(reactor):
        reactor.run_once()
    assert seen == {reader for reader, _ in pipes}


# --- regular files, which epoll refuses ------------------------------------------------------------------


def test_a_regular_file_is_always_ready(reactor: Reactor, tmp_path: Path) -> None:
    path = tmp_path / "queries"
    path.write_bytes(b"abc")
    with path.open("rb", buffering=0) as file:
        got = []

        def read() -> None:
            got.append(file.read(1))
            if not got[-1]:
                reactor.unwatch(file.fileno())

        reactor.watch(file.fileno(), read)
        assert reactor.pause() == 0
        while reactor.pause() == 0:
            reactor.run_once()
    assert got == [b"a", b"b", b"c", b""]
    assert not is_due(reactor)


def test_a_regular_file_that_nothing_is_wanted_of(reactor: Reactor, tmp_path: Path) -> None:
    with (tmp_path / "answers").open("wb") as file:
        reactor.watch(file.fileno(), lambda: pytest.fail("called for nothing"), 0)
        assert reactor.pause() > 0
        reactor.run_once()
        reactor.unwatch(file.fileno())


def test_a_regular_file_does_not_starve_the_others(reactor: Reactor, slices: Slices, pipe, tmp_path: Path) -> None:
    reader, writer = pipe()
    calls = []
    with (tmp_path / "file").open("wb") as file:
        reactor.watch(file.fileno(), lambda: (calls.append("file"), slices.pass_by(0.1)), READABLE)
        reactor.watch(reader, lambda: (os.read(reader, 1), calls.append("pipe")))
        reactor.run_once()
        os.write(writer, b"x")
        reactor.run_once()
        reactor.unwatch(file.fileno())
    assert calls.count("pipe") == 1
    assert calls.count("file") > 1


# --- time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [1, 2])
def test_events_without_end_leave_time_for_others(reactor: Reactor, slices: Slices, pipe, together: int) -> None:
    calls = []
    for _ in range(together):
        reader, writer = pipe()
        os.write(writer, b"x")
        reactor.watch(reader, lambda: (calls.append("event"), slices.pass_by(0.01)))
    reactor.run_once()
    assert is_due(reactor)
    assert 80 < len(calls) < 100 + 64, "a batch more than the slice"


def test_it_lingers_for_what_comes_late(reactor: Reactor, slices: Slices, pipe) -> None:
    """The second event comes while it waits for more; it is handled without another wait for `fileno()`."""
    reader, writer = pipe()
    got = []

    def read() -> None:
        got.append(os.read(reader, 1))
        if got[-1] == b"b":
            slices.pass_by(1.0)

    reactor.watch(reader, read)
    os.write(writer, b"a")
    late = threading.Timer(0.05, os.write, (writer, b"b"))
    late.start()
    reactor.run_once(linger=PATIENCE)
    assert got == [b"a", b"b"]
    late.join()


def test_it_lingers_only_after_there_was_something(reactor: Reactor) -> None:
    began = time.monotonic()
    reactor.run_once(linger=PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2


def test_it_never_lingers_beside_a_regular_file(reactor: Reactor, slices: Slices, pipe, tmp_path: Path) -> None:
    """A regular file is always ready."""
    reader, writer = pipe()
    os.write(writer, b"x")
    calls = []
    with (tmp_path / "file").open("wb") as file:
        reactor.watch(file.fileno(), lambda: (calls.append("file"), slices.pass_by(0.1)), READABLE)
        reactor.watch(reader, lambda: (os.read(reader, 1), calls.append("pipe")))
        began = time.monotonic()
        reactor.run_once(linger=PATIENCE)
        reactor.unwatch(file.fileno())
    assert time.monotonic() - began < PATIENCE / 2
    assert calls[0] == "pipe"
    assert "file" in calls


# --- afterwards ------------------------------------------------------------------------------------------


def test_a_batch_goes_on_while_there_are_events_but_not_for_long(reactor: Reactor, pipe) -> None:
    """Answers to many events leave together, but not so many that the first of them is delayed noticeably."""
    order = ""

    def handle(reader: int) -> None:
        nonlocal order
        os.read(reader, 1)
        if "e" not in order.rpartition("a")[2]:
            reactor.call_soon(finish)
        order += "e"

    def finish() -> None:
        nonlocal order
        order += "a"

    for _ in range(2):
        reader, writer = pipe()
        os.write(writer, bytes(40))
        reactor.watch(reader, partial(handle, reader))
    while order.count("e") < 80:
        reactor.run_once()
    sizes = {len(batch) for batch in order.split("a") if batch}
    assert max(sizes) == 64, "a poll finds two"


def test_an_event_that_comes_alone_is_a_batch_of_its_own(reactor: Reactor, pipe) -> None:
    """When events come singly, there is nothing to wait for."""
    reader, writer = pipe()
    os.write(writer, b"abc")
    order = []

    def handle() -> None:
        order.append(os.read(reader, 1))
        reactor.call_soon(lambda: order.append(b"-"))

    reactor.watch(reader, handle)
    while len(order) < 6:
        reactor.run_once()
    assert b"".join(order) == b"a-b-c-"


def test_a_batch_is_longer_where_more_is_to_be_done_afterwards(reactor: Reactor, pipe) -> None:
    """Each of many clients gets more than one answer in a batch."""
    sizes = []

    def handle(reader: int) -> None:
        os.read(reader, 1)
        if reader not in due:
            due.append(reader)
            reactor.call_soon(partial(finish, reader))
        events.append(reader)

    def finish(reader: int) -> None:
        due.remove(reader)
        if events:
            sizes.append(len(events))
            events.clear()

    due: list[int] = []
    events: list[int] = []
    for _ in range(10):
        reader, writer = pipe()
        os.write(writer, bytes(50))
        reactor.watch(reader, partial(handle, reader))
    while sum(sizes) < 500:
        reactor.run_once()
    assert max(sizes) == 80, "eight for each"


def test_a_batch_ends_with_its_slice(reactor: Reactor, slices: Slices, pipe) -> None:
    """However much `call_soon` work there is: accepting a connection takes longer than an answer."""
    order = []

    def handle(reader: int) -> None:
        os.read(reader, 1)
        slices.pass_by(0.25)
        order.append("event")
        reactor.call_soon(lambda: order.append("afterwards"))

    for _ in range(2):
        reader, writer = pipe()
        os.write(writer, bytes(100))
        reactor.watch(reader, partial(handle, reader))
    reactor.run_once()
    assert order.index("afterwards") < 10


def test_afterwards_is_at_the_end_of_the_batch_and_once(reactor: Reactor, pipe) -> None:
    pipes = [pipe() for _ in range(3)]
    order = []
    for reader, writer in pipes:

        def handle(reader: int = reader) -> None:
            os.read(reader, 1)
            order.append("event")
            reactor.call_soon(lambda: order.append("afterwards"))

        reactor.watch(reader, handle)
        os.write(writer, b"x")
    reactor.run_once()
    assert order == ["event"] * 3 + ["afterwards"] * 3
    reactor.run_once()
    assert len(order) == 6


def test_afterwards_of_afterwards_is_in_the_same_batch(reactor: Reactor) -> None:
    order = []
    reactor.call_soon(lambda: (order.append(1), reactor.call_soon(lambda: order.append(2))))
    reactor.run_once()
    assert order == [1, 2]


def test_afterwards_without_end_leave_time_for_others(reactor: Reactor, slices: Slices, pipe) -> None:
    """As with a client that sent a full buffer of lines that are all refused.  What is left is due at once."""
    reader, writer = pipe()
    reactor.watch(reader, lambda: (os.read(reader, 1), calls.append("event")))
    calls: list[str] = []

    def again() -> None:
        calls.append("afterwards")
        slices.pass_by(0.1)
        if len(calls) < 1000:
            reactor.call_soon(again)

    reactor.call_soon(again)
    reactor.run_once()
    assert 9 <= len(calls) <= 11, "while there is time, they follow each other"
    assert is_due(reactor)
    before = len(calls)
    os.write(writer, b"x")
    reactor.run_once()
    assert calls[before] == "event"
    assert "afterwards" in calls[before:]


def test_afterwards_between_turns_is_due_at_once(reactor: Reactor) -> None:
    """A timer or a signal asked for it: a wait for `fileno()` must end."""
    done = []
    reactor.call_soon(lambda: done.append(1))
    assert is_due(reactor)
    reactor.run_once()
    assert done == [1]
    assert not is_due(reactor)


def test_it_takes_nothing_with_it() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(10):
        reactor = Reactor()
        reader, writer = os.pipe()
        reactor.watch(reader, lambda: None)
        reactor.unwatch(reader)
        os.close(reader)
        os.close(writer)
        reactor.close()
    assert set(os.listdir("/proc/self/fd")) <= before
