"""Prosody's generic protocol: lines in, `1` or `0` out; `2` for a client that asked for it.

A line ends in LF; one CR before it is dropped; the last line before end of input counts even without LF.
It has at most max_line bytes without the line end; the rest of a longer line is skipped, not stored.
`checks` decides what a line may hold.

No I/O.
"""

from __future__ import annotations

from bridge.protocol.query import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LINE = 32767
"""Bytes of the longest line that a frame can take to a program: its length field has 2 bytes, which several programs
read as a signed number."""

YES = b"1\n"
NO = b"0\n"
"""Also the answer if the verdict is `UNAVAILABLE`."""

UNKNOWN = b"2\n"
"""The answer then for a client that requested the third answer."""

REQUEST = b"extauth-bridge:"
"""How the very first line of a connection to the daemon begins if it is one of the two below.  Anywhere else such a
line is refused like any other that is not a question."""

HELLO = REQUEST + b"answers:3"
"""Requests the third answer."""

TAGGED_HELLO = REQUEST + b"tagged:1"
"""Requests the tagged protocol; see `tagged`."""


class LineReader:
    """Splits a byte stream into lines, storing no more than it may have to return.

    Lines come without their line ends, with `Refusal.LENGTH` in place of each over-long one.

    Attributes:
      max_line: bytes; a new limit also applies to the line that is being read.
    """

    def __init__(self, max_line: int) -> None:
        self.max_line = max_line
        self._rest = b""
        self._skipping = False

    @property
    def unfinished(self) -> int:
        """Bytes of a line that has begun but not ended; at least `max_line` if it is too long."""
        return len(self._rest) + self.max_line * self._skipping

    def feed(self, data: bytes) -> Sequence[bytes | Refusal]:
        """Take more bytes of the stream, and return the lines they complete."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        lines = data.split(b"\n")
        rest = lines.pop()
        if not rest and len(data) <= self.max_line and b"\r" not in data and not self._skipping:
            return lines  # most of the time
        finished = [self._finished(line) for line in lines]
        if rest and not self._skipping:
            if len(rest) > self.max_line + 1:  # one more for a CR
                self._skipping = True
            else:
                self._rest = rest
        return finished

    def finish(self) -> Sequence[bytes | Refusal]:
        """End of input: an unfinished line counts."""
        if not self.unfinished:
            return []
        rest, self._rest = self._rest, b""
        return [self._finished(rest)]

    def _finished(self, line: bytes) -> bytes | Refusal:
        if self._skipping:
            self._skipping = False
            return Refusal.LENGTH
        if line.endswith(b"\r"):
            line = line[:-1]
        return line if len(line) <= self.max_line else Refusal.LENGTH
