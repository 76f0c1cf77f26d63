"""ejabberd's frames: what goes to a program comes out as it was, and what is no reply never counts as one."""

import contextlib
import struct
from collections.abc import Iterator

import pytest

from bridge.protocol import frames
from bridge.protocol.checks import command_of
from bridge.protocol.explain import explain
from bridge.protocol.query import Query, Verdict
from fuzz.engine import Check
from fuzz.source import Source

YES, NO = b"\x00\x02\x00\x01", b"\x00\x02\x00\x00"
TOKENS = (YES, NO, YES[:3], b"\x00\x02", b"\x02\x00", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\x00", b"Warning: x\n")

SECRET = b"canary-6f1e"
_BODIES = (b"auth:user-a9:host-a9:" + SECRET, b"isuser:user-a9:host-a9", b"setpass:user-a9:host-a9:" + SECRET)
_SIZES = (0, 1, 255, 256, 32766, 32767, 32768, 65535, 65536)


@contextlib.contextmanager
def target() -> Iterator[Check]:
    yield check


def check(data: bytes) -> None:
    source = Source(data)
    size = source.pick(_SIZES) if source.below(2) else 256 * source.below(256) + source.below(256)
    query, taken, blamed = (_query(source) for _ in range(3))
    if query is None:
        taken = None
    sent(size)
    told = source.rest()
    reply(told)
    explained(told, query, query if taken else None, blamed)


def sent(size: int) -> None:
    """The header of a frame of this size says so, to those who read it as a signed number, too."""
    if size > 32767:
        with pytest.raises(struct.error):
            frames.header(size)
        return
    head = frames.header(size)
    assert (len(head), int.from_bytes(head, "big"), int.from_bytes(head, "big", signed=True)) == (2, size, size)


def reply(told: bytes) -> None:
    assert frames.verdict_of(told) == (Verdict.GRANTED if told == YES else Verdict.DENIED if told == NO else None)
    begun = any(len(told) < 4 and whole[: len(told)] == told for whole in (YES, NO))
    assert frames.may_become_reply(told) == begun
    rest = told
    while rest[:4] in (YES, NO):
        rest = rest[4:]
    several = bool(told) and any(rest == whole[: len(rest)] for whole in (YES, NO)) and len(rest) < 4
    assert frames.may_become_replies(told) == several


def explained(told: bytes, query: Query | None, taken: Query | None, blamed: Query | None) -> None:
    """What the log shows is the program's, and in words of ours: nothing of the question but its command."""
    said = explain(frames, told, query, taken, blamed)
    assert said.isprintable() and (not said or (said.startswith(" (") and said.endswith(")")))
    assert not any(word in said for word in ("canary", "user-a9", "host-a9"))
    if "two replies" in said:
        assert taken is not None and len(told) > 4 and told[:4] in (YES, NO) and command_of(taken.body) in said
        assert ("granted" in said) == (told[:4] == YES)
    if "second reply" in said:
        assert blamed is not None and blamed.verdict is not None and blamed.verdict.value in said


def _query(source: Source) -> Query | None:
    kind = source.below(8)
    if not kind:
        return None
    query = Query(_BODIES[kind % 3], 0.0, asker=_Asker())
    query.verdict = source.pick((None, *Verdict))
    return query


class _Asker:
    def settled(self, query: Query) -> None: ...

    def failed(self, error: Exception) -> None: ...
