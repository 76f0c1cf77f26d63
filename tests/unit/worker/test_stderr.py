"""`bridge.worker.stderr`: how much of a program's stderr is read, with a real pipe and our own clock."""

import os
from collections.abc import Iterator

import pytest

from bridge.loop.reactor import Reactor
from bridge.loop.timer import FOREVER
from bridge.worker.stderr import MOST_REMEMBERED, QUESTIONS, Asked, Stderr
from bridge.worker.stderrlines import FORGOTTEN, LATE, Line

PAGE = 4096
KIB = 1024
LINE = b"a line of a flood\n" * 4


class Program:
    """A program's end of the pipe, and its worker.

    Attributes:
      now: the clock.
      asked: questions so far.
      listened: bytes that were read.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.listened = 0
        self._lines: list[Line] = []
        self.killed_at: float | None = None
        self.reactor = Reactor(clock=lambda: self.now)
        self.ours, self.theirs = os.pipe()
        os.set_blocking(self.ours, False)
        os.set_blocking(self.theirs, False)
        self.memory = Asked(4096)
        self.stderr = Stderr(self.ours, self.reactor, self.readable, self.memory)
        self.stderr.watch()

    def readable(self) -> None:
        self._lines += self.stderr.read(self.asked) or []
        if self.stderr.is_flood and self.killed_at is None:
            self.killed_at = self.now

    @property
    def lines(self) -> list[str]:
        """The lines since the last call."""
        lines, self._lines = self._lines, []
        return [*map(str, lines)]

    def ask(self) -> None:
        self.asked += 1
        self.memory.add(b"auth:alice:example.com:hunter2-%d" % self.asked)

    def write(self, data: bytes) -> int:
        """Write as much as there is room for."""
        try:
            return os.write(self.theirs, data)
        except BlockingIOError:
            return 0

    def flood(self) -> None:
        """Write as long as it is read."""
        while size := self.write(LINE * 60):
            self.listened += size
            assert self.listened < 64 * KIB * KIB
            self.run_once()

    def run_once(self) -> None:
        self.reactor.run_once()
        self.reactor.run_once()  # what a timer has it watch again

    def close(self) -> None:
        self.reactor.unwatch(self.ours)
        self.reactor.close()
        os.close(self.ours)
        if self.theirs >= 0:
            os.close(self.theirs)


@pytest.fixture
def program() -> Iterator[Program]:
    program = Program()
    yield program
    program.close()


def test_a_flood_is_heard_for_a_while_then_slowly_and_then_it_is_to_be_ended(program: Program):
    program.flood()
    burst = program.listened
    assert 800 * KIB < burst < 1200 * KIB
    assert program.stderr._pause.when == program.now + 0.25
    for _ in range(39):
        program.now += 0.25
        program.run_once()
        program.flood()
        assert not program.stderr.is_flood
    slowly = (program.listened - burst) / (39 * 0.25)
    assert 200 * KIB < slowly < 300 * KIB
    program.now += 0.25
    program.run_once()
    program.flood()
    assert program.stderr.is_flood


def test_what_is_written_is_read_a_page_at_a_time(program: Program):
    program.write(LINE * 900)
    lines = program.stderr.read(0)
    assert lines is not None
    assert len(lines) == PAGE * 4 // len(LINE)


def test_a_flood_with_pauses_is_only_slowed(program: Program):
    for _ in range(20):
        program.flood()
        assert program.stderr._pause.when < FOREVER
        program.now += 1.5
        program.run_once()
    assert not program.stderr.is_flood


def test_after_a_rest_all_is_as_before(program: Program):
    program.flood()
    program.now += 60.0
    program.run_once()
    program.listened = 0
    program.flood()
    assert program.listened > 800 * KIB


def test_nobody_who_has_long_lines_printed_makes_it_too_much(program: Program):
    """A thousand logins a second, each printed in twelve kilobytes."""
    for _ in range(3000):
        program.now += 0.001
        program.ask()
        program.write(b"failed login of " + b"\\x41" * 3000 + b"\n")
        program.run_once()
        program.run_once()
        assert program.stderr._pause.when == FOREVER


def test_many_short_writes_are_too_much_as_well(program: Program):
    writes = 0
    while program.stderr._pause.when == FOREVER:
        program.now += 0.0001
        writes += program.write(b"x\n") // 2
        program.run_once()
        assert writes < 3000
    assert writes > 1500


def test_what_lies_in_the_pipe_meanwhile_is_withheld_if_its_secrets_are_forgotten(program: Program):
    program.flood()
    for _ in range(70):
        program.ask()
        program.write(b"the password was hunter%d\n" % program.asked)
    assert program.lines
    for _ in range(8):
        program.now += 0.25
        program.run_once()
    lines = program.lines
    assert FORGOTTEN in lines
    assert not any("hunter" in line for line in lines)


def test_no_room_in_the_kernel_to_watch_it_again(program: Program, monkeypatch: pytest.MonkeyPatch):
    program.flood()
    program.now += 0.25
    with monkeypatch.context() as patch:
        patch.setattr(program.reactor, "watch", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
        program.reactor.run_once()
    assert program.stderr._pause.when == program.now + 0.25
    assert program.lines
    program.now += 0.25
    program.run_once()
    assert program.lines
    assert program.stderr._pause.when > program.now


def test_its_end(program: Program):
    program.write(b"bye\nbye")
    os.close(program.theirs)
    program.theirs = -1
    program.run_once()
    program.run_once()
    assert program.lines == ["bye"]
    assert [str(line) for lines in program.stderr.last_words(0) for line in lines] == ["bye"]


def test_the_last_words_of_a_flood(program: Program):
    """What a pipe holds and no more, although another process still writes."""
    program.flood()
    assert program.stderr._pause.when < FOREVER
    last = b""
    for lines in program.stderr.last_words(0):
        last += b"".join(str(line).encode() + b"\n" for line in lines)
        assert len(last) <= 68 * KIB
        program.write(LINE * 60)
    assert len(last) >= 60 * KIB
    assert program.stderr._pause.when == FOREVER


def test_the_last_questions_are_remembered():
    asked = Asked(4096)
    for number in range(100):
        asked.add(b"auth:a:b:%d:x" % number)
        asked.add(b"isuser:a:b")
    secrets = [*asked]
    assert len(secrets) == len(asked) == QUESTIONS + LATE == 66
    assert secrets[-2:] == [b"99:x", b""]
    asked.forget()
    assert len(asked) == 0


def test_a_mebibyte_of_questions_at_most_is_remembered():
    asked = Asked(32767)
    for _ in range(100):
        asked.add(b"auth:a:b:" + b"x" * 30000)
    assert len(asked) == MOST_REMEMBERED // 30009
    for _ in range(100):
        asked.add(b"auth:a:b:xyz")
    assert [*asked] == [b"xyz"] * 66


def test_once_closed_it_is_never_read_again(program: Program):
    """By then its descriptor's number may be another program's."""
    program.flood()
    program.stderr.close()
    program.now += 100.0
    program.run_once()
    assert not program.reactor._handlers.keys() & {program.ours}
