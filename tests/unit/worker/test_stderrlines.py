"""`bridge.worker.stderrlines`: stderr as safe lines, and the lines that may hold a forgotten secret."""

import time
import tracemalloc
from collections import deque
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.log.text import cut, escaped
from bridge.worker.stderrlines import FORGOTTEN, LATE, SHOWN, StderrLines

DEADLINE = 20.0
"""Seconds of CPU time; quadratic work on these inputs takes many times as long."""

MEMORY = 64 + LATE


def said(data: bytes, *secrets: bytes) -> list[str]:
    """The lines of a whole stream."""
    return in_pieces(data, (), *secrets)


def in_pieces(data: bytes, cuts: Iterable[int], *secrets: bytes) -> list[str]:
    """The same, read in pieces that end at `cuts`."""
    lines = Stream(*secrets)
    found: list[str] = []
    start = 0
    for end in [*sorted(cuts), len(data)]:
        found += lines.feed(data[start:end])
        start = end
    return found + lines.finish()


class Stream:
    """A program's stderr, and the questions it was asked.

    Args:
      secrets: of these.
    """

    def __init__(self, *secrets: bytes, memory: int = MEMORY) -> None:
        self.secrets = deque(secrets, maxlen=memory)
        self.asked = len(secrets)
        self.lines = StderrLines(self.secrets)

    def ask(self, secret: bytes) -> None:
        self.secrets.append(secret)
        self.asked += 1

    def feed(self, data: bytes, drained: bool = True) -> list[str]:
        return [*map(str, self.lines.feed(data, self.asked, drained))]

    def finish(self) -> list[str]:
        return [*map(str, self.lines.finish(self.asked))]


# Lines


def test_lines_come_when_they_are_complete():
    lines = Stream()
    assert lines.feed(b"one\ntwo\nthr") == ["one", "two"]
    assert lines.feed(b"ee\n") == ["three"]
    assert lines.finish() == []


def test_the_last_line_needs_no_newline_and_the_stream_after_it_is_a_new_one():
    lines = Stream()
    assert lines.feed(b"last words") == []
    assert lines.finish() == ["last words"]
    assert lines.finish() == []
    assert lines.feed(b"next\n") == ["next"]


def test_blank_lines_and_line_ends_are_dropped():
    assert said(b"\n\n  \t\r\nwarning \r\n\r\n") == ["warning"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        (b"one\rtwo", "one\\rtwo"),
        (b"\xff\xfe text", "\\xff\\xfe text"),
        ("\u0085 \u2028 \u202e \x7f \x9b0m.".encode(), "\\x85 \\u2028 \\u202e \\x7f \\x9b0m."),
        ("größer €".encode(), "größer €"),
        (b"nul\0nul", "nul\\x00nul"),
    ],
)
def test_what_is_not_printable_is_escaped(written: bytes, shown: str):
    assert said(written + b"\n") == [shown]


@pytest.mark.parametrize("forged", [b"<0>", b"<3>", b"<0><1><30>"])
def test_no_line_begins_with_a_forged_priority(forged: bytes):
    assert said(forged + b"kernel panic\n" + forged + b"\n") == ["kernel panic"]


def test_other_brackets_stay():
    assert said(b"<module> in x\n<1 >\na <3>\n") == ["<module> in x", "<1 >", "a <3>"]


@pytest.mark.parametrize("char", ["a", "ä", "€", "😀"])
def test_a_long_line_is_cut_at_a_whole_character_and_marked(char: str):
    fits = char * (SHOWN // len(char.encode()))
    assert said(fits.encode()) == [fits]
    (shown,) = said(fits.encode() + char.encode())
    assert shown.endswith(char + "…")
    assert SHOWN - 8 < len(shown.encode()) <= SHOWN


def test_escapes_count_for_the_length():
    (shown,) = said(b"\x01" * 200)
    assert shown.startswith("\\x01\\x01")
    assert shown.endswith("…")
    assert len(shown.encode()) <= SHOWN


def test_the_rest_of_an_overlong_line_is_skipped_without_being_stored():
    lines = Stream()
    lines.ask(b"secret")
    tracemalloc.start()
    for _ in range(500):
        assert lines.feed(b"a" * 65536) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    (overlong, following) = lines.feed(b"\nb\n")
    assert overlong == "a" * (SHOWN - 3) + "…"
    assert following == "b"


def test_cut_keeps_what_fits():
    assert cut("abcd", 4) == b"abcd"
    assert cut("abcde", 4) == "a…".encode()
    assert cut("ääää", 7) == "ää…".encode()
    assert cut("\udcff", 6) == b"\\udcff"


def test_only_what_is_shown_is_masked():
    class Counted(list[bytes]):
        looked_at = 0

        def __iter__(self):
            self.looked_at += 1
            return super().__iter__()

    secrets = Counted([b"hunter2"])
    lines = StderrLines(secrets).feed(b"hunter2\n\n \n<3>\n" + b"x\n" * 2000, asked=1)
    assert len(lines) == 2001
    assert secrets.looked_at == 0
    first, second, *_ = lines
    assert [str(first), str(second)] == ["***", "x"]
    assert secrets.looked_at == 1


# Late


def secret(number: int) -> bytes:
    return b"secret-%d" % number


def asked(stream: Stream, count: int) -> list[bytes]:
    """Ask `count` questions; returns what a program prints about them."""
    first = stream.asked
    for number in range(first, first + count):
        stream.ask(secret(number))
    return [b"question %d is %s\n" % (number, secret(number)) for number in range(first, first + count)]


def masked(first: int, count: int) -> list[str]:
    return [f"question {number} is ***" for number in range(first, first + count)]


@pytest.mark.parametrize("count", [1, 5, 64])
def test_what_is_printed_up_to_64_questions_late_is_masked(count: int):
    stream = Stream()
    for round_ in range(5):
        printed = asked(stream, count)
        assert stream.feed(b"".join(printed)) == masked(round_ * count, count)


@pytest.mark.parametrize("count", [65, 200])
def test_what_is_printed_later_is_withheld(count: int):
    stream = Stream()
    asked(stream, 3)
    assert stream.feed(b"ready\n") == ["ready"]
    for _ in range(3):
        printed = asked(stream, count)
        assert stream.feed(b"".join(printed)) == [FORGOTTEN] * count


def test_a_secret_is_masked_however_often_something_was_written_since():
    stream = Stream()
    for number in range(200):
        asked(stream, 1)
        shown = stream.feed(b"now %s, before %s\n" % (secret(number), secret(max(0, number - 63))))
        assert shown == ["now *** before ***"]


def test_all_of_a_dump_is_withheld_in_whatever_pieces_it_comes():
    stream = Stream()
    printed = asked(stream, 200)
    for line in printed[:-1]:
        assert stream.feed(line, drained=False) == [FORGOTTEN]
    asked(stream, 1)  # its reply was written before the dump
    assert stream.feed(printed[-1]) == [FORGOTTEN]
    asked(stream, 1)
    assert stream.feed(b"the end of it, ") == []
    asked(stream, 1)
    assert stream.feed(b"or not\n") == [FORGOTTEN]
    assert stream.feed(b"something else\n") == ["something else"]


def test_a_pipe_that_is_not_empty_holds_old_secrets():
    """A program that is slowed down goes on answering, and its output is read long after it was written."""
    stream = Stream()
    waiting: list[bytes] = []
    for _ in range(100):
        waiting += asked(stream, 3)
        assert set(stream.feed(waiting.pop(0), drained=False)) <= {FORGOTTEN, *masked(0, 300)}


def test_a_line_is_masked_with_all_secrets_since_it_began_or_withheld():
    stream = Stream()
    for number in range(64):
        asked(stream, 1)
        assert stream.feed(secret(number) + b" ") == []
    assert stream.feed(b"\n") == [" ".join(["***"] * 64)]
    assert stream.feed(b"secr") == []
    asked(stream, 65)
    assert stream.feed(b"et-63\nwell\n") == [FORGOTTEN, FORGOTTEN]


def test_a_line_that_began_before_what_is_forgotten_is_withheld_and_the_next_is_not():
    stream = Stream()
    for _ in range(MEMORY + 1):
        asked(stream, 1)
        assert stream.feed(b".") == []
    assert stream.feed(b"\nnext\n") == [FORGOTTEN, "next"]


def test_each_line_counts_from_its_own_beginning():
    stream = Stream()
    assert stream.feed(b"a") == []
    for _ in range(2):
        asked(stream, 30)
        assert stream.feed(b"b") == []
    assert stream.feed(b"c\nd") == ["abbc"]
    asked(stream, 10)
    assert stream.feed(b"e\n") == ["de"]


def test_where_fewer_are_remembered_fewer_may_be_late():
    stream = Stream(memory=7)
    asked(stream, 20)
    assert stream.feed(b"x\n") == [FORGOTTEN]
    asked(stream, 2)
    assert stream.feed(b"x\n") == [FORGOTTEN]
    assert stream.feed(b"".join(asked(stream, 5))) == masked(22, 5)
    assert stream.feed(b"".join(asked(stream, 6))) == [FORGOTTEN] * 6


def test_the_last_words_after_many_questions_are_withheld():
    stream = Stream()
    asked(stream, 100)
    assert stream.feed(b"bye") == []
    assert stream.finish() == [FORGOTTEN]


@given(
    st.lists(st.sampled_from([1, 1, 1, 2, 5, 12, 30]), max_size=30),
    st.integers(1, 1000),
    st.integers(1, 100),
    st.booleans(),
    st.integers(3, 12),
)
def test_no_secret_comes_out_however_late_it_is_written(
    pauses: list[int], full: int, piece: int, drained: bool, memory: int
):
    """A program with a buffer that it writes when full, or after a number of questions, in whatever pieces."""
    stream = Stream(memory=memory)
    buffer = b""
    shown: list[str] = []
    for pause in pauses:
        for number in range(pause):
            buffer += b"".join(asked(stream, 1))
            size = len(buffer) if number + 1 == pause else len(buffer) // full * full
            for at in range(0, size, piece):
                shown += stream.feed(buffer[at : min(at + piece, size)], drained or at + piece >= size)
            buffer = buffer[size:]
    assert not any("secret-" in line for line in shown + stream.finish())


# For all inputs

pieces = st.binary(max_size=60)
special = [b"\n", b"hunter2", b"68756e74657232", b"<0>", b"\\u0068unter2", b"%68unter2", b"x" * 900]
stream = st.lists(pieces | st.sampled_from(special), max_size=12).map(b"".join)


@given(stream, st.lists(st.integers(0, 3000), max_size=8))
def test_how_the_stream_is_cut_into_pieces_does_not_matter(data: bytes, cuts: list[int]):
    whole = said(data, b"hunter2", b"q")
    assert in_pieces(data, [at for at in cuts if at < len(data)], b"hunter2", b"q") == whole
    assert in_pieces(data, range(len(data)), b"hunter2", b"q") == whole


@given(stream)
def test_all_lines_are_printable_short_and_begin_harmlessly(data: bytes):
    for line in said(data, b"hunter2"):
        assert line.isprintable()
        assert 0 < len(line.encode()) <= SHOWN
        assert not line.startswith(("<0>", "<3>"))


@given(st.text())
def test_escaped_text_is_printable_and_escaping_it_again_changes_nothing(text: str):
    assert escaped(text).isprintable()
    assert escaped(escaped(text)) == escaped(text)


@pytest.mark.parametrize("data", [b"a" * (1 << 24), b"\n" * (1 << 20)])
def test_megabytes_at_once_take_linear_time(data: bytes):
    began = time.process_time()
    said(data, b"hunter2")
    assert time.process_time() - began < DEADLINE


def test_single_bytes_take_linear_time():
    lines = Stream(b"y" * 4096)
    began = time.process_time()
    for byte in (b"a" * 99 + b"\n") * 2000:
        lines.feed(bytes([byte]))
    assert time.process_time() - began < DEADLINE
