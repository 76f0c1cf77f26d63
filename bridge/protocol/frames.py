"""ejabberd's frames: a 2-byte big-endian length, then that many bytes.

To a program: `command:user:host[:secret]`.  From it, exactly four bytes: length 2, then 1 or 0 in 2 bytes.
No I/O.
"""

from __future__ import annotations

import struct

from bridge.protocol.query import Verdict

header = struct.Struct(">h").pack  # signed, so that it refuses more than `lines.MAX_LINE`
"""The header for a body of the given length; raises struct.error for more than `lines.MAX_LINE`."""

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
