"""Replies in pieces, and digits whose line end comes later, or never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.loop.timer import FOREVER
from bridge.protocol import frames, generic
from bridge.protocol.query import Verdict
from bridge.worker.pieces import ALONE, AT_FIRST, Pieces

YES, NO = Verdict.GRANTED, Verdict.DENIED


def counted(digits: bytes) -> Pieces:
    pieces = Pieces(generic)
    assert pieces.keep(digits) == AT_FIRST
    assert pieces.count() is (YES if digits[:1] == b"1" else NO)
    return pieces


def test_a_beginning_is_completed() -> None:
    pieces = Pieces(frames)
    assert pieces.keep(b"\0\2") == FOREVER, "no part of a frame counts"
    assert pieces.begun
    assert pieces.count() is None
    assert pieces.begun
    assert pieces.join(b"\0\1") == b"\0\2\0\1"
    assert not pieces.begun


@pytest.mark.parametrize(
    ("alone", "later", "left"),
    [
        (b"1", [b"\n"], [None]),
        (b"1", [b"\r\n"], [None]),
        (b"0", [b"\r", b"\n"], [None, None]),
        (b"1", [b"\n0\n"], [b"0\n"]),
        (b"1", [b"\r", b"\n0"], [None, b"0"]),
        (b"1", [b"0\n"], [b"0\n"]),
        (b"1", [b"0"], [b"0"]),
        (b"1", [b"\n\n"], [b"\n"]),
        (b"1", [b"\n", b"\n"], [None, b"\n"]),
        (b"1", [b"0", b"\n"], [b"0", b"\n"]),
        (b"1", [b"yes\n"], [b"yes\n"]),
        (b"1", [b"\r", b"0\n"], [None, b"\r0\n"]),
    ],
)
def test_one_line_end_is_owed(alone: bytes, later: list[bytes], left: list[bytes | None]) -> None:
    pieces = counted(alone)
    assert [pieces.join(data) for data in later] == left


def test_half_a_line_end_is_waited_for_and_counts_never() -> None:
    pieces = counted(b"1")
    assert pieces.join(b"0") == b"0"
    assert (pieces.keep(b"0"), pieces.keep(b"0\r")) == (ALONE, AT_FIRST)
    assert pieces.count() is None
    assert pieces.begun == b"0\r"


@given(
    st.sampled_from([b"0", b"1"]),
    st.sampled_from([b"", b"\n", b"\r\n"]),
    st.sampled_from([b"0\n", b"1\r\n", b"0", b"1"]),
    st.lists(st.integers(1, 6)),
)
def test_what_follows_is_the_same_however_it_is_cut(
    alone: bytes, owed: bytes, following: bytes, cuts: list[int]
) -> None:
    """The reply that follows is found, whether the line end comes with it, before it, or never."""
    pieces, data, got = counted(alone), owed + following, b""
    for cut in [*cuts, len(data)]:
        piece, data = data[:cut], data[cut:]
        if piece:
            joined = pieces.join(piece)
            if joined is not None and data and generic.may_become_reply(joined):
                pieces.keep(joined)
            elif joined is not None:
                got += joined
    assert got == following
