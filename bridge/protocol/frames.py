"""ejabberd's frames: a 2-byte big-endian length, then that many bytes.

To a program: `command:user:host[:secret]`.  From it, exactly four bytes: length 2, then 1 or 0 in 2 bytes.  The module
is a `Codec`.  No I/O.
"""

from __future__ import annotations

import struct

from bridge.protocol.query import Verdict

SHORT = 1000
"""Bytes of a short body: nearly all are."""

header = struct.Struct(">h").pack  # signed, so that it refuses more than `lines.MAX_LINE`
headers = [*map(header, range(SHORT + 1))]  # a list is quicker than a call
overhead = 2

GRANTED = b"\x00\x02\x00\x01"
DENIED = b"\x00\x02\x00\x00"

verdict_of = {GRANTED: Verdict.GRANTED, DENIED: Verdict.DENIED}.get


def framed(body: bytes) -> bytes:
    """A question as it is written; raises struct.error if it has more than `lines.MAX_LINE` bytes."""
    return header(len(body)) + body


def verdict_alone(data: bytes) -> Verdict | None:
    """No part of a reply counts."""
    return None


def may_become_reply(data: bytes) -> bool:
    """Whether `data` is an incomplete reply."""
    return len(data) < 4 and (GRANTED.startswith(data) or DENIED.startswith(data))


def may_become_replies(data: bytes) -> bool:
    """Whether `data` consists of replies, the last of which may be incomplete."""
    whole = len(data) // 4 * 4
    replies = (data[at : at + 4] for at in range(0, whole, 4))
    return bool(data) and None not in map(verdict_of, replies) and may_become_reply(data[whole:])


def split(data: bytes) -> tuple[Verdict | None, bytes]:
    """The verdict of the reply that `data` begins with, if it does, and all that follows it."""
    return verdict_of(data[:4]), data[4:]


def hint(data: bytes) -> str:
    """Whether it is a reply of the other protocol."""
    if data.rstrip(b"\r\n") in (b"0", b"1"):
        return 'a digit as text: protocol = "generic" is for programs that speak Prosody\'s lines'
    return ""
