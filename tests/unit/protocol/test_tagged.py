"""The tagged protocol's lines, however they are split, whom addresses stand for, and which tag has which answer."""

import contextlib
import ipaddress
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

from bridge.protocol.ordering import GRACE_AFTER_DEADLINE
from bridge.protocol.query import REFUSED, Query, Refusal, Verdict
from bridge.protocol.tagged import ADDRESS_MAX, HEAD_MAX, Tagged, TaggedReader, Tagging, Violation, canonical

LINE = b"isuser:alice:example.com"
LIMIT = 24
VIOLATION = "violation"
HEAD = b"t" * 16 + b" " + b"-" + b" "


def read(*pieces: bytes, max_line: int = LIMIT) -> list[Tagged | str]:
    """What a stream that comes in these pieces is, up to its end or the first violation."""
    reader = TaggedReader(max_line)
    found: list[Tagged | str] = []
    try:
        for piece in pieces:
            found += reader.feed(piece)
        found += reader.finish()
    except Violation:
        found.append(VIOLATION)
    return found


# --- lines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"1 - " + LINE + b"\n", (b"1", "", LINE)),
        (b"1 - " + LINE + b"\r\n", (b"1", "", LINE)),
        (b"aZ09aZ09aZ09aZ09 192.0.2.7 x\n", (b"aZ09aZ09aZ09aZ09", "192.0.2.7", b"x")),
        (b"1 - \n", (b"1", "", b"")),
        (b"1 -  two \n", (b"1", "", b" two ")),
        (b"1 - \xff\0\n", (b"1", "", b"\xff\0")),
        (b"1 - " + b"x" * LIMIT + b"\n", (b"1", "", b"x" * LIMIT)),
        (b"1 - " + b"x" * LIMIT + b"\r\n", (b"1", "", b"x" * LIMIT)),
        (b"1 - " + b"x" * (LIMIT + 1) + b"\n", (b"1", "", Refusal.LENGTH)),
        (b"1 - " + b"x" * 9999 + b"\n", (b"1", "", Refusal.LENGTH)),
        (b"1 - " + b"x" * 9999, (b"1", "", Refusal.LENGTH)),
    ],
)
def test_a_line(stream: bytes, expected: Tagged) -> None:
    assert read(stream) == [expected]
    assert read(*[bytes([byte]) for byte in stream]) == [expected]


@pytest.mark.parametrize(
    "stream",
    [
        b"\n",
        b"\r\n",
        b"1\n",
        b"1 -\n",
        b" - x\n",
        b" 1 - x\n",
        b"1  - x\n",
        b"1\t- x\n",
        b"a-b - x\n",
        b"\xc3\xa9 - x\n",
        b"1\0 - x\n",
        b"t" * 17 + b" - x\n",
        b"t" * 9999,
        b"1 * x\n",
        b"1  x\n",
        b"1 example.com x\n",
        b"1 192.0.2.7/32 x\n",
        b"1 192.0.2.07 x\n",
        b"1 192.0.2.7\r x\n",
        b"1 [::1] x\n",
        b"1 ::1% x\n",
        b"1 fe80::1%" + b"z" * ADDRESS_MAX + b" x\n",
        b"1 fe80::1%eth0\a x\n",
        b"1 \xd9\xa1.2.3.4 x\n",
        b"1 " + b"9" * 9999,
        LINE + b"\n",
        b"extauth-bridge:tagged:1\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    ],
)
def test_what_is_no_such_line(stream: bytes) -> None:
    assert read(stream) == [VIOLATION]
    assert read(*[bytes([byte]) for byte in stream]) == [VIOLATION]


def test_a_violation_does_not_quote_the_line() -> None:
    for line in (b"secret", b"secret! - x", b"1 secret x", b"1 - x\n1 - secret"):
        with pytest.raises(Violation) as caught:
            TaggedReader(LIMIT).feed(line + b"\n")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("tag", [b"1", b"t" * 16])
@pytest.mark.parametrize("address", [b"-", b"fe80::1%" + b"z" * (ADDRESS_MAX - 8)])
@pytest.mark.parametrize("more", [*range(-1, 6), HEAD_MAX, 100, 9999])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\rx\n"])
def test_a_line_is_either_whole_or_refused(tag: bytes, address: bytes, more: int, end: bytes) -> None:
    """However it is cut: part of a line could be a password nobody chose.  (A CR at a cut ends no line.)"""
    line = b"x" * (LIMIT + more)
    whole = (line + end).removesuffix(b"\n").removesuffix(b"\r")
    wanted = whole if len(whole) <= LIMIT else Refusal.LENGTH
    stream = b"%b %b %b%b" % (tag, address, line, end)
    for size in (1, 7, len(stream)):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [found[2] for found in read(*pieces)] == [wanted]


def test_a_line_that_is_too_long_is_refused_at_once_and_the_rest_of_it_skipped() -> None:
    reader = TaggedReader(LIMIT)
    assert [*reader.feed(b"1 - " + b"x" * 200)] == [(b"1", "", Refusal.LENGTH)]
    assert [*reader.feed(b"y" * 9999)] == []
    assert [*reader.feed(b"2 - not a line\n2 - x\n3 -")] == [(b"2", "", b"x")]
    assert [*reader.feed(b" y\n")] == [(b"3", "", b"y")]


@pytest.mark.parametrize("begun", [b"1", b"1 -", b"1 - " + LINE, b"1 - " + LINE + b"\r"])
def test_a_last_line_that_is_not_ended_is_none(begun: bytes) -> None:
    """Part of it may be missing."""
    assert read(b"0 - x\n" + begun) == [(b"0", "", b"x")]


def test_nothing_of_it_is_stored() -> None:
    reader = TaggedReader(LIMIT)
    for _ in range(100):
        reader.feed(b"x" * 65536 if reader._skipping else b"1 - " + b"x" * 65536)
        assert len(reader._rest) <= HEAD_MAX + LIMIT + 1


@pytest.mark.parametrize("before", [LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + HEAD_MAX, LIMIT + HEAD_MAX + 9, 999])
def test_a_limit_that_is_raised_in_the_middle_of_a_line_does_not_make_it_another(before: int) -> None:
    reader = TaggedReader(LIMIT)
    found = [*reader.feed(b"1 - " + b"x" * before)]
    reader.max_line = 9999
    found += reader.feed(b"yyy\n")
    assert found in ([(b"1", "", Refusal.LENGTH)], [(b"1", "", b"x" * before + b"yyy")])


def test_a_limit_that_is_lowered_in_the_middle_of_a_line_counts() -> None:
    reader = TaggedReader(LIMIT)
    reader.feed(b"1 - " + b"x" * LIMIT)
    reader.max_line = LIMIT - 1
    assert [*reader.feed(b"\n2 - yyy\n")] == [(b"1", "", Refusal.LENGTH), (b"2", "", b"yyy")]


def test_a_tag_may_not_be_used_while_it_is_in_use() -> None:
    assert read(b"1 - x\n2 - x\n1 - x\n", max_line=9) == [VIOLATION]
    reader = TaggedReader(LIMIT)
    reader.feed(b"1 - x\n2 - x\n01 - x\n")
    assert reader.in_use.keys() == {b"1", b"2", b"01"}, "different bytes are different tags"
    del reader.in_use[b"2"]
    reader.feed(b"2 - x\n")
    with pytest.raises(Violation, match="in use"):
        reader.feed(b"01 - x\n")


FIELDS = st.one_of(
    st.sampled_from([b"1", b"2", b"a", b"-", b"::1", b"192.0.2.7", b" ", b"  ", b"\n", b"\r", b"\r\n", b"", LINE]),
    st.binary(max_size=3),
    st.integers(0, LIMIT + HEAD_MAX + 9).map(lambda size: b"x" * size),
)
GOOD = st.builds(
    lambda tag, line, end: b"%d - %b%b" % (tag, line, end),
    st.integers(0, 10**6),
    st.binary(max_size=LIMIT + 2),
    st.sampled_from([b"\n", b"\n", b"\r\n"]),
)
STREAMS = st.lists(st.one_of(GOOD, GOOD, st.lists(FIELDS, max_size=8).map(b" ".join)), max_size=12).map(b"".join)

REFERENCE = re.compile(rb"([0-9A-Za-z]{1,16}) ([^ ]{1,64}) (.*)", re.DOTALL)


def reference(stream: bytes) -> list[Tagged | str]:
    """The same, for the whole stream, as written in the document."""
    lines = stream.split(b"\n")
    last = lines.pop()
    tags: set[bytes] = set()
    found: list[Tagged | str] = []
    for line in [*lines, last] if len(last) > HEAD_MAX + LIMIT + 1 else lines:
        match = REFERENCE.fullmatch(line)
        if match is None or match[1] in tags:
            return [*found, VIOLATION]
        try:
            client = canonical(match[2])
        except ValueError:
            return [*found, VIOLATION]
        tags.add(match[1])
        text = match[3].removesuffix(b"\r")
        found.append((match[1], client, text if len(text) <= LIMIT else Refusal.LENGTH))
    return found


@examples(500)
@given(STREAMS, st.lists(st.integers(0, 600)))
def test_any_stream_in_any_pieces(stream: bytes, cuts: list[int]) -> None:
    wanted = reference(stream)
    assert read(*[bytes([byte]) for byte in stream]) == wanted
    ends = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    assert agree(read(*[stream[begin:end] for begin, end in itertools.pairwise(ends)]), wanted)


@pytest.mark.parametrize("first", [b"1 ", b"2 ", b"- ", b" ", b"\n", b"x"])
def test_all_streams_of_seven_words(first: bytes) -> None:
    """In many, some lines have a word too few and others one too many."""
    for words in itertools.product([b"1 ", b"2 ", b"- ", b" ", b"\n", b"x"], repeat=6):
        stream = b"".join([first, *words])
        assert agree(read(stream), reference(stream)), stream


def agree(found: list[Tagged | str], wanted: list[Tagged | str]) -> bool:
    """What is read together with a violation may be lost: the client is disconnected."""
    if VIOLATION not in wanted:
        return found == wanted
    return found[-1:] == [VIOLATION] and found[:-1] == wanted[: len(found) - 1]


@examples(500)
@given(st.lists(st.binary(max_size=200), max_size=8))
def test_any_bytes(pieces: list[bytes]) -> None:
    reader = TaggedReader(LIMIT)
    with contextlib.suppress(Violation):
        for piece in pieces:
            reader.feed(piece)
            assert len(reader._rest) <= HEAD_MAX + LIMIT + 1
        reader.finish()


# --- addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("-", ""),
        ("192.0.2.7", "192.0.2.7"),
        ("255.255.255.255", "255.255.255.255"),
        ("127.0.0.1", ""),
        ("127.9.9.9", ""),
        ("::1", ""),
        ("0:0:0:0:0:0:0:1", ""),
        ("::1%lo", ""),
        ("::ffff:127.0.0.1", ""),
        ("::FFFF:7f00:1", ""),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("::ffff:192.0.2.7%eth0", "192.0.2.7"),
        ("2001:db8:0:1::5", "2001:db8:0:1::/64"),
        ("2001:0DB8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::", "2001:db8:0:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("fe80::2%2", "fe80::/64"),
    ],
)
def test_whom_an_address_stands_for(address: str, client: str) -> None:
    assert canonical(address.encode()) == client


@given(st.ip_addresses())
def test_any_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    client = canonical(str(address).encode())
    if isinstance(address, ipaddress.IPv4Address):
        assert client == ("" if address.is_loopback else str(address))
    elif address.ipv4_mapped is None and not address.is_loopback:
        assert address in ipaddress.ip_network(client)
        assert client.endswith("/64")


@given(st.binary(max_size=ADDRESS_MAX))
def test_what_is_no_address(data: bytes) -> None:
    try:
        ipaddress.ip_address(data.decode("ascii"))
    except ValueError:
        if data == b"-":
            assert canonical(data) == ""
        else:
            with pytest.raises(ValueError):
                canonical(data)


def test_so_many_addresses_are_remembered_and_no_more() -> None:
    """Only those that are any: what is none may be as long as all that was read at once."""
    canonical.cache_clear()
    for number in range(100):
        with pytest.raises(ValueError):
            canonical(b"fe80::1%" + b"e" * (60 + number))
    assert canonical.cache_info().currsize == 0
    for number in range(5000):
        address = f"10.0.{number // 256}.{number % 256}"
        assert canonical(address.encode()) == address
    assert 0 < canonical.cache_info().currsize <= 1024


# --- answers ---------------------------------------------------------------------------------------------


class Client:
    """Settles queries."""

    def __init__(self) -> None:
        self.in_use = dict.fromkeys([b"a", b"b", b"c"])
        self.tagging = Tagging(self.in_use)
        assert self.tagging.answers(0.0) == b"1\n", "to the first line"

    def settled(self, query: Query) -> None:
        self.tagging.settled.append(query)

    def failed(self, error: Exception) -> None:
        raise error

    def query(self) -> Query:
        return Query(LINE, 10.0, self)


def test_each_is_answered_when_it_is_known() -> None:
    client = Client()
    queries = [client.query() for _ in range(3)]
    client.tagging.add([b"a", b"b", b"c"], queries)
    assert client.tagging.answers(0.0) == b""
    queries[1].settle(Verdict.GRANTED)
    assert len(client.tagging) == 3
    assert client.tagging.answers(0.0) == b"b 1\n"
    assert client.in_use.keys() == {b"a", b"c"}
    queries[2].settle(Verdict.DENIED)
    queries[0].settle(Verdict.UNAVAILABLE)
    assert client.tagging.answers(0.0) == b"c 0\na 2\n"
    assert not client.tagging and not client.in_use


def test_one_that_is_settled_before_it_is_added() -> None:
    client = Client()
    query = client.query()
    query.settle(Verdict.GRANTED)
    client.tagging.add([b"a", b"b"], [query, REFUSED])
    assert [*client.tagging] == [query]
    assert sorted(client.tagging.answers(0.0).splitlines()) == [b"a 1", b"b 0"]
    assert client.in_use.keys() == {b"c"}


def test_refused_lines_keep_their_tags() -> None:
    client = Client()
    query = client.query()
    client.tagging.add([b"a", b"b", b"c"], [REFUSED, query, REFUSED])
    assert len(client.tagging) == 3
    assert client.tagging.answers(0.0) == b"a 0\nc 0\n"
    assert [*client.tagging] == [query]


@pytest.mark.parametrize("verdict", Verdict)
def test_no_answer_long_after_its_time(verdict: Verdict) -> None:
    client = Client()
    queries = [client.query(), client.query()]
    client.tagging.add([b"a", b"b"], queries)
    queries[0].settle(verdict)
    known = {Verdict.GRANTED: b"a 1\n", Verdict.DENIED: b"a 0\n", Verdict.UNAVAILABLE: b"a 2\n"}
    assert client.tagging.answers(10.0 + GRACE_AFTER_DEADLINE / 2) == known[verdict]
    queries[1].settle(verdict)
    assert client.tagging.answers(10.0 + GRACE_AFTER_DEADLINE) == b"b 2\n"


def test_what_is_open_when_all_is_abandoned_is_unavailable_once_and_for_all() -> None:
    client = Client()
    queries = [client.query(), client.query()]
    client.tagging.add([b"a", b"b"], queries)
    client.tagging.unasked([b"c"])
    queries[1].settle(Verdict.GRANTED)
    assert sorted(client.tagging.abandon(0.0).splitlines()) == [b"a 2", b"b 1", b"c 2"]
    assert not client.in_use
    queries[0].settle(Verdict.GRANTED)
    assert client.tagging.answers(0.0) == b""


def test_what_is_settled_after_all_was_forgotten_is_nobody_s() -> None:
    client = Client()
    query = client.query()
    client.tagging.add([b"a"], [query])
    client.tagging.clear()
    query.settle(Verdict.GRANTED)
    assert client.tagging.answers(0.0) == b""
    assert not client.tagging
