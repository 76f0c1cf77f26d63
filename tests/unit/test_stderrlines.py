"""`bridge.stderrlines`: a program's stderr as safe lines, without the secrets it prints."""

import base64
import json
import time
import tracemalloc
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bridge.stderrlines import MOST_PIECES, MOST_SECRETS, SHOWN, WITHHELD, StderrLines, cut, escaped

MAX_LINE = 100
DEADLINE = 20.0
"""Seconds; quadratic work on these inputs takes many times as long."""

SECRET = "wönder:länd/ \"o'€😀\\+%"
RAW = SECRET.encode()


def said(data: bytes, *secrets: bytes) -> list[str]:
    """The lines of a whole stream."""
    lines = StderrLines(MAX_LINE)
    return lines.feed(data, secrets) + lines.finish(secrets)


def in_pieces(data: bytes, cuts: Iterable[int], *secrets: bytes) -> list[str]:
    """The same, read in pieces that end at `cuts`."""
    lines = StderrLines(MAX_LINE)
    found: list[str] = []
    start = 0
    for end in [*sorted(cuts), len(data)]:
        found += lines.feed(data[start:end], secrets)
        start = end
    return found + lines.finish(secrets)


# Lines


def test_lines_come_when_they_are_complete():
    lines = StderrLines(MAX_LINE)
    assert lines.feed(b"one\ntwo\nthr", ()) == ["one", "two"]
    assert lines.feed(b"ee\n", ()) == ["three"]
    assert lines.finish(()) == []


def test_the_last_line_needs_no_newline_and_the_stream_after_it_is_a_new_one():
    lines = StderrLines(MAX_LINE)
    assert lines.feed(b"last words", ()) == []
    assert lines.finish(()) == ["last words"]
    assert lines.finish(()) == []
    assert lines.feed(b"next\n", ()) == ["next"]


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
    lines = StderrLines(MAX_LINE)
    tracemalloc.start()
    for _ in range(500):
        assert lines.feed(b"a" * 65536, [b"secret"]) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    (overlong, following) = lines.feed(b"\nb\n", [b"secret"])
    assert overlong == "a" * (SHOWN - 3) + "…"
    assert following == "b"


def test_cut_keeps_what_fits():
    assert cut("abcd", 4) == b"abcd"
    assert cut("abcde", 4) == "a…".encode()
    assert cut("ääää", 7) == "ää…".encode()
    assert cut("\udcff", 6) == b"\\udcff"


# Secrets


@pytest.mark.parametrize(
    "printed",
    [
        SECRET,
        repr(SECRET)[1:-1],
        ascii(SECRET)[1:-1],
        repr(RAW)[2:-1],
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        json.dumps(SECRET).replace("/", "\\/")[1:-1],  # PHP's json_encode
        json.dumps(RAW.decode("latin-1"))[1:-1],
        ascii(RAW.decode("ascii", "surrogateescape"))[1:-1],
        "".join(f"\\u{{{ord(char):x}}}" for char in SECRET),  # JavaScript, Ruby
        "".join(f"\\x{{{ord(char):x}}}" for char in SECRET),  # Perl
        "".join(f"\\U{ord(char):08X}" for char in SECRET),  # Go
        "".join(f"\\{byte:03o}" for byte in RAW),  # C
        quote(SECRET),
        quote(SECRET, safe="").lower(),
        quote_plus(SECRET),
        "".join(f"%{byte:02X}" for byte in RAW),
        base64.b64encode(RAW).decode(),
        base64.b64encode(RAW).decode().rstrip("="),
        base64.urlsafe_b64encode(RAW).decode(),
        RAW.hex(),
        RAW.hex().upper(),
        RAW.decode("latin-1"),
    ],
)
def test_every_common_way_to_print_a_secret_is_masked(printed: str):
    (shown,) = said(f"login <{printed}> failed\n".encode(), RAW)
    assert shown.replace("***=", "***").replace("***=", "***") == "login <***> failed"


def test_a_secret_in_latin_1_is_masked():
    assert said("pw=größer!\n".encode("latin-1"), "größer".encode()) == ["pw=***!"]


@pytest.mark.parametrize("before", ["a:", "ab:", "abc:"])
@pytest.mark.parametrize("after", ["", ".", ":x", ":more"])
def test_inside_of_base64_what_the_secret_alone_decides_is_masked(before: str, after: str):
    printed = base64.b64encode(f"{before}correct horse{after}".encode()).decode()
    (shown,) = said(f"Authorization: Basic {printed}\n".encode(), b"correct horse")
    left = shown.removeprefix("Authorization: Basic ").split("***")
    assert len(left) == 2
    assert printed.startswith(left[0])
    assert printed.endswith(left[1])
    assert len("".join(left)) <= len(printed) - len("correct horse") * 8 // 6 + 2


def test_colon_separated_parts_of_four_bytes_are_masked():
    assert said(b"args: ['auth', 'hunter2', 'abc', 'quux']\n", b"hunter2:abc:quux") == [
        "args: ['auth', '***', 'abc', '***']"
    ]
    assert said(b"user:x:hunter2:abc:quux\n", b"hunter2:abc:quux") == ["user:x:***"]


def test_places_that_touch_or_overlap_are_one():
    assert said(b"[ababab]\n", b"abab") == ["[***]"]
    assert said(b"one,hunter2hunter2,two\n", b"hunter2") == ["one,***,two"]
    assert said(b"hunter22hunter\n", b"hunter22", b"22hunter") == ["***"]


@pytest.mark.parametrize("secret", [b"x", b"xy", b"x-y", "é".encode()])
def test_a_line_with_a_very_short_secret_is_withheld(secret: bytes):
    assert said(b"no hit here\nit is " + secret + b"!\n", secret) == ["no hit here", WITHHELD]
    assert said(b"it is " + json.dumps(secret.decode()).encode() + b"\n", secret) == [WITHHELD]
    assert said(b"it is " + secret.hex().encode() + b"\n", secret) == [WITHHELD]
    assert said(b"it is " + repr(secret).encode() + b"\n", secret) == [WITHHELD]


def test_an_empty_secret_masks_nothing():
    assert said(b"all is well\n", b"") == ["all is well"]


def test_a_secret_across_pieces_is_masked_even_if_it_is_no_longer_in_flight():
    lines = StderrLines(MAX_LINE)
    assert lines.feed(b"pw hun", [b"hunter2"]) == []
    assert lines.feed(b"ter2", [b"other secret"]) == []
    assert lines.feed(b" bad\nhunter2\n", [b"third secret"]) == ["pw *** bad", "hunter2"]


def test_a_secret_that_comes_with_the_newline_masks_the_line():
    lines = StderrLines(MAX_LINE)
    assert lines.feed(b"pw hunter2", ()) == []
    assert lines.feed(b"\n", [b"hunter2"]) == ["pw ***"]
    assert lines.feed(b"pw hunter2", ()) == []
    assert lines.finish([b"hunter2"]) == ["pw ***"]


@pytest.mark.parametrize("before", range(SHOWN - 10, SHOWN + 3))
def test_a_secret_across_the_cut_is_masked(before: int):
    (shown,) = said(b"-" * before + b"hunter2 and more\n", b"hunter2")
    assert "h" not in shown
    assert shown.startswith("-" * (SHOWN - 12))
    assert len(shown.encode()) <= SHOWN


@pytest.mark.parametrize("print_as", [str, lambda s: s.encode().hex(), quote, lambda s: ascii(s)[1:-1]])
def test_a_secret_across_the_end_of_the_buffer_is_masked_when_the_masks_before_it_bring_it_into_view(
    print_as: Callable[[str], str],
):
    secret = "€😀" + "ABCDEFGH" * 3 + "é\\"
    printed = print_as(secret).encode()
    for shift in range(len(printed)):
        (shown,) = said(b"-" * shift + printed * 40 + b"\n", secret.encode())
        assert shown.endswith("…")
        begins, _, rest = shown.partition("***")
        assert begins == "-" * shift
        # A first part of less than four bytes is not told from other text; there the € may be torn too.
        first = rest.removesuffix("…").replace("\\xe2", "€").replace("\\x82", "")
        assert first == "€" or (len(first) < 4 and printed.startswith(first.encode()))


@pytest.mark.parametrize("length", range(4, 11))
def test_the_first_part_of_a_secret_at_the_end_of_a_broken_stream_is_masked(length: int):
    lines = StderrLines(MAX_LINE)
    lines.feed(b"login of alice: " + b"hunter2-long"[:length], [b"hunter2-long"])
    assert lines.finish([b"hunter2-long"]) == ["login of alice: ***"]


def test_the_end_of_a_stream_with_an_escape_is_shown():
    lines = StderrLines(MAX_LINE)
    lines.feed(b"disk is full: 99%", [b"hunter2"])
    assert lines.finish([b"hunter2"]) == ["disk is full: 99%"]
    lines.feed(b"C:\\temp\\x4", [b"hunter2"])
    assert lines.finish([b"hunter2"]) == ["C:\\temp\\x4"]
    lines.feed(b'"l\\u00e4nd\\u2', ["ländereien".encode()])
    assert lines.finish(["länd€".encode()]) == ['"***']


def test_a_line_that_outlives_too_many_questions_is_withheld_and_the_next_is_not():
    lines = StderrLines(MAX_LINE)
    for number in range(MOST_SECRETS + 1):
        assert lines.feed(b".", [b"secret number %d" % number]) == []
    assert lines.feed(b"\nnext\n", [b"hunter2"]) == [WITHHELD, "next"]


def test_a_secret_of_too_many_parts_withholds():
    assert said(b"well\n", b":".join(b"%04d" % n for n in range(MOST_PIECES + 1))) == [WITHHELD]


def test_a_secret_that_is_everywhere_withholds():
    assert said(b"a" * 300 + b"\n", b"aaaa") == [WITHHELD]
    assert said(b"\\x61" * 90 + b"\n", b"aaaa") == [WITHHELD]


def test_a_secret_that_masking_or_escaping_would_put_together_withholds():
    assert said(b"a" + b"a***b" + b"b\n", b"a***b") == [WITHHELD]
    assert said(b"\x07\n", b"\\x07") == [WITHHELD]


def test_lines_without_the_secret_are_untouched_beside_one_with_it():
    data = b"a%20b\\n\ntype \\x41\nhunter2\npath+x\n"
    assert said(data, b"hunter2") == ["a%20b\\n", "type \\x41", "***", "path+x"]
    assert said(b'say x\\"yz\\\nnext\n', b'x"yz\\') == ["say ***", "next"]


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


@given(
    st.binary(min_size=4, max_size=MAX_LINE)
    | st.text(min_size=4, max_size=25).map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=700),
    st.binary(max_size=700),
    st.lists(st.integers(0, 1500), max_size=4),
)
@example(b"****", b"*", b"*", [])
@example(b"a***b", b"a", b"b", [])
@example(b"\\\\\\\\", b"\\", b"\\", [])
@example(b"%25%25", b"%", b"25", [])
def test_a_secret_never_comes_out(secret: bytes, before: bytes, after: bytes, cuts: list[int]):
    assume(b"\n" not in secret and len(secret) >= 4 and secret not in WITHHELD.encode())
    data = before + secret + after
    for line in in_pieces(data, [at for at in cuts if at < len(data)], secret):
        assert secret not in line.encode()


@given(st.binary(min_size=1, max_size=3), st.binary(max_size=100), st.binary(max_size=100))
def test_a_very_short_secret_never_comes_out(secret: bytes, before: bytes, after: bytes):
    assume(b"\n" not in secret and secret not in WITHHELD.encode())
    for line in said(before + secret + after, secret):
        assert secret not in line.encode()


@given(st.text("abc =", max_size=200), st.text("XYZ:%\\€", min_size=4, max_size=40), st.text("abc ", max_size=200))
def test_nothing_but_the_secret_is_masked(before: str, secret: str, after: str):
    assert said(f"{before}{secret}{after}\n".encode(), secret.encode()) == [f"{before}***{after}".rstrip()]


@given(st.text())
def test_escaped_text_is_printable_and_escaping_it_again_changes_nothing(text: str):
    assert escaped(text).isprintable()
    assert escaped(escaped(text)) == escaped(text)


# Time

MEGABYTE = 1 << 20
MANY_PARTS = b":".join(b"%04d" % n for n in range(MOST_PIECES - 1))


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (b"", b"hunter2"),
        (b"a", b"hunter2"),
        (b"x" * 79, b"y" * 4096),
        (b"a" * 12700, b"a" * 4096),
        (b"a" * 12700, b"a" * 4),
        (b"a" * 12900, b"a" * 4095 + b"b"),
        (b"ab" * 6450, b"ab" * 2040 + b"c"),
        (b"\\x41" * 3100, b"A" * 1000 + b"B"),
        (b"\\" * 12000, b"\\" * 1000 + b"B"),
        (b"%41+" * 3100, b"A " * 1000 + b"B"),
        (b"0001:" * 2500, MANY_PARTS),
        (b"<1>" * 4000, b"hunter2"),
    ],
)
def test_the_time_is_linear_whatever_is_written(line: bytes, secret: bytes):
    data = (line + b"\n") * (MEGABYTE // (len(line) + 1))
    lines = StderrLines(4096)
    began = time.monotonic()
    for start in range(0, len(data), 65536):
        lines.feed(data[start : start + 65536], [secret])
    lines.finish([secret])
    assert time.monotonic() - began < DEADLINE


@pytest.mark.parametrize("data", [b"a" * MEGABYTE * 16, b"\n" * MEGABYTE])
def test_megabytes_at_once_take_linear_time(data: bytes):
    began = time.monotonic()
    said(data, b"hunter2")
    assert time.monotonic() - began < DEADLINE


def test_single_bytes_take_linear_time():
    lines = StderrLines(4096)
    began = time.monotonic()
    for byte in (b"a" * 99 + b"\n") * 2000:
        lines.feed(bytes([byte]), [b"y" * 4096])
    assert time.monotonic() - began < DEADLINE
