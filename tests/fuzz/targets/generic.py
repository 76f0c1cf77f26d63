"""Prosody's lines: what goes to a program is one line to anybody, and whose digit it is follows from their order alone.

A reference reads the whole stream that a program has written; the codec, and what joins its pieces, read it bit by bit.
"""

import contextlib
import re
from collections.abc import Iterator

from bridge.protocol import generic
from bridge.protocol.checks import LONGEST, Checks
from bridge.protocol.explain import explain
from bridge.protocol.query import Query, Verdict
from bridge.worker.pieces import Pieces
from fuzz.engine import Check
from fuzz.source import Source

TOKENS = (b"0", b"1", b"1\n", b"0\r\n", b"\n", b"\r", b"\n1", b"11", b" ", b"\x00\x02\x00\x01", b"Warning: x\n")

_CHECKS = Checks(("auth", "isuser", "setpass"), allow_empty_password=False, as_lines=True)
_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""Whatever any language takes for the end of a line."""

_WHOLE = {b"0": Verdict.DENIED, b"1": Verdict.GRANTED}
_QUERY = b"auth:user-a9:host-a9:canary-6f1e"


@contextlib.contextmanager
def target() -> Iterator[Check]:
    yield check


def check(data: bytes) -> None:
    source = Source(data)
    if source.below(4) == 0:
        sent(source.rest())
        return
    pieces: list[tuple[bytes, bool]] = []
    while source:
        size = 1 + source.below(6)
        pieces.append((source.take(size), source.below(2) == 1))
    codec(b"".join(piece for piece, _ in pieces))
    joined(pieces)


def sent(text: bytes) -> None:
    """A question that is let through is one line, with what was asked in it, and short enough for any buffer."""
    for body in (text, b"auth:u:h:" + text):
        if _CHECKS.plain([body]):
            assert _CHECKS(body) is None
        if _CHECKS(body) is not None:
            continue
        line = generic.framed(body)
        assert line == body + b"\n"
        assert len(line) == len(body) + generic.overhead and len(body) <= LONGEST
        assert not any(end in body.decode() for end in _ENDS)


def codec(told: bytes) -> None:
    """Each function, of the whole of it."""
    whole = re.fullmatch(rb"([01])\r?\n", told)
    assert generic.verdict_of(told) is (_WHOLE[whole[1]] if whole else None)
    assert generic.verdict_alone(told) is _WHOLE.get(told)
    assert generic.may_become_reply(told) == (told in (b"", b"0", b"1", b"0\r", b"1\r"))
    several = re.fullmatch(rb"(?:[01](?:\r?\n)?)*[01](?:\r?\n?)", told) is not None
    assert generic.may_become_replies(told) == several, told
    verdict, rest = generic.split(told)
    assert told.endswith(rest)
    assert (verdict is None) == (rest == told or not told)
    query = Query(_QUERY, 0.0, asker=_Asker())
    for taken in (query, None):
        said = explain(generic, told, query, taken, None)
        assert said.isprintable() and not any(word in said for word in ("canary", "user-a9", "host-a9"))


def joined(pieces: list[tuple[bytes, bool]]) -> None:
    """One question after the other, each read before the first byte of its reply; a pause may follow each piece.

    The reference: what was written since the last reply that counted is at most a line end that is owed, a digit, and
    its own line end.  Anything else is an error, and the end.
    """
    joiner = Pieces(generic)
    since, owes = b"", False
    for piece, pause in pieces:
        since += piece
        left = re.match(rb"\r?\n", since)[0] if owes and re.match(rb"\r?\n", since) else b""
        own = since[len(left) :]
        due = _due(own, owes and not left)
        given = _given(joiner, piece)
        if due is None:
            assert given is None, f"{since!r} is no reply"
            return
        if due is False:
            if pause and own in _WHOLE:
                assert joiner.count() is _WHOLE[own]
                since, owes = b"", True
            elif not own:
                owes = owes and not left
                since = b"" if left else since
            assert given is False, f"{since!r} is none yet"
            continue
        assert given is due, f"{since!r} is one"
        since, owes = b"", False


def _due(own: bytes, owes: bool) -> Verdict | bool | None:
    """The verdict; False if there may be one later; `None` if there never will."""
    if match := re.fullmatch(rb"([01])\r?\n", own):
        return _WHOLE[match[1]]
    if own in (b"", b"0", b"1", b"0\r", b"1\r") or (owes and own == b"\r"):
        return False
    return None


def _given(joiner: Pieces, piece: bytes) -> Verdict | bool | None:
    """The same, of what a worker would do with this piece."""
    if not piece:
        return False
    told = joiner.join(piece)
    if told is None:
        return False
    verdict = generic.verdict_of(told)
    if verdict is not None:
        return verdict
    if told and generic.may_become_reply(told):
        joiner.keep(told)
        return False
    return None


class _Asker:
    def settled(self, query: Query) -> None: ...

    def failed(self, error: Exception) -> None: ...
