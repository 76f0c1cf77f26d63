"""The tagged protocol: what is parsed, and whose answer is whose, with verdicts in any order and at any time."""

import contextlib
import socket
from collections.abc import Iterator

from bridge.protocol.query import REFUSED, Query, Refusal, Verdict
from bridge.protocol.tagged import TaggedReader, Tagging, Violation
from fuzz.engine import Check
from fuzz.source import Source

ADDRESSES = (b"-", b"192.0.2.7", b"::1", b"127.0.0.1", b"2001:db8::5", b"fe80::1%eth0", b"::ffff:192.0.2.7")
TOKENS = (
    *(
        b"a - isuser:u:h\n",
        b"b 192.0.2.7 auth:u:h:p q\r\n",
        b"c 2001:db8::5 x\n",
        b"1234567890abcdef - y\n",
        b" ",
        b"\n",
    ),
    *ADDRESSES,
    *(
        b"1234567890abcdefg - y\n",
        b"a  x\n",
        b"x" * 40,
        b"1::2:3:4:5:6:7:8",
        b"01.2.3.4",
        "\u0661 - x\n".encode(),
        b"%",
    ),
)
_DIGIT = {Verdict.GRANTED: b"1", Verdict.DENIED: b"0", Verdict.UNAVAILABLE: b"2"}
_DEADLINE, _LATE = 4.0, 0.1  # seconds: as `answer_timeout`, and how much later an answer may still leave


@contextlib.contextmanager
def target() -> Iterator[Check]:
    yield check


class Wrong(Exception):
    """The stream is no such protocol, as the reference sees it."""


class Reference:
    """All that was fed and answered; parses the stream from its start, one line at a time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.rest = b""
        self.long = False
        self.open: set[bytes] = set()

    def feed(self, data: bytes) -> list[tuple[bytes, str, bytes | Refusal]]:
        lines: list[tuple[bytes, str, bytes | Refusal]] = []
        for byte in data:
            self.rest += bytes([byte])
            ends = byte == 10
            # Head, LINE and a CR; a line that cannot end in time is told of as soon as this is known.
            if not self.long and (ends or len(self.rest) > 16 + 1 + 64 + 1 + self.limit + 1):
                self.long = not ends
                lines.append(self.line(self.rest.removesuffix(b"\n")))
                self.rest = self.rest if self.long else b""
            elif ends:
                self.long, self.rest = False, b""
        return lines

    def line(self, whole: bytes) -> tuple[bytes, str, bytes | Refusal]:
        tag, space, more = whole.partition(b" ")
        address, another, line = more.partition(b" ")
        good = space and another and 0 < len(tag) <= 16 and tag not in self.open
        if not good or any(chr(byte) not in _ALNUM for byte in tag):
            raise Wrong
        self.open.add(tag)
        bare = line.removesuffix(b"\r")
        return tag, client(address), bare if len(bare) <= self.limit else Refusal.LENGTH


_ALNUM = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def client(address: bytes) -> str:
    """Whom the address stands for, as the system's own parser has it."""
    if address == b"-":
        return ""
    text = address.decode("ascii", "replace")
    if len(address) > 64 or not text.isascii() or not text.isprintable():
        raise Wrong
    with contextlib.suppress(OSError):
        packed = socket.inet_pton(socket.AF_INET, text)
        return "" if packed[0] == 127 else socket.inet_ntop(socket.AF_INET, packed)
    bare, zone, name = text.partition("%")
    if zone and (not name or "%" in name or "/" in name):  # no interface has such a name
        raise Wrong
    try:
        packed = socket.inet_pton(socket.AF_INET6, bare)
    except OSError:
        raise Wrong from None
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        return client(socket.inet_ntop(socket.AF_INET, packed[12:]).encode())
    if packed == b"\0" * 15 + b"\1":
        return ""
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8)) + "/64"


class Scene:
    """The reader and the answers of one client, as its session uses them."""

    def __init__(self, limit: int) -> None:
        self.now = 0.0
        self.reader, self.reference = TaggedReader(limit), Reference(limit)
        self.tagging = Tagging(self.reader.in_use)
        self.queries: dict[bytes, Query] = {}  # by tag, of lines without an answer
        self.refused: list[bytes] = []  # tags of lines that were refused: free again, before their answer is heard
        hello = self.tagging.answers(self.now)
        assert hello == b"1\n"

    def failed(self, error: Exception) -> None:
        raise error

    def feed(self, data: bytes, refused: int) -> None:
        expected: list[tuple[bytes, str, bytes | Refusal]] = []
        wrong = False
        try:
            expected = self.reference.feed(data)
        except Wrong:
            wrong = True
        try:
            got = [*self.reader.feed(data)]
        except Violation as violation:
            assert wrong, f"it is none: {violation}"
            assert str(violation).isprintable()
            raise
        assert not wrong, "a violation was not noticed"
        assert [(tag, _network(address), line) for tag, address, line in got] == expected
        queries = [self.query(line, bool(refused >> number % 8 & 1)) for number, (_, _, line) in enumerate(got)]
        for (tag, _, _), query in zip(got, queries, strict=True):
            if query is REFUSED:
                self.refused.append(tag)
                self.reference.open.discard(tag)
            else:
                self.queries[tag] = query
        self.tagging.add([tag for tag, _, _ in got], queries)

    def query(self, line: bytes | Refusal, refused: bool) -> Query:
        if refused or isinstance(line, Refusal):
            return REFUSED
        return Query(line, self.now + _DEADLINE, self)

    def settle(self, number: int, verdict: Verdict) -> None:
        waiting = [query for query in self.queries.values() if not query.settled]
        if waiting:
            query = waiting[number % len(waiting)]
            query.verdict = verdict
            self.tagging.settled.append(query)

    def hear(self, answers: bytes, abandoned: bool = False) -> None:
        """Every answer is that of a line without one, under its tag, and says what its query's verdict says."""
        assert answers == b"" or answers.endswith(b"\n")
        for answer in answers.split(b"\n")[:-1]:
            tag, digit = answer.split(b" ")
            if tag in self.refused:
                self.refused.remove(tag)
                assert digit == b"0"
                continue
            query = self.queries.pop(tag)
            self.reference.open.discard(tag)
            if query.verdict is None:
                assert abandoned and digit == b"2"
            else:
                late = self.now >= query.deadline + _LATE
                assert digit == (b"2" if late else _DIGIT[query.verdict])
        assert {*self.reader.in_use} == self.reference.open == {*self.queries} and not self.refused
        assert abandoned or not any(query.settled for query in self.queries.values()), "an answer is held back"


def _network(address: str) -> str:
    """Addresses have more than one spelling."""
    bare, slash, size = address.partition("/")
    if ":" not in address:
        return address
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, bare)) + slash + size


def check(data: bytes) -> None:
    source = Source(data)
    scene = Scene(4 + source.below(32))
    while source:
        step = source.below(8)
        try:
            if step < 4:
                scene.feed(source.take(source.below(64)) + b"\n" * (step < 2), source.below(256) if step % 2 else 0)
            elif step == 4:
                scene.settle(source.below(256), source.pick([*Verdict]))
            elif step == 5:
                scene.hear(scene.tagging.answers(scene.now))
            elif step == 6:
                scene.now += source.pick((0.5, 3.7, 3.95, 4.2))
            else:
                scene.feed(b"t%d - isuser:u:h\n" % source.below(100), 0)
        except Violation:
            scene.reader.in_use.clear()
            return
    scene.hear(scene.tagging.abandon(scene.now), abandoned=True)
    assert not scene.queries and not scene.reader.in_use and not len(scene.tagging)
    assert not scene.tagging.answers(scene.now)
