"""Prosody's generic protocol: lines in, `1` or `0` out; `2` for a client that asked for it.

A line ends in LF; one CR before it is dropped; the last one before end of input counts even without LF.
At most max_line bytes without the line end; the rest of a longer line is skipped, not stored.
What a line may hold is for `checks` to say.

No I/O.  Nothing here knows who asks or who answers.
"""

from __future__ import annotations

from bridge.protocol.query import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

YES = b"1\n"
NO = b"0\n"
"""Also the answer when nobody knows."""

UNKNOWN = b"2\n"
"""What a client gets for that which asked for a third answer."""

HELLO = b"extauth-bridge:answers:3"
"""Asks for it, as the very first line of a connection to the daemon; anywhere else it is refused like any line."""


class LineReader:
    """Cuts a byte stream into lines, storing no more than it may have to give back.

    Lines come without their line ends, with `Refusal.LENGTH` in the place of each over-long one.

    Attributes:
      max_line: bytes; a new limit counts for the line that is being read, too.
    """

    def __init__(self, max_line: int) -> None:
        self.max_line = max_line
        self._rest = b""
        self._skipping = False

    @property
    def unfinished(self) -> int:
        """Bytes of a line that has begun and not ended; at least `max_line` of one that is too long."""
        return len(self._rest) + self.max_line * self._skipping

    def feed(self, data: bytes) -> Sequence[bytes | Refusal]:
        """Take more bytes of the stream; returns the lines that they complete."""
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
        """End of input: what is unfinished counts as a line."""
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
