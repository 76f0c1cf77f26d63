"""Prosody's line codec: the same lines whatever pieces they come in, and no memory for what is not let through."""

import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.lines import NO, YES, LineReader
from bridge.messages import Refusal

unhurried = settings(deadline=None)  # the machine may be busy

LIMIT = 8
Line = bytes | Refusal

# Line ends, and content of lengths around the limit.
streams = st.lists(
    st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"b:c", b"12345678", b"1234567", b"\x00", b"\xc3\xa4"]), max_size=24
).map(b"".join)
cuts = st.lists(st.integers(1, 12), min_size=1, max_size=60)


def expected(stream: bytes, limit: int = LIMIT) -> list[Line]:
    """The rules once more, for a stream that is there as a whole."""
    *whole, last = stream.split(b"\n")
    contents = [line[:-1] if line[-1:] == b"\r" else line for line in whole + [last] * bool(last)]
    return [line if len(line) <= limit else Refusal.LENGTH for line in contents]


def pieces(stream: bytes, sizes: Iterable[int]) -> list[bytes]:
    """`stream` cut into pieces of these sizes; the last piece is what is left."""
    found = []
    for size in sizes:
        found.append(stream[:size])
        stream = stream[size:]
    return [piece for piece in [*found, stream] if piece]


def read(parts: Iterable[bytes], *, at_once: int = 10_000, limit: int = LIMIT) -> list[Line]:
    """All lines, taken after each piece, some at a time."""
    reader = LineReader(limit)
    lines: list[Line] = []
    for part in parts:
        reader.feed(part)
        while len(reader):
            lines += reader.take(at_once)
    reader.finish()
    return lines + reader.take(10_000)


@unhurried
@given(streams)
def test_whole(stream: bytes) -> None:
    assert read([stream]) == expected(stream)


@unhurried
@given(streams)
def test_byte_by_byte(stream: bytes) -> None:
    assert read([bytes([byte]) for byte in stream]) == expected(stream)


@unhurried
@given(streams, cuts, st.integers(1, 3))
def test_any_pieces(stream: bytes, sizes: list[int], at_once: int) -> None:
    assert read(pieces(stream, sizes), at_once=at_once) == expected(stream)


@unhurried
@given(streams, streams)
def test_with_something_behind(stream: bytes, behind: bytes) -> None:
    """What follows a line changes nothing about it, whether it comes in the same piece or later."""
    whole = stream + b"\n"
    lines = expected(whole)
    assert read([whole + behind])[: len(lines)] == lines
    assert read([whole, behind])[: len(lines)] == lines


@unhurried
@given(st.integers(1, 32767), st.integers(-2, 3), st.booleans(), st.booleans())
@example(limit=1, over=0, carriage_return=True, ended=False)
def test_length_to_the_byte(limit: int, over: int, carriage_return: bool, ended: bool) -> None:
    """A line end counts neither way; one byte too many is refused, whether or not the end has come."""
    line = b"x" * max(0, limit + over)
    stream = line + b"\r" * carriage_return + b"\n" * ended
    wanted = [line if over <= 0 else Refusal.LENGTH] if stream else []
    assert read([stream], limit=limit) == wanted
    assert read(pieces(stream, [limit, 1, 1, 1]), limit=limit) == wanted


@pytest.mark.parametrize(
    ("stream", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"\r\n", [b""]),
        (b"a\r\r\n", [b"a\r"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"a\r", [b"a"]),
        (b"\r", [b""]),
        (b"a\0b\n", [b"a\0b"]),
        (b"123456789\nb\n", [Refusal.LENGTH, b"b"]),
        (b"12345678\r\r\n", [Refusal.LENGTH]),
        (b"123456789" * 20 + b"\r\nb\n", [Refusal.LENGTH, b"b"]),
        (b"123456789", [Refusal.LENGTH]),
    ],
)
def test_examples(stream: bytes, lines: list[Line]) -> None:
    assert read([stream]) == lines
    assert read([bytes([byte]) for byte in stream]) == lines


def test_an_endless_line_takes_no_memory() -> None:
    reader = LineReader(4096)
    piece = b"x" * 65536
    reader.feed(piece)
    tracemalloc.start()
    for _ in range(200):
        reader.feed(piece)
    held, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4096
    assert reader.unfinished
    assert len(reader) == 0
    reader.feed(b"\nnext\n")
    assert reader.take(9) == [Refusal.LENGTH, b"next"]


def test_an_unfinished_line_takes_what_it_may_have_to_give_back() -> None:
    reader = LineReader(1000)
    tracemalloc.start()
    for _ in range(100_000):
        reader.feed(b"y")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4096
    assert peak < 16384


def test_take_gives_the_oldest_and_no_more_than_asked_for() -> None:
    reader = LineReader(LIMIT)
    reader.feed(b"1\n2\n3\n4")
    assert len(reader) == 3
    assert reader.take(0) == []
    assert reader.take(2) == [b"1", b"2"]
    assert len(reader) == 1
    reader.feed(b"\n")
    assert reader.take(9) == [b"3", b"4"]
    assert reader.take(9) == []


@pytest.mark.parametrize(
    ("stream", "unfinished"),
    [(b"", False), (b"a", True), (b"a\n", False), (b"a\nb", True), (b"123456789xx", True), (b"123456789xx\n", False)],
)
def test_unfinished(stream: bytes, unfinished: bool) -> None:
    reader = LineReader(LIMIT)
    reader.feed(stream)
    assert bool(reader.unfinished) is unfinished


def test_finish_gives_each_end_once() -> None:
    reader = LineReader(LIMIT)
    reader.feed(b"a\nb")
    reader.finish()
    reader.finish()
    assert reader.take(9) == [b"a", b"b"]
    assert not reader.unfinished


def test_a_new_limit_counts_for_the_line_that_is_being_read() -> None:
    reader = LineReader(LIMIT)
    reader.feed(b"123456")
    reader.max_line = 4
    reader.feed(b"\n1234\n12345\n")
    assert reader.take(9) == [Refusal.LENGTH, b"1234", Refusal.LENGTH]
    reader.max_line = 5
    reader.feed(b"12345\n")
    assert reader.take(9) == [b"12345"]


def test_answers_are_what_prosody_reads() -> None:
    assert (YES, NO) == (b"1\n", b"0\n")
