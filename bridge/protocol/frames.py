"""ejabberd's frames: a 2-byte big-endian length, then that many bytes.

To a program: `command:user:host[:secret]`.  From it, exactly four bytes: length 2, then 1 or 0 in 2 bytes.  What else
programs write is explained to whoever has to mend them.  No I/O.
"""

from __future__ import annotations

import struct
from codecs import BOM_UTF8

from bridge.protocol.checks import command_of
from bridge.protocol.query import Query, Verdict

header = struct.Struct(">h").pack  # signed, so that it refuses more than `lines.MAX_LINE`
"""The header for a body of the given length; raises struct.error for more than `lines.MAX_LINE`."""

SHORT = 1000
"""Bytes of a short body: nearly all are."""

headers = [*map(header, range(SHORT + 1))]
"""The headers for short bodies: a list is quicker than a call."""

GRANTED = b"\x00\x02\x00\x01"
DENIED = b"\x00\x02\x00\x00"

verdict_of = {GRANTED: Verdict.GRANTED, DENIED: Verdict.DENIED}.get
"""The verdict of a complete reply; `None` for anything else."""


def may_become_reply(data: bytes) -> bool:
    """Whether `data` is an incomplete reply."""
    return len(data) < 4 and (GRANTED.startswith(data) or DENIED.startswith(data))


def may_become_replies(data: bytes) -> bool:
    """Whether `data` consists of replies, the last of which may be incomplete."""
    whole = len(data) // 4 * 4
    replies = (data[at : at + 4] for at in range(0, whole, 4))
    return bool(data) and None not in map(verdict_of, replies) and may_become_reply(data[whole:])


def explain(data: bytes, query: Query | None, taken: Query | None, blamed: Query | None) -> tuple[str, bytes]:
    """What `data` seems to be, and the part of it to be shown.

    Args:
      query: the one the program has, if any.
      taken: the same, if the program had read it before it wrote this.
      blamed: the one before, if this is a second reply to it.

    Returns:
      it in brackets after a space, or an empty string; and `data`, or what comes after a good reply.
    """
    first, rest = verdict_of(data[:4]), data[4:]
    if taken is not None and first is not None:
        if may_become_replies(rest):
            return f" (two replies to {command_of(taken.body)}, the first one {first.value})", data
        if not rest.strip(b"\r\n"):
            return " (a reply, and a line end after it)", data
        return " (a reply, and something after it)", rest
    if may_become_replies(data):
        if blamed is not None and blamed.verdict is not None:
            return f" (a second reply to {command_of(blamed.body)}, which was {blamed.verdict.value})", data
        return " (a reply before it had read the question)" if query is not None else " (a reply)", data
    return _opening(data), data


def _opening(data: bytes) -> str:
    """What comes before a reply when a program's file begins, or ends, with more than the program."""
    rest = data.removeprefix(BOM_UTF8)
    found = ["a byte order mark"] if rest != data else []
    bare = rest.lstrip(b"\r\n")
    if bare != rest:
        found.append("a blank line")
    if found and bare:
        found.append("and a reply" if may_become_replies(bare) else "and something else")
    return f" ({', '.join(found)})" if found else ""
