r"""Prosody's own lines, for programs that were written as its helpers.

To a program: `command:user:host[:secret]` and LF.  From it, `1` or `0` with LF or CRLF; a digit alone counts if nothing
follows it for a while, as some programs print no line end, or print it with their next reply.  The module is a `Codec`.

A question must be one line to whoever reads it, which `checks` sees to: what follows an end of a line would be a second
question, of an attacker's choice, and its reply perhaps taken for the next user's.

  - Some runtimes end a line at U+2028 and U+2029 too, Node.js's readline for one.
  - A program with a small buffer (fgets) takes what does not fit in it for another line: if that is a question, it
    does as it is told, and sets a password.

No I/O.
"""

from __future__ import annotations

import re

from bridge.protocol.query import Verdict

headers: list[bytes] = []
overhead = 1

verdict_of = {
    b"1\n": Verdict.GRANTED,
    b"1\r\n": Verdict.GRANTED,
    b"0\n": Verdict.DENIED,
    b"0\r\n": Verdict.DENIED,
}.get

verdict_alone = {b"1": Verdict.GRANTED, b"0": Verdict.DENIED}.get

_several = re.compile(rb"(?:[01](?:\r?\n|\r\Z)?)+").fullmatch
_first = re.compile(rb"[01](?:\r?\n|(?=[01]))").match


def framed(body: bytes) -> bytes:
    """A question as it is written."""
    return body + b"\n"


def may_become_reply(data: bytes) -> bool:
    """Whether `data` is an incomplete reply."""
    return data in (b"", b"0", b"1", b"0\r", b"1\r")


def may_become_replies(data: bytes) -> bool:
    """Whether `data` consists of replies, with or without line ends, the last of which may be incomplete."""
    return _several(data) is not None


def split(data: bytes) -> tuple[Verdict | None, bytes]:
    """The verdict of the reply that `data` begins with, if it does, and all that follows it."""
    first = _first(data)
    return (verdict_alone(data[:1]), data[first.end() :]) if first else (None, data)


def hint(data: bytes) -> str:
    """Whether it is a reply of the other protocol, or half a line end is missing."""
    if may_become_reply(data) and data[1:]:
        return "a carriage return behind the digit, and no line feed"
    if data[:3] == b"\x00\x02\x00":
        return 'an ejabberd program\'s reply: protocol = "ejabberd" is for those'
    return ""
