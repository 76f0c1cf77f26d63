"""The two protocols as `check` hears them: what goes to a program, and what its bytes are.  No I/O."""

from __future__ import annotations

from typing import Protocol

from bridge.checking import linereplies, replies
from bridge.checking.flaw import Flaw
from bridge.protocol import frames, generic
from bridge.protocol.checks import LONGEST
from bridge.protocol.frames import verdict_of
from bridge.protocol.lines import MAX_LINE
from bridge.protocol.query import Verdict


class Dialect(Protocol):
    """What `check` needs to know of a protocol.

    Attributes:
      name: the value of `protocol`.
      no: a reply.
      well: what a good reply is, in words.
      cuts: where a question is cut in pieces, and how to say so.
      lengths: bytes of questions that are tried: on both sides of where programs stop.
      buffers: bytes that a program may take for a whole question, because it has no room for more.
    """

    name: str
    no: bytes
    well: str
    cuts: tuple[tuple[int, str], ...]
    lengths: tuple[int, ...]
    buffers: tuple[int, ...]

    def framed(self, body: bytes) -> bytes:
        """A question as it is sent."""
        ...

    def replies(self, data: bytes) -> tuple[list[Verdict], bytes]:
        """The replies with which `data` begins, and what is behind them."""
        ...

    def behind(self, data: bytes) -> bytes:
        """What is behind the first reply, which is there."""
        ...

    def has_replies(self, data: bytes, count: int) -> bool:
        """Whether so many may be there, or something else is."""
        ...

    def verdict_of(self, data: bytes) -> Verdict | None:
        """The verdict, if `data` is a reply and nothing else."""
        ...

    def ends_well(self, data: bytes) -> bool:
        """Whether a reply is the last of it."""
        ...

    def flaw(self, data: bytes) -> Flaw | None:
        """The flaw of what came instead of a reply; `None` if it is one, or empty."""
        ...


class Frames:
    """ejabberd's.

    Lengths: programs read one as signed, as characters, as a line (2600 begins with a line feed), or into a buffer of
    4096 or 8192 bytes.
    """

    name = "ejabberd"
    no = b"\0\2\0\0"
    well = "four bytes each"
    cuts: tuple[tuple[int, str], ...] = ((2, "after the length"), (14, "in its middle"))
    lengths: tuple[int, ...] = (100, 127, 128, 255, 256, 1000, 2600, 4096, 8200, MAX_LINE)
    buffers: tuple[int, ...] = ()

    def framed(self, body: bytes) -> bytes:
        """Raises struct.error if it is too long."""
        return frames.framed(body)

    def replies(self, data: bytes) -> tuple[list[Verdict], bytes]:
        found: list[Verdict] = []
        while (verdict := verdict_of(data[:4])) is not None:
            found.append(verdict)
            data = data[4:]
        return found, data

    def behind(self, data: bytes) -> bytes:
        return data[4:]

    def has_replies(self, data: bytes, count: int) -> bool:
        return len(data) >= 4 * count

    def verdict_of(self, data: bytes) -> Verdict | None:
        return verdict_of(data)

    def ends_well(self, data: bytes) -> bool:
        return verdict_of(data[-4:]) is not None

    def flaw(self, data: bytes) -> Flaw | None:
        return replies.flaw(data)


_BUFFERS = (64, 80, 100, 128, 200, 250, 255, 256, 257, 300, 400, 500, 512, 600, 640, 700, 750, 768, 800, 900, 1000)


class Lines:
    """Prosody's.

    Lengths: programs read a line into a buffer of 128, 256 or 512 bytes, say, and take what is left of it for the next
    one.  No longer line gets to them.
    """

    name = "generic"
    no = b"0\n"
    well = "a digit and a line end each"
    cuts: tuple[tuple[int, str], ...] = ((5, "after its command"), (14, "in its middle"))
    lengths: tuple[int, ...] = (100, 126, 128, 254, 256, 510, 512, LONGEST)
    buffers = tuple(size - less for size in _BUFFERS for less in (1, 0))  # fgets keeps a byte for NUL, read does not

    def framed(self, body: bytes) -> bytes:
        return generic.framed(body)

    def replies(self, data: bytes) -> tuple[list[Verdict], bytes]:
        found: list[Verdict] = []
        while match := linereplies.REPLY.match(data):
            found.append(Verdict.GRANTED if match[1] == b"1" else Verdict.DENIED)
            data = data[match.end() :]
        return found, data

    def behind(self, data: bytes) -> bytes:
        return linereplies.REPLY.sub(b"", data, count=1)

    def has_replies(self, data: bytes, count: int) -> bool:
        found, behind = self.replies(data)
        return len(found) >= count or bool(behind)

    def verdict_of(self, data: bytes) -> Verdict | None:
        found, behind = self.replies(data)
        return found[0] if len(found) == 1 and not behind else None

    def ends_well(self, data: bytes) -> bool:
        return linereplies.LAST.search(data) is not None

    def flaw(self, data: bytes) -> Flaw | None:
        return linereplies.flaw(data)


DIALECTS: dict[str, Dialect] = {"ejabberd": Frames(), "generic": Lines()}


def other(dialect: Dialect) -> Dialect:
    """The one of the two that this is not."""
    return next(one for one in DIALECTS.values() if one is not dialect)
