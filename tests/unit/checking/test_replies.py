"""What is wrong with bytes that should have been a reply."""

import pytest

from bridge.checking import linereplies
from bridge.checking.replies import flaw

YES, NO = b"\0\2\0\1", b"\0\2\0\0"


@pytest.mark.parametrize("data", [b"", YES, NO])
def test_no_flaw(data: bytes) -> None:
    assert flaw(data) is None


@pytest.mark.parametrize(
    ("data", "seen", "ahead"),
    [
        (YES + b"\n", "a line end behind", False),
        (YES + b"\r\n", "a line end behind", False),
        (YES + NO, "a second reply", False),
        (YES + YES[:2], "a second reply", False),
        (YES + b" ok", "3 bytes behind", False),
        (b"\n" + YES, "a blank line before", True),
        (b"\r\n" + NO, "a blank line before", True),
        (b"\xef\xbb\xbf" + NO, "a byte order mark before", True),
        (b"Warning: x\n" + NO, "text on stdout before", True),
        (b"1", "Prosody's lines", False),
        (b"0\n", "Prosody's lines", False),
        (b"1\r\n", "Prosody's lines", False),
        (b"\2\0\1\0", "little-endian", False),
        (b"\0\2\1\0", "neither 1 nor 0 in its reply, but 01 00", False),
        (b"\0\2\0\2", "neither 1 nor 0 in its reply, but 00 02", False),
        (b"\0\4\0\1", "4 bytes that are no reply: 00 04 00 01", False),
        (b"\0\1\1", "3 bytes that are no reply: 00 01 01", False),
        (b"true\n", "text instead", False),
        (b"10\n", "text instead", False),
        (b"\xff" * 100, "100 bytes that are no reply: ff ff", False),
    ],
)
def test_flaws(data: bytes, seen: str, ahead: bool) -> None:
    found = flaw(data)
    assert found is not None
    assert seen in found.seen
    assert found.ahead is ahead
    assert found.meaning
    assert found.advice


def test_what_stands_with_a_reply_is_shown() -> None:
    ahead, behind = flaw(b"Warning: x\n" + NO), flaw(YES + b" ok")
    assert ahead is not None and ahead.text == b"Warning: x\n"
    assert behind is not None and behind.text == b" ok"


@pytest.mark.parametrize("data", [b"", b"1", b"0", b"1\n", b"0\r\n"])
def test_no_flaw_of_lines(data: bytes) -> None:
    assert linereplies.flaw(data) is None


@pytest.mark.parametrize(
    ("data", "seen", "ahead", "grave"),
    [
        (b"1\n0\n", "a second answer", False, True),
        (b"1\n1", "a second answer", False, True),
        (b"11", "digits with no line end between", False, True),
        (b"10\n", "digits with no line end between", False, True),
        (b"1\n\n", "more than one line end", False, False),
        (b"1 \n", "blanks behind", False, False),
        (b" 1\n", "blanks before", False, False),
        (b"1 ok\n", "4 bytes behind", False, False),
        (b"\n1\n", "a blank line before", True, False),
        (b"\xef\xbb\xbf0\n", "a byte order mark before", True, False),
        (b"Warning: x\n0\n", "text on stdout before", True, False),
        (b"true\n", "a word instead", False, False),
        (b"2\n", "another number", False, False),
        (b"\n", "without a digit", False, False),
        (b"> ", "text instead", False, False),
        (YES, "ejabberd's frames", False, False),
        (NO + YES, "ejabberd's frames", False, False),
    ],
)
def test_flaws_of_lines(data: bytes, seen: str, ahead: bool, grave: bool) -> None:
    found = linereplies.flaw(data)
    assert found is not None
    assert seen in found.seen
    assert (found.ahead, found.grave) == (ahead, grave)
    assert found.meaning
    assert found.advice
    assert found.protocol == ("ejabberd" if "frames" in seen else "")
