"""No secret in a shown line, however it was printed; and only its words are masked."""

import base64
import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from unit.worker.test_stderrlines import in_pieces, said

from bridge.worker.masks import MOST_PARTS
from bridge.worker.stderrlines import ROOM, SHOWN, WITHHELD

DEADLINE = 20.0
"""Seconds of CPU time; quadratic work on these inputs takes many times as long."""

SECRET = "wönder:länd/ \"o'€😀\\+%"

WAYS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "Python's str": lambda s: repr(s)[1:-1],
    "Python's ascii": lambda s: ascii(s)[1:-1],
    "Python's bytes": lambda s: repr(s.encode())[2:-1],
    "JSON": lambda s: json.dumps(s)[1:-1],
    "JSON in UTF-8": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "PHP's JSON": lambda s: json.dumps(s).replace("/", "\\/")[1:-1],
    "JSON of Latin-1": lambda s: json.dumps(s.encode().decode("latin-1"))[1:-1],
    "surrogates": lambda s: ascii(s.encode().decode("ascii", "surrogateescape"))[1:-1],
    "JavaScript, Ruby": lambda s: "".join(f"\\u{{{ord(char):x}}}" for char in s),
    "Perl": lambda s: "".join(f"\\x{{{ord(char):x}}}" for char in s),
    "Go": lambda s: "".join(f"\\U{ord(char):08X}" for char in s),
    "C": lambda s: "".join(f"\\{byte:03o}" for byte in s.encode()),
    "URL": quote,
    "URL in lower case": lambda s: re.sub("%..", lambda escape: escape[0].lower(), quote(s, safe="")),
    "form": quote_plus,
    "URL of everything": lambda s: "".join(f"%{byte:02X}" for byte in s.encode()),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 unpadded": lambda s: base64.b64encode(s.encode()).decode().rstrip("="),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64 in a URL": lambda s: quote(base64.b64encode(s.encode()).decode(), safe=""),
    "base64 in PHP's JSON": lambda s: base64.b64encode(s.encode()).decode().replace("/", "\\/"),
    "base64 of more": lambda s: base64.b64encode(b"user:" + s.encode() + b"\0more").decode(),
    "hexadecimal": lambda s: s.encode().hex(),
    "HEXADECIMAL": lambda s: s.encode().hex().upper(),
    "hexadecimal of more": lambda s: "7" + s.encode().hex() + "7",
    "encoding mistaken": lambda s: s.encode().decode("latin-1"),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_common_way_to_print_a_secret_is_masked(way: str):
    printed = WAYS[way](SECRET)
    assert said(f"login <{printed}> failed\n".encode(), SECRET.encode()) == ["login *** failed"]


@pytest.mark.parametrize("way", ["base64", "base64 for URLs", "base64 in a URL", "base64 in PHP's JSON"])
@pytest.mark.parametrize("secret", ["~~~???>>>", "?>?>?>?>?>", "ûÿþïûÿþï"])
def test_a_secret_whose_base64_is_not_only_letters_is_masked(way: str, secret: str):
    assert said(f"login <{WAYS[way](secret)}> failed\n".encode(), secret.encode()) == ["login *** failed"]


def test_a_secret_in_latin_1_is_masked():
    assert said("pw: größer!\n".encode("latin-1"), "größer".encode()) == ["pw: ***"]


@pytest.mark.parametrize("before", ["a:", "ab:", "abc:"])
@pytest.mark.parametrize("after", ["", ".", ":x", ":more"])
def test_inside_of_base64(before: str, after: str):
    printed = base64.b64encode(f"{before}correct horse{after}".encode()).decode()
    assert said(f"Authorization: Basic {printed}\n".encode(), b"correct horse") == ["Authorization: Basic ***"]


# Words


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("password=hunter2", "***"),
        ("bad password:\thunter2", "bad ***"),
        ("('hunter2', 'alice')", "*** 'alice')"),
        ("x=hunter2/hunter2:x y", "*** y"),
        ("hunter2 hunter2", "*** ***"),
        ("hunter2", "***"),
        ("  hunter2", "  ***"),
        ("<3>hunter2 x", "*** x"),
        ("a\vhunter2\fb", "***"),
    ],
)
def test_a_mask_takes_the_whole_word(written: str, shown: str):
    assert said(written.encode(), b"hunter2", b"another") == [shown]


@pytest.mark.parametrize("length", [4, 7, 40, 1000])
def test_a_mask_has_one_length(length: int):
    secret = b"x" * length
    assert said(b"pw " + secret + b" bad", secret) == ["pw *** bad"]
    assert said(b"pw '" + secret + secret + b"' bad", secret) == ["pw *** bad"]


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_with_spaces_has_one_mask_with_all_its_words(way: str):
    printed = WAYS[way]("correct horse  battery")
    assert said(f"the pw='{printed}'! is bad".encode(), b"correct horse  battery") == ["the *** is bad"]


def test_secrets_that_overlap_have_one_mask():
    assert said(b"one two three four five", b"two three", b"three four") == ["one *** five"]
    assert said(b"a b a b a b a c", b"a b a") == ["*** c"]
    assert said(b"x abababab y", b"abab") == ["x *** y"]
    assert said(b"hunter22hunter\n", b"hunter22", b"22hunter") == ["***"]


def test_a_secret_of_spaces():
    assert said(b"one    two", b"    ") == ["***"]
    assert said(b" two words ", b" two words") == ["***"]


@pytest.mark.parametrize("line", [b"args: ['auth', 'hunter2', 'abc', 'x']", b"quux", b"68756e74657232", b"it's quux"])
def test_a_line_with_a_part_of_a_secret_is_withheld(line: bytes):
    """A mask could stand for a word that everybody knows to be in this line."""
    assert said(line + b"\nnext\n", b"hunter2:abc:quux") == [WITHHELD, "next"]
    assert said(line + b" hunter2:abc:quux\n", b"hunter2:abc:quux") == [WITHHELD]


def test_the_parts_of_a_whole_secret_are_masked_with_it():
    assert said(b"user:x:hunter2:abc:quux failed\n", b"hunter2:abc:quux") == ["*** failed"]


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("cannot connect to database", "data"),
        ("cannot connect to database", "base"),
        ("cannot connect to database", "tabas"),
        ("cannot connect to user_data", "data"),
        ("xhunter2xhunter2x y", "hunter2"),
        ("no größere file", "größer"),
        ("ababab", "abab"),
        ("(x86_64-linux) failed", "64-linux)"),
    ],
)
def test_a_line_with_a_secret_inside_a_word_is_withheld(line: str, secret: str):
    """Who knows the message would learn from a mask that its word holds the secret."""
    assert said(line.encode(), secret.encode()) == [WITHHELD]


@pytest.mark.parametrize("line", ["'database'", "--pw=database", "a/database.x", "database,database", "data-database"])
def test_punctuation_ends_a_word(line: str):
    assert said(f"on {line} it\n".encode(), b"database") == ["on *** it"]


def test_the_secrets_of_many_questions():
    secrets = [b"%d hunter%d" % (number, number + 100) for number in range(32)]
    secrets += [b"secret-number%d" % (number + 100) for number in range(32)]
    for number in range(32):
        line = b"a %d hunter%d and 'secret-number%d' fail" % (number, number + 100, number + 100)
        assert said(line, *secrets[number:], *secrets[:number]) == ["a *** and *** fail"]


def test_lines_without_the_secret_are_untouched_beside_one_with_it():
    data = b"a%20b\\n\ntype \\x41\nhunter2\npath+x\n"
    assert said(data, b"hunter2") == ["a%20b\\n", "type \\x41", "***", "path+x"]
    assert said(b'say x\\"yz\\\nnext\n', b'x"yz\\') == ["say ***", "next"]


# What cannot be masked


@pytest.mark.parametrize("secret", [b"x", b"xy", b"x-y", "é".encode()])
def test_a_line_with_a_very_short_secret_is_withheld(secret: bytes):
    assert said(b"no hit here\nit is " + secret + b"!\n", secret) == ["no hit here", WITHHELD]
    assert said(b"it is " + json.dumps(secret.decode()).encode() + b"\n", secret) == [WITHHELD]
    assert said(b"it is " + secret.hex().encode() + b"\n", secret) == [WITHHELD]
    assert said(b"it is " + repr(secret).encode() + b"\n", secret) == [WITHHELD]


def test_an_empty_secret_masks_nothing():
    assert said(b"all is well\n", b"") == ["all is well"]


def test_secrets_of_too_many_parts_withhold_and_of_many_do_not():
    parts = [b"%04d" % number for number in range(MOST_PARTS + 1)]
    assert said(b"well\n1234\n", b":".join(parts)) == ["well", WITHHELD]
    assert said(b"well\n1234\n", b":".join(parts) + b":") == [WITHHELD, WITHHELD]
    several = [b":".join(parts[at : at + 60]) for at in range(0, 60 * 64, 60)]
    assert said(b"well\n1234\n", *several) == ["well", WITHHELD]


def test_many_parts_that_begin_alike_withhold():
    parts = [b"word%04d" % number for number in range(1000)]
    assert said(b"a word for it\n", b":".join(parts)) == [WITHHELD]
    assert said(b"a line for it\n", b":".join(parts)) == ["a line for it"]


def test_many_secrets_that_are_everywhere_withhold():
    assert said(b"a" * 300 + b"\n", b"aaaa") == ["***"]
    assert said(b"\\x61" * 90 + b"\n", b"aaaa") == ["***"]
    assert said(b"aaaa " * 300 + b"\n", *(b"a" * length for length in range(4, 60))) == [
        ("*** " * 128)[: SHOWN - 3] + "…"
    ]
    assert said(b"a" * 2000 + b"\n", *(b"a" * length for length in range(4, 60))) == [WITHHELD]


def test_a_secret_that_masking_or_escaping_would_put_together_withholds():
    assert said(b"a hunter2 b\n", b"a *** b", b"hunter2") == [WITHHELD]
    assert said(b"hunter2\n", b"***", b"hunter2") == [WITHHELD]
    assert said(b"\x07\n", b"\\x07") == [WITHHELD]


# The cut


@pytest.mark.parametrize("before", range(SHOWN - 10, SHOWN + 3))
def test_a_secret_across_the_cut_is_masked(before: int):
    (shown,) = said(b"- " * (before // 2) + b"hunter2 and more\n", b"hunter2")
    assert "h" not in shown
    assert shown.startswith("- " * (SHOWN // 2 - 6))
    assert len(shown.encode()) <= SHOWN


@pytest.mark.parametrize("print_as", [str, lambda s: s.encode().hex(), quote, lambda s: ascii(s)[1:-1]])
def test_a_secret_across_the_end_of_what_is_looked_at_is_masked_when_masks_bring_it_into_view(
    print_as: Callable[[str], str],
):
    secret = "€😀" + "ABCDEFGH" * 3 + "é\\"
    printed = print_as(secret).encode()
    for shift in range(len(printed)):
        (shown,) = said(b"-" * shift + b" " + (printed + b" ") * (ROOM // len(printed) + 1) + b"\n", secret.encode())
        begins, *masks, last = shown.removesuffix("…").rstrip().split(" ")
        assert begins == "-" * shift
        assert set(masks) == {"***"}
        # A first part of less than four bytes is not told from other text; there the € may be torn too.
        first = last.replace("\\xe2", "€").replace("\\x82", "")
        assert last == "***" or first == "€" or (len(first) < 4 and printed.startswith(first.encode()))


@pytest.mark.parametrize("length", range(4, 11))
def test_the_first_part_of_a_secret_at_the_end_of_a_broken_stream_is_masked(length: int):
    assert said(b"login of alice: " + b"hunter2-long"[:length], b"hunter2-long") == ["login of alice: ***"]
    assert said(b"login of alice: it is" + b"hunter2-long"[:length], b"is it", b"hunter2-long")[0].endswith(": it ***")


def test_an_end_that_may_be_the_first_part_of_a_secret_in_many_ways_is_masked():
    secret = b"a" * 20 + b"b" + b"a" * 20 + b"c"
    assert said(b"login of alice: " + b"a" * 60, secret) == ["login of alice: ***"]
    assert said(b"login of alice: " + b"a" * 60 + b" failed", secret) == ["login of alice: " + "a" * 60 + " failed"]


def test_the_end_of_a_stream_with_an_escape_is_shown():
    assert said(b"disk is full: 99%", b"hunter2") == ["disk is full: 99%"]
    assert said(b"C:\\temp\\x4", b"hunter2") == ["C:\\temp\\x4"]
    assert said(b'word "l\\u00e4nd\\u2', "ländereien".encode(), "länd€".encode()) == ["word ***"]


# For all inputs

secret_text = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=4, max_size=25)


@given(
    st.lists(secret_text, min_size=1, max_size=64, unique=True),
    st.lists(st.tuples(st.integers(0, 63), st.sampled_from([*WAYS]), st.text("ab :='", max_size=9)), max_size=6),
    st.lists(st.integers(0, 1500), max_size=4),
)
@example(["aa a", "a aa"], [(0, "as it is", " "), (1, "as it is", " ")], [])
@example(["aaaa", "0000"], [(0, "hexadecimal", "a"), (1, "base64", "a")], [3])
def test_none_of_many_secrets_comes_out_however_they_are_printed(
    secrets: list[str], words: list[tuple[int, str, str]], cuts: list[int]
):
    printed = [WAYS[way](secrets[number % len(secrets)]) for number, way, _ in words]
    data = "".join(text + between for text, (_, _, between) in zip(printed, words, strict=True)).encode()
    hidden = {text for text in [*secrets, *printed] if text not in WITHHELD}
    for line in in_pieces(data, [at for at in cuts if at < len(data)], *(secret.encode() for secret in secrets)):
        assert not any(text in line for text in hidden)


@given(
    st.binary(min_size=4, max_size=100)
    | st.text(min_size=4, max_size=25).map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=700),
    st.binary(max_size=700),
    st.lists(st.integers(0, 1500), max_size=4),
)
@example(b"****", b"*", b"*", [])
@example(b"a***b", b"a", b"b", [])
@example(b"\\\\\\\\", b"\\", b"\\", [])
@example(b"%25%25", b"%", b"25", [])
@example(b"    ", b" ", b" ", [])
def test_a_secret_never_comes_out(secret: bytes, before: bytes, after: bytes, cuts: list[int]):
    assume(b"\n" not in secret and secret not in WITHHELD.encode())
    data = before + secret + after
    for line in in_pieces(data, [at for at in cuts if at < len(data)], secret):
        assert secret not in line.encode()


@given(st.binary(min_size=1, max_size=3), st.binary(max_size=100), st.binary(max_size=100))
def test_a_very_short_secret_never_comes_out(secret: bytes, before: bytes, after: bytes):
    assume(b"\n" not in secret and secret not in WITHHELD.encode())
    for line in said(before + secret + after, secret):
        assert secret not in line.encode()


@given(st.text("abc =", max_size=200), st.text("XYZ:%\\€", min_size=4, max_size=40), st.text("abc =", max_size=200))
def test_nothing_but_the_secrets_word_is_masked(before: str, secret: str, after: str):
    before, after = before + "=", "=" + after
    word = before.rpartition(" ")[2] + secret + after.partition(" ")[0]
    line = f"{before}{secret}{after}\n"
    assert said(line.encode(), secret.encode()) == [line.replace(word, "***").rstrip()]


# Time

MEGABYTE = 1 << 20
FOURS = b":".join(b"%04d" % number for number in range(MOST_PARTS))


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (b"", b"hunter2"),
        (b"a", b"hunter2"),
        (b"x" * 79, b"y" * 4096),
        (b"a" * 2000, b"a" * 4096),
        (b"a" * 2000, b"a" * 4),
        (b"a" * 2100, b"a" * 4095 + b"b"),
        (b"ab" * 2000, b"ab" * 2040 + b"c"),
        (b"\\x41" * 2000, b"A" * 1000 + b"B"),
        (b"\\" * 2000, b"\\" * 1000 + b"B"),
        (b"%41+" * 2000, b"A " * 1000 + b"B"),
        (b"0001:" * 2500, FOURS),
        (b"<1>" * 4000, b"hunter2"),
    ],
)
def test_the_time_is_linear_whatever_is_written(line: bytes, secret: bytes):
    data = (line + b"\n") * (MEGABYTE // 16 // (len(line) + 1))
    pieces = range(4096, len(data), 4096)
    began = time.process_time()
    in_pieces(data, pieces, *(b"%d" % number + secret for number in range(63)), secret)
    assert time.process_time() - began < DEADLINE
