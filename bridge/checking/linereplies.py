"""What is wrong with the bytes that should have been `0` or `1` and a line end.  No I/O."""

from __future__ import annotations

import re

from bridge.checking.flaw import KILLED, UNASKED, Flaw, ahead
from bridge.protocol.frames import may_become_replies

LAST = re.compile(rb"(?:\A|\n|\xef\xbb\xbf)([01])(?:\r?\n)?\Z")
"""A reply at the end of something."""

REPLY = re.compile(rb"([01])(?:\r?\n)?")
"""A digit, and a line end that some forget."""

_MORE = re.compile(rb"[01](?:\r?\n[01])*(?:\r?\n)?")
_FAILS = "every login fails: the bridge takes nothing for a yes but a 1 that stands alone"
_DIGIT = 'print "1" for yes and "0" for no, each with a line end and nothing else'

FRAMES = 'leave protocol out: without it, the bridge speaks ejabberd\'s frames (protocol = "ejabberd")'


def flaw(data: bytes) -> Flaw | None:
    """The flaw of what came instead of a reply; `None` if it is one, or empty."""
    if not data or REPLY.fullmatch(data):
        return None
    if _MORE.fullmatch(data):
        return Flaw(
            "a second answer to one question", UNASKED, "have the program answer exactly once, each line", grave=True
        )
    if may_become_replies(data):
        seen = "four bytes instead of a digit: it speaks ejabberd's frames, not Prosody's lines"
        return Flaw(seen, _FAILS, FRAMES, protocol="ejabberd")
    if (last := LAST.search(data)) and last.start(1):
        before = data[: last.start(1)]
        return ahead(before, are_replies=_MORE.fullmatch(before) is not None)
    if (one := REPLY.match(data)) and one.end() < len(data):
        return _behind(data)
    return _other(data)


def _behind(data: bytes) -> Flaw:
    rest = data[1:]  # shown is all of it: the digit may be the first one of a secret, which is masked as a whole
    if rest == b"\r":
        return Flaw("a carriage return behind the digit, and no line feed", KILLED, _DIGIT)
    if not rest.strip(b"\r\n"):
        return Flaw("more than one line end behind a digit", KILLED, "print and puts add a line end of their own")
    if rest.strip().isdigit():
        seen = "digits with no line end between them: another number than 0 or 1, or a second answer"
        return Flaw(seen, UNASKED, _DIGIT, text=data, grave=True)
    if not rest.strip():
        return Flaw("blanks behind the digit", KILLED, _DIGIT)
    return Flaw(f"{len(rest)} bytes behind the digit", KILLED, f"{_DIGIT}; everything else to stderr", text=data)


def _other(data: bytes) -> Flaw:
    if not data.strip():
        return Flaw("a line end without a digit", _FAILS, _DIGIT)
    if data.strip() in (b"0", b"1"):
        return Flaw("blanks before the digit", _FAILS, _DIGIT)
    if data.strip().isdigit():
        return Flaw("another number than 0 or 1", _FAILS, _DIGIT, text=data)
    if data.strip().lower() in _WORDS:
        return Flaw("a word instead of a digit", _FAILS, _DIGIT, text=data)
    return Flaw("text instead of a digit", _FAILS, _DIGIT, text=data)


_WORDS = {b"true", b"false", b"yes", b"no", b"ok", b"fail", b"failed", b"success", b"granted", b"denied"}
