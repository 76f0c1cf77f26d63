"""A pipe that tells when its frame was read: real pipes, and this process as the program."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.loop.reactor import ARRIVING, Reactor
from bridge.protocol.frames import SHORT
from bridge.worker import stdinpipe as pipes
from bridge.worker.stdinpipe import StdinPipe, order_is_told

PAGE = os.sysconf("SC_PAGE_SIZE")


class Program:
    """The other end of a StdinPipe, with a stdout beside it.

    Attributes:
      replies: for each reply epoll reported, whether it had reported before that the frame was read.
      between: called after a reply is reported and before it is read.
    """

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.stdin, ours = os.pipe2(os.O_NONBLOCK)
        self.stdout, self.out = os.pipe2(os.O_NONBLOCK)
        self.pipe = StdinPipe(ours, self.reactor, SHORT)
        self.reactor.watch(self.stdout, self._hear, ARRIVING)
        self.replies: list[bool] = []
        self.careful = True
        self.between: Callable[[], None] = lambda: None

    def _hear(self) -> None:
        self.between()
        with contextlib.suppress(BlockingIOError):
            self.replies += [self.taken] * len(os.read(self.stdout, 99))
            if self.careful:
                self.reactor.unwatch(self.stdout)
                self.reactor.watch(self.stdout, self._hear, ARRIVING)

    @property
    def taken(self) -> bool:
        return self.pipe.taken

    def write(self, size: int) -> None:
        """Write a frame as a worker does."""
        assert 0 <= size - 2 <= self.pipe.short or self.pipe.fit(size)
        assert os.write(self.pipe.descriptor, bytes(size)) == size
        self.pipe.taken = False

    def read(self, size: int) -> None:
        assert len(os.read(self.stdin, size)) == size

    def reply(self) -> None:
        os.write(self.out, b"x")

    def close(self) -> None:
        self.pipe.close()
        self.reactor.unwatch(self.stdout)
        self.reactor.close()
        for descriptor in (self.stdin, self.stdout, self.out):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def program() -> Iterator[Program]:
    program = Program()
    yield program
    program.close()


def test_this_kernel_tells() -> None:
    assert order_is_told()


@pytest.mark.parametrize("turns", [0, 1], ids=["in one go", "looked at in between"])
def test_taken_and_then_answered(program: Program, turns: int) -> None:
    for _ in range(3):
        program.write(100)
        program.read(100)
        for _ in range(turns):
            program.reactor.run_once()
        program.reply()
        program.reactor.run_once()
    assert program.replies == [True] * 3


@pytest.mark.parametrize("turns", [0, 1], ids=["in one go", "looked at in between"])
def test_answered_and_then_taken(program: Program, turns: int) -> None:
    """By the time the reply is read the pipe is empty, which no longer tells anything."""
    program.write(100)
    program.reply()
    for _ in range(turns):
        program.reactor.run_once()
    program.read(100)
    program.reactor.run_once()
    assert program.replies == [False]
    assert program.taken, "but too late"


def test_a_reply_in_two_pieces_gives_the_next_one_no_early_place(program: Program) -> None:
    """The second piece arrives when the first has been reported, and both are read at once."""
    for _ in range(5):
        program.between = program.reply
        program.write(100)
        program.read(100)
        program.reply()
        program.reactor.run_once()
        program.between = lambda: None
        assert program.replies == [True, True]
        program.write(100)
        program.read(100)
        program.reply()
        program.reactor.run_once()
        assert program.replies.pop() is True
        program.replies.clear()


def test_a_second_reply_between_the_telling_and_the_reading_of_the_first(program: Program) -> None:
    program.write(100)
    program.read(100)
    program.reply()
    program.reactor.run_once()
    program.write(100)
    program.reply()
    program.between = program.reply
    program.read(100)
    program.reactor.run_once()
    assert program.replies == [True, False, False]


def test_a_part_of_a_frame_is_not_all_of_it(program: Program) -> None:
    program.write(100)
    for size in (1, 1, 97):
        program.read(size)
        program.reactor.run_once()
        assert not program.taken
    program.reply()
    program.reactor.run_once()
    program.read(1)
    program.reactor.run_once()
    assert program.replies == [False]
    assert program.taken


def test_a_pipe_just_made_has_not_been_emptied(program: Program) -> None:
    """It has room, which epoll reports; but no question has been read."""
    program.write(100)
    program.reply()
    program.read(100)
    for _ in range(2):  # one may be over with what was reported before
        program.reactor.run_once()
    assert program.replies == [False]


def test_nor_has_one_whose_number_another_had_in_the_same_batch() -> None:
    """The old pipe's question was read; that event is handled when its number belongs to the new pipe."""
    reactor = Reactor()
    first, ours = os.pipe2(os.O_NONBLOCK)
    second, new = os.pipe2(os.O_NONBLOCK)
    bell, ring = os.pipe2(os.O_NONBLOCK)
    made: list[StdinPipe] = []
    old = StdinPipe(ours, reactor, SHORT)

    def router() -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(bell, 9)
            number = old.descriptor
            old.close()
            os.dup2(new, number)
            made.append(StdinPipe(number, reactor, SHORT))
            os.write(number, bytes(10))

    reactor.watch(bell, router)
    os.write(ours, bytes(10))
    os.write(ring, b"x")
    os.read(first, 10)
    reactor.run_once()
    assert not made[0].taken
    made[0].close()
    reactor.close()
    for descriptor in (first, second, new, bell, ring):
        os.close(descriptor)


def test_a_reader_that_goes_without_reading_has_taken_nothing(program: Program) -> None:
    program.write(100)
    os.close(program.stdin)
    program.reply()
    program.reactor.run_once()
    assert program.replies == [False]
    assert not program.taken
    assert program.pipe.unread() == 100


def test_a_reader_that_goes_after_reading_has(program: Program) -> None:
    program.write(100)
    program.read(100)
    program.reply()
    os.close(program.stdin)
    program.reactor.run_once()
    assert program.replies == [True]


@pytest.mark.parametrize("size", [1, PAGE - 1, PAGE, PAGE + 1, PAGE + 2, 2 * PAGE, 3 * PAGE + 1, 4 * PAGE, 8 * PAGE])
@pytest.mark.parametrize("in_time", [True, False])
def test_frames_that_fill_their_pages_tell(program: Program, size: int, in_time: bool) -> None:
    for each in (size, 10, size):
        program.write(each)
        if not in_time:
            program.reply()
        program.read(each)
        if in_time:
            program.reply()
        program.reactor.run_once()
    assert program.replies == [in_time] * 3
    assert not program.pipe.looks_taken(), "there is nothing to guess"


@pytest.mark.parametrize("size", [2 * PAGE + 1, 3 * PAGE, 5 * PAGE, 32769])
def test_where_nothing_is_told_a_look_at_the_pipe_has_to_do(program: Program, size: int) -> None:
    program.write(size)
    assert not program.pipe.looks_taken()
    program.read(size)
    assert program.pipe.looks_taken()
    program.write(10)
    program.reply()
    program.read(10)
    program.reactor.run_once()
    assert program.replies == [False], "and the next one tells again"
    assert not program.pipe.looks_taken()


def test_the_first_page_of_two_tells(program: Program) -> None:
    program.write(PAGE + 2)
    program.read(PAGE - 1)
    program.reactor.run_once()
    assert not program.taken
    program.read(1)
    program.reactor.run_once()
    assert program.taken


@given(st.lists(st.tuples(st.integers(1, 33000), st.booleans(), st.booleans()), max_size=20))
def test_any_frames_in_any_order(frames: list[tuple[int, bool, bool]]) -> None:
    """Whatever was written before, a reply counts if its question was read first."""
    program = Program()
    try:
        for size, in_time, looked in frames:
            program.write(size)
            if not in_time:
                program.reply()
            if looked:
                program.reactor.run_once()
            program.read(size)
            if in_time:
                program.reply()
            fills = program.pipe.tells
            program.reactor.run_once()
            if fills:
                assert program.replies.pop() is in_time
            assert program.taken or program.pipe.looks_taken()
            program.replies.clear()
    finally:
        program.close()


def test_a_pipe_that_may_not_grow(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, command: int, size: int) -> int:
        raise PermissionError

    monkeypatch.setattr(pipes, "fcntl", refuse)
    assert not program.pipe.fit(PAGE + 1)
    assert program.pipe.fit(10)
    program.write(10)
    program.read(10)
    program.reply()
    program.reactor.run_once()
    assert program.replies == [True]


def test_nor_one_that_may_not_shrink_is_believed_to_tell(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.write(2 * PAGE)
    program.read(2 * PAGE)
    program.reactor.run_once()

    def refuse(descriptor: int, command: int, size: int) -> int:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(pipes, "fcntl", refuse)
        program.write(10)
    assert not program.pipe.looks_taken()
    program.read(10)
    assert program.pipe.looks_taken()


def larger(real: Callable[..., int]) -> Callable[..., int]:
    return lambda descriptor, command, size: real(descriptor, command, size + PAGE)


@pytest.mark.parametrize("how", ["refused", "larger"])
def test_a_system_without_such_pipes(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame does not fill the pipe, so nothing is reported: found out at the start, and the older check has to do."""

    def refuse(descriptor: int, command: int, size: int) -> int:
        raise OSError

    order_is_told.cache_clear()
    monkeypatch.setattr(pipes, "fcntl", refuse if how == "refused" else larger(fcntl.fcntl))
    try:
        assert not order_is_told()
        program = Program()
        for size in (10, 5000, 10):
            program.write(size)
            assert not program.pipe.looks_taken()
            program.read(size)
            assert program.pipe.looks_taken()
        program.close()
    finally:
        order_is_told.cache_clear()


def test_the_trial_leaves_nothing_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    order_is_told.cache_clear()
    assert order_is_told()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_closing_twice(program: Program) -> None:
    program.pipe.close()
    program.pipe.close()
    assert program.pipe.descriptor == -1
