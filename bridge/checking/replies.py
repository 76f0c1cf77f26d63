"""What is wrong with the bytes that should have been a reply.  No I/O."""

from __future__ import annotations

from bridge.checking.flaw import KILLED, UNASKED, Flaw, ahead
from bridge.checking.linereplies import REPLY
from bridge.protocol.frames import may_become_replies, verdict_of

_FAILS = "every login fails: the bridge takes nothing for a yes but ejabberd's own four bytes"


def flaw(data: bytes) -> Flaw | None:
    """The flaw of what came instead of a reply; `None` if it is one, or empty."""
    if not data or verdict_of(data):
        return None
    if verdict_of(data[:4]):
        return _behind(data[4:])
    if verdict_of(data[-4:]):
        return ahead(data[:-4], are_replies=may_become_replies(data[:-4]))
    return _other(data)


def _behind(rest: bytes) -> Flaw:
    if not rest.strip(b"\r\n"):
        return Flaw(
            "a line end behind the reply, which nobody asked for",
            KILLED,
            "write the four bytes alone: print and puts add a line end, write does not",
        )
    if may_become_replies(rest):
        return Flaw(
            "a second reply to one question",
            UNASKED,
            "have the program reply exactly once, and return after it",
            grave=True,
        )
    return Flaw(
        f"{len(rest)} bytes behind the reply",
        KILLED,
        "write the four bytes alone; everything else to stderr",
        text=rest,
    )


def _other(data: bytes) -> Flaw:
    if REPLY.fullmatch(data):
        return Flaw(
            f"{'1' if data[:1] == b'1' else '0'} as text: it speaks Prosody's lines, not ejabberd's frames",
            _FAILS,
            GENERIC,
            protocol="generic",
        )
    if data[:2] == b"\x02\x00":
        return Flaw("the reply's bytes are swapped (little-endian)", _FAILS, "pack both as big-endian: >HH or nn")
    if data[:2] == b"\x00\x02" and len(data) == 4:
        return Flaw(
            f"neither 1 nor 0 in its reply, but {data[2:].hex(' ')}",
            _FAILS,
            "the second number is 1 for yes and 0 for no, in two bytes, big-endian",
        )
    if b"\0" not in data and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in data[:200]):
        return Flaw(
            "text instead of a reply", _FAILS, "reply with four bytes: 00 02 00 01 is yes, 00 02 00 00 is no", text=data
        )
    return Flaw(
        f"{len(data)} bytes that are no reply: {data[:12].hex(' ')}{' …' if len(data) > 12 else ''}",
        _FAILS,
        "reply with four bytes: 00 02 00 01 is yes, 00 02 00 00 is no",
    )


GENERIC = 'protocol = "generic": then the bridge speaks lines to it, too'
