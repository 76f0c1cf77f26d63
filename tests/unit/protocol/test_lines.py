"""Prosody's line codec: the same lines in whatever pieces they arrive, and no memory for refused ones."""

import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.protocol.lines import NO, YES, LineReader
from bridge.protocol.query import Refusal

LIMIT = 8
Line = bytes | Refusal

# Line ends, and content of lengths around the limit.
streams = st.lists(
    st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"b:c", b"12345678", b"1234567", b"\x00", b"\xc3\xa4"]), max_size=24
).map(b"".join)
cuts = st.lists(st.integers(1, 12), min_size=1, max_size=60)


def expected(stream: bytes, limit: int = LIMIT) -> list[Line]:
    """The rules again, for a complete stream."""
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


def read(parts: Iterable[bytes], *, limit: int = LIMIT) -> list[Line]:
    """All lines."""
    reader = LineReader(limit)
    lines: list[Line] = []
    for part in parts:
        lines += reader.feed(part)
    return [*lines, *reader.finish()]


@given(streams)
def test_whole(stream: bytes) -> None:
    assert read([stream]) == expected(stream)


@given(streams)
def test_byte_by_byte(stream: bytes) -> None:
    assert read([bytes([byte]) for byte in stream]) == expected(stream)


@given(streams, cuts)
def test_any_pieces(stream: bytes, sizes: list[int]) -> None:
    assert read(pieces(stream, sizes)) == expected(stream)


@given(streams, streams)
def test_with_something_behind(stream: bytes, behind: bytes) -> None:
    """What follows a line does not affect it, whether it arrives in the same piece or later."""
    whole = stream + b"\n"
    lines = expected(whole)
    assert read([whole + behind])[: len(lines)] == lines
    assert read([whole, behind])[: len(lines)] == lines


@given(st.integers(1, 32767), st.integers(-2, 3), st.booleans(), st.booleans())
@example(limit=1, over=0, carriage_return=True, ended=False)
def test_length_to_the_byte(limit: int, over: int, carriage_return: bool, ended: bool) -> None:
    """The line end does not count; one byte too many is refused, with or without a line end."""
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
    assert reader.feed(b"\nnext\n") == [Refusal.LENGTH, b"next"]


def test_an_unfinished_line_takes_what_it_may_have_to_give_back() -> None:
    reader = LineReader(1000)
    tracemalloc.start()
    for _ in range(100_000):
        reader.feed(b"y")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4096
    assert peak < 16384


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
    assert reader.feed(b"a\nb") == [b"a"]
    assert reader.finish() == [b"b"]
    assert reader.finish() == []
    assert not reader.unfinished


def test_a_new_limit_counts_for_the_line_that_is_being_read() -> None:
    reader = LineReader(LIMIT)
    assert reader.feed(b"123456") == []
    reader.max_line = 4
    assert reader.feed(b"\n1234\n12345\n") == [Refusal.LENGTH, b"1234", Refusal.LENGTH]
    reader.max_line = 5
    assert reader.feed(b"12345\n") == [b"12345"]


def test_answers_are_what_prosody_reads() -> None:
    assert (YES, NO) == (b"1\n", b"0\n")
