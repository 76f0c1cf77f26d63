"""The tagged protocol: every line has a tag, and is answered as soon as its verdict is known, in any order.

  TAG ADDRESS LINE    with one space between them
  TAG VERDICT         its answer: `1`, `0`, or `2` if nobody could be asked

  TAG       1 to 16 ASCII letters or digits; no unanswered line of this client has the same
  ADDRESS   the IP address for which the client asks, or `-`; no program sees it
  LINE      as in `lines`, with the same line ends.  The limit of its length is for it alone: of a longer one nothing
            is stored but the tag, and the rest is skipped.

Anything else is a `Violation`: nobody can know any more which answer the client would take for which question's.

No I/O.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterator, Sequence

from bridge.protocol.lines import YES
from bridge.protocol.ordering import GRACE_AFTER_DEADLINE
from bridge.protocol.query import REFUSED, Query, Refusal, Verdict

Tagged = tuple[bytes, str, bytes | Refusal]
"""A tag, an address as `canonical` has it, and a line or the reason why it is none."""

TAG_MAX = 16
ADDRESS_MAX = 64
"""Bytes.  The longest IPv6 address has 45, and a zone's interface name 15 (IFNAMSIZ)."""

HEAD_MAX = TAG_MAX + 1 + ADDRESS_MAX + 1
"""Bytes before LINE."""

_ADDRESSES = 1024
"""Addresses remembered, as parsing one takes as long as half a question.  Some 200 KB."""

_YES, _NO, _UNKNOWN = b" 1\n", b" 0\n", b" 2\n"

_GRANTED, _DENIED = Verdict.GRANTED, Verdict.DENIED


class Violation(Exception):
    """What the client has sent is not the protocol it has requested.  `str(error)` holds nothing of it."""


class TaggedLines:
    """Some lines; their columns are what is needed of most."""

    __slots__ = ("addresses", "questions", "tags")

    def __init__(
        self, tags: Sequence[bytes] = (), addresses: Sequence[str] = (), questions: Sequence[bytes | Refusal] = ()
    ) -> None:
        self.tags = tags
        self.addresses = addresses
        self.questions = questions

    def __len__(self) -> int:
        return len(self.tags)

    def __iter__(self) -> Iterator[Tagged]:
        return zip(self.tags, self.addresses, self.questions, strict=True)

    def __getitem__(self, at: slice) -> TaggedLines:
        return TaggedLines(self.tags[at], self.addresses[at], self.questions[at])


class TaggedReader:
    """Splits a byte stream into tagged lines, storing no more than it may have to return.

    After a `Violation` it must not be used any more.

    Attributes:
      max_line: bytes of LINE; a new limit also applies to the line that is being read.
      in_use: tags of all lines returned so far; whoever answers one removes its tag.
    """

    def __init__(self, max_line: int) -> None:
        self.max_line = max_line
        self.in_use: dict[bytes, None] = {}
        self._rest = b""
        self._skipping = False  # the rest of a line that was refused already

    def feed(self, data: bytes) -> TaggedLines:
        """Take more bytes of the stream, and return the lines they complete, and one that is already too long.

        Raises:
          Violation: one of them is no such line, or its tag is in use.
        """
        if self._skipping:
            _, ended, data = data.partition(b"\n")
            if not ended:
                return TaggedLines()
            self._skipping = False
        if not self._rest and (found := self._plain(data)) is not None:
            return found
        lines = (self._rest + data).split(b"\n")
        rest = lines.pop()
        if len(rest) > HEAD_MAX + self.max_line + 1:  # one more for a CR
            lines.append(rest)
            rest, self._skipping = b"", True
        self._rest = rest
        return TaggedLines(*zip(*map(self._parsed, lines), strict=True))

    def finish(self) -> TaggedLines:
        """End of input: an unfinished line is nothing, since its end may be missing; no half password is to be set."""
        self._rest = b""
        return TaggedLines()

    def _plain(self, data: bytes) -> TaggedLines | None:
        """`feed`, if `data` is whole good lines with two spaces each, as most are; otherwise nothing has happened.

        Line ends become words of their own, never two in a row.  If every fourth word is one, no other one is, unless a
        tag or an address is, which is none then.
        """
        words = data.replace(b"\n", b" \n ").split(b" ")
        if words.pop() or b"\r" in data:
            return None
        ends, tags, questions = words[3::4], words[::4], words[2::4]
        if not ends or len(ends) * 4 != len(words) or ends.count(b"\n") != len(ends):
            return None
        lengths = {*map(len, tags)}
        if 0 in lengths or max(lengths) > TAG_MAX or not b"".join(tags).isalnum():
            return None
        if len(data) > self.max_line and max(map(len, questions)) > self.max_line:
            return None
        try:
            addresses = [*map(canonical, words[1::4])]
        except ValueError:
            return None
        before = len(self.in_use)
        self.in_use.update(dict.fromkeys(tags))
        if len(self.in_use) < before + len(tags):
            raise Violation("a tag that is in use")
        return TaggedLines(tags, addresses, questions)

    def _parsed(self, whole: bytes) -> Tagged:
        fields = whole.split(b" ", 2)
        if len(fields) < 3:
            raise Violation("a line without tag and address")
        tag, address, line = fields
        if len(tag) > TAG_MAX or not tag.isalnum():
            raise Violation("no such tag is possible")
        if tag in self.in_use:
            raise Violation("a tag that is in use")
        try:
            text = canonical(address)
        except ValueError:
            raise Violation("not an IP address") from None
        self.in_use[tag] = None
        if line.endswith(b"\r"):
            line = line[:-1]
        return tag, text, line if len(line) <= self.max_line else Refusal.LENGTH


@functools.lru_cache(_ADDRESSES)
def canonical(address: bytes) -> str:
    """The client that ADDRESS stands for, as text; empty for `-` and for this host.

    One client can have any address of an IPv6 /64, so that stands for all of them.  An IPv4 address that was mapped to
    an IPv6 one counts as itself.  A zone is dropped.

    Raises:
      ValueError: it is no address; it is not remembered.
    """
    if address == b"-":
        return ""
    text = address.decode("ascii")
    if len(text) > ADDRESS_MAX or not text.isprintable():  # the library takes anything for a zone's name
        raise ValueError
    ip = ipaddress.ip_address(text)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return ""
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ipaddress.IPv6Network((int(ip), 64), strict=False))


class Tagging:
    """The unanswered lines of one client; as `ordering.Ordering`, but each is answered when its query is settled.

    Iterating yields the queries, without those whose answers are ready.

    Args:
      in_use: the reader's.

    Attributes:
      settled: queries that have their verdicts, since the last answers; some may not have been added yet, and some may
        be of before `clear`.
    """

    def __init__(self, in_use: dict[bytes, None]) -> None:
        self.settled: list[Query] = []
        self._in_use = in_use
        self._tags: dict[Query, bytes] = {}
        self._ready: list[bytes] = [YES]  # answers to lines that never were queries, the first being the client's hello

    def __len__(self) -> int:
        return len(self._tags) + len(self._ready)

    def __iter__(self) -> Iterator[Query]:
        return iter(self._tags)

    def add(self, tags: Sequence[bytes], queries: Sequence[Query]) -> None:
        """Add the queries of lines with these tags; some may be settled, and some `REFUSED`."""
        self._tags.update(zip(queries, tags, strict=True))
        if self._tags.pop(REFUSED, None) is not None:
            refused = [tag for tag, query in zip(tags, queries, strict=True) if query is REFUSED]
            self._answer(refused, _NO)

    def unasked(self, tags: Sequence[bytes]) -> None:
        """Add lines that were read too late to be asked."""
        self._answer(tags, _UNKNOWN)

    def answers(self, now: float) -> bytes:
        """Take out every answer that is known.

        Args:
          now: seconds, on the clock of the deadlines.  A query long past its deadline is unavailable: we were
            stopped meanwhile.
        """
        answers, self._ready = self._ready, []
        settled, self.settled = self.settled, []
        take, free, latest = self._tags.pop, self._in_use.pop, now - GRACE_AFTER_DEADLINE
        for query in settled:
            tag = take(query, None)
            if tag is None:
                continue
            free(tag, None)
            verdict = query.verdict
            if query.deadline <= latest:
                answers.append(tag + _UNKNOWN)
            else:
                answers.append(tag + (_YES if verdict is _GRANTED else _NO if verdict is _DENIED else _UNKNOWN))
        return b"".join(answers)

    def abandon(self, now: float) -> bytes:
        """Take out all lines; those whose queries have no verdict are unavailable."""
        known = self.answers(now)
        self.unasked([*self._tags.values()])
        self._tags.clear()
        return known + self.answers(now)

    def clear(self) -> None:
        """Forget everything, all tags in use included."""
        self._in_use.clear()
        self._tags.clear()
        self.settled.clear()
        self._ready.clear()

    def _answer(self, tags: Sequence[bytes], answer: bytes) -> None:
        self._ready += [tag + answer for tag in tags]
        for tag in tags:
            self._in_use.pop(tag, None)
