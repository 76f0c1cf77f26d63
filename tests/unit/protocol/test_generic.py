"""Prosody's lines as a program's protocol, to the byte."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.protocol import frames, generic
from bridge.protocol.codec import Codec
from bridge.protocol.codecs import codec_of
from bridge.protocol.explain import explain
from bridge.protocol.query import Query, Verdict

REPLIES = {
    b"1\n": Verdict.GRANTED,
    b"1\r\n": Verdict.GRANTED,
    b"0\n": Verdict.DENIED,
    b"0\r\n": Verdict.DENIED,
}
"""From the protocol, not from the code under test."""

replies = st.lists(st.sampled_from([*REPLIES, b"0", b"1", b"0\r", b"\n", b"\r\n", b" ", b"yes", b"\0\2\0\1"])).map(
    b"".join
)


@given(st.binary(min_size=1, max_size=1100))
def test_a_question_is_its_line(body: bytes) -> None:
    assert generic.framed(body) == body + b"\n"


@given(st.binary(max_size=frames.SHORT + 20), st.sampled_from([frames, generic]))
def test_headers_of_short_bodies_make_the_same_frame(body: bytes, codec: Codec) -> None:
    frame = codec.framed(body)
    assert len(frame) == len(body) + codec.overhead
    if len(body) < len(codec.headers):
        assert codec.headers[len(body)] + body == frame


def test_every_short_reply() -> None:
    for size in range(5):
        for values in itertools.product(b"01\r\n2 \0", repeat=size):
            data = bytes(values)
            assert generic.verdict_of(data) is REPLIES.get(data)
            begun = any(reply.startswith(data) and reply != data for reply in REPLIES)
            assert generic.may_become_reply(data) == begun
            assert generic.verdict_alone(data) is REPLIES.get(data + b"\n" if b"\r" not in data else b"")


@given(replies)
def test_several_replies(data: bytes) -> None:
    """A digit ends where the next one begins, or the data."""
    several = re.fullmatch(rb"([01]\r?\n|[01])*[01](\r|\r?\n)?", data) is not None
    assert generic.may_become_replies(data) == several
    first = re.match(rb"([01])(\r?\n|(?=[01]))", data)
    verdict, rest = generic.split(data)
    assert (verdict, rest) == ((REPLIES[first[1] + b"\n"], data[first.end() :]) if first else (None, data))


@given(st.binary(max_size=12) | replies)
def test_what_no_table_holds_is_no_reply(data: bytes) -> None:
    assert (generic.verdict_of(data) is None) == (data not in REPLIES)


def test_the_setting_names_the_codec() -> None:
    assert codec_of("generic") is generic
    assert codec_of("ejabberd") is frames


class Nobody:
    def settled(self, query: Query) -> None: ...

    def failed(self, error: Exception) -> None: ...


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"1\n1\n", "two replies to auth, the first one granted"),
        (b"10\n", "two replies to auth, the first one granted"),
        (b"0\n\n", "a reply, and a line end after it"),
        (b"1\nWarning: x", "a reply, and something after it"),
        (b"1\r", "a carriage return behind the digit, and no line feed"),
        (b"\n1\n", "a blank line, and a reply"),
        (b"\xef\xbb\xbf1\n", "a byte order mark, and a reply"),
        (b"\0\2\0\1", 'an ejabberd program\'s reply: protocol = "ejabberd" is for those'),
        (b"true\n", ""),
    ],
)
def test_what_is_said_of_what_is_no_reply(data: bytes, said: str) -> None:
    query = Query(b"auth:alice:example.com:hunter2", 0.0, Nobody())
    assert explain(generic, data, query, query, None) == (f" ({said})" if said else "")


def test_digits_from_a_program_that_should_write_frames() -> None:
    query = Query(b"isuser:alice:example.com", 0.0, Nobody())
    assert 'protocol = "generic"' in explain(frames, b"1\n", query, query, None)
