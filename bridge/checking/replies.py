"""What is wrong with the bytes that should have been a reply.  No I/O."""

from __future__ import annotations

import re

import attrs

from bridge.protocol.frames import may_become_replies, verdict_of

LINES = re.compile(rb"[01](?:\r?\n)?")
"""Prosody's generic protocol: a digit, and a line end that some forget."""

_BOM = b"\xef\xbb\xbf"

_KILLED = "the bridge takes it for no reply: the login fails, and the program is replaced"
_FAILS = "every login fails: the bridge takes nothing for a yes but ejabberd's own four bytes"


@attrs.frozen
class Flaw:
    """What is wrong with it.

    Attributes:
      seen, meaning, advice: see `Finding`.
      ahead: it stood before a good reply, so that the next one may be good.
      text: bytes to show with it.
      grave: strangers may get in.
    """

    seen: str
    meaning: str
    advice: str
    ahead: bool = False
    text: bytes = attrs.field(default=b"", repr=False)  # it may hold what was asked
    grave: bool = False


def flaw(data: bytes) -> Flaw | None:
    """The flaw of what came instead of a reply; `None` if it is one, or empty."""
    if not data or verdict_of(data):
        return None
    if verdict_of(data[:4]):
        return _behind(data[4:])
    if verdict_of(data[-4:]):
        return _ahead(data[:-4])
    return _other(data)


def _behind(rest: bytes) -> Flaw:
    if not rest.strip(b"\r\n"):
        return Flaw(
            "a line end behind the reply, which nobody asked for",
            _KILLED,
            "write the four bytes alone: print and puts add a line end, write does not",
        )
    if may_become_replies(rest):
        return Flaw(
            "a second reply to one question",
            "it could be taken for the answer to the next login, which may be a stranger's; the bridge replaces such a "
            "program at once where it can see it",
            "have the program reply exactly once, and return after it",
            grave=True,
        )
    return Flaw(
        f"{len(rest)} bytes behind the reply",
        _KILLED,
        "write the four bytes alone; everything else to stderr",
        text=rest,
    )


def _ahead(before: bytes) -> Flaw:
    stderr = "write nothing but replies to stdout; with PHP, run it with -d display_errors=stderr"
    if before == _BOM:
        return Flaw("a byte order mark before the first reply", _KILLED, "save the file as UTF-8 without a BOM", True)
    if not before.strip():
        return Flaw(
            "a blank line before the first reply",
            _KILLED,
            "with PHP, remove what stands before <?php and behind ?> in all its files",
            True,
        )
    if may_become_replies(before):
        return Flaw(
            "a second reply, or one before anything was asked",
            "every reply would be taken for the next question's: strangers could get in",
            "have the program reply exactly once, after it has read the question",
            True,
            grave=True,
        )
    return Flaw("text on stdout before the first reply", _KILLED, stderr, True, before)


def _other(data: bytes) -> Flaw:
    if LINES.fullmatch(data):
        return Flaw(
            f"{'1' if data[:1] == b'1' else '0'} as text: it speaks Prosody's lines, not ejabberd's frames",
            _FAILS,
            GENERIC,
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


GENERIC = (
    'it needs protocol = "generic", which this version of the bridge does not have yet: give it to Prosody directly '
    '(external_auth_protocol = "generic", external_auth_command = the program), or have it read and write frames'
)
