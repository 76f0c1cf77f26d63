"""ejabberd's frames, to the byte."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.protocol.frames import DENIED, GRANTED, MAX_BODY, frame, may_become_reply

unhurried = settings(deadline=None)  # the machine may be busy


def test_the_two_replies() -> None:
    assert [*GRANTED] == [0, 2, 0, 1]
    assert [*DENIED] == [0, 2, 0, 0]


@unhurried
@given(st.binary(min_size=1, max_size=600))
def test_length_and_body(body: bytes) -> None:
    data = frame(body)
    assert int.from_bytes(data[:2], "big") == len(body)
    assert data[2:] == body


@pytest.mark.parametrize("size", [1, 127, 128, 255, 256, 2560, 4096, 8192, 32766, 32767])
def test_lengths_that_programs_trip_over(size: int) -> None:
    data = frame(b"x" * size)
    assert data[:2] == bytes([size >> 8, size & 255])
    assert len(data) == size + 2
    assert data[0] < 128, "negative, read as a signed short"


@pytest.mark.parametrize("size", [0, MAX_BODY + 1, 65535, 65536])
def test_what_no_frame_can_hold(size: int) -> None:
    with pytest.raises(ValueError, match=f"not {size}$"):
        frame(b"x" * size)


def test_the_error_does_not_show_the_body() -> None:
    with pytest.raises(ValueError, match="bytes") as caught:
        frame(b"auth:alice:example.com:" + b"hunter2" * 5000)
    assert "hunter2" not in str(caught.value)


def test_beginnings_of_a_reply() -> None:
    """Exactly those that some byte string completes to one of the two replies."""
    beginnings = {reply[:size] for reply in (GRANTED, DENIED) for size in range(4)}
    for size in range(6):
        for values in itertools.product((0, 1, 2, 255), repeat=size):
            assert may_become_reply(bytes(values)) == (bytes(values) in beginnings)


@unhurried
@given(st.binary(max_size=8))
def test_beginnings_of_a_reply_among_any_bytes(data: bytes) -> None:
    assert may_become_reply(data) == (data in {GRANTED[:size] for size in range(4)})
