"""ejabberd's frames, to the byte."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.protocol.frames import DENIED, GRANTED, header, may_become_reply
from bridge.protocol.lines import MAX_LINE


def test_the_two_replies() -> None:
    assert [*GRANTED] == [0, 2, 0, 1]
    assert [*DENIED] == [0, 2, 0, 0]


@given(st.binary(min_size=1, max_size=600))
def test_what_stands_before_a_body(body: bytes) -> None:
    before = header(len(body))
    assert len(before) == 2
    assert int.from_bytes(before, "big") == len(body)


@pytest.mark.parametrize("size", [1, 127, 128, 255, 256, 2560, 4096, 8192, 32766, 32767])
def test_lengths_that_programs_trip_over(size: int) -> None:
    before = header(size)
    assert before == bytes([size >> 8, size & 255])
    assert before[0] < 128, "negative, read as a signed short"


@pytest.mark.parametrize("size", [MAX_LINE + 1, 65535, 65536])
def test_what_no_frame_can_hold(size: int) -> None:
    with pytest.raises(struct.error):
        header(size)


def test_beginnings_of_a_reply() -> None:
    """Exactly those that more bytes can complete to one of the two replies."""
    beginnings = {reply[:size] for reply in (GRANTED, DENIED) for size in range(4)}
    for size in range(6):
        for values in itertools.product((0, 1, 2, 255), repeat=size):
            assert may_become_reply(bytes(values)) == (bytes(values) in beginnings)


@given(st.binary(max_size=8))
def test_beginnings_of_a_reply_among_any_bytes(data: bytes) -> None:
    assert may_become_reply(data) == (data in {GRANTED[:size] for size in range(4)})
