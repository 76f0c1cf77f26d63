"""Prosody's generic protocol: lines in, `1` or `0` out; `2` for a client that asked for it.

A line ends in LF; one CR before it is dropped; the last one before end of input counts even without LF.
At most max_line bytes without the line end; the rest of a longer line is skipped, not stored.
What a line may hold is for `checks` to say.

No I/O.  Nothing here knows who asks or who answers.
"""

from __future__ import annotations

from collections import deque

from bridge.messages import Refusal

YES = b"1\n"
NO = b"0\n"
"""Also the answer when nobody knows."""

UNKNOWN = b"2\n"
"""What a client gets for that which asked for a third answer."""

HELLO = b"extauth-bridge:answers:3"
"""Asks for it, as the very first line of a connection to the daemon; anywhere else it is refused like any line."""


class LineReader:
    """Cuts a byte stream into lines, storing no more than it may have to give back.

    `feed` takes what was read, `take` gives lines, with `Refusal.LENGTH` in the place of each over-long one.
    """

    def __init__(self, max_line: int) -> None:
        self.max_line = max_line
        self._lines: deque[bytes | Refusal] = deque()
        self._rest = b""
        self._skipping = False

    @property
    def unfinished(self) -> int:
        """Bytes of a line that has begun and not ended; at least `max_line` of one that is too long."""
        return len(self._rest) + self.max_line * self._skipping

    def __len__(self) -> int:
        """Complete lines not yet taken."""
        return len(self._lines)

    def feed(self, data: bytes) -> None:
        """More bytes of the stream."""
        if self._rest:
            data = self._rest + data
        *lines, rest = data.split(b"\n")
        if len(data) > self.max_line or b"\r" in data or self._skipping:
            self._lines.extend(map(self._finished, lines))
        else:  # nothing to be dropped in any of them
            self._lines.extend(lines)
        if self._skipping or len(rest) > self.max_line + 1:  # one more for a CR
            self._skipping, rest = True, b""
        self._rest = rest

    def take(self, limit: int) -> list[bytes | Refusal]:
        """At most `limit` complete lines, oldest first, without their line ends."""
        lines = self._lines
        if limit < len(lines):
            return [lines.popleft() for _ in range(limit)]
        taken = [*lines]
        lines.clear()
        return taken

    def finish(self) -> None:
        """End of input: what is unfinished counts as a line."""
        if self.unfinished:
            self._lines.append(self._finished(self._rest))
            self._rest = b""

    def _finished(self, line: bytes) -> bytes | Refusal:
        if self._skipping:
            self._skipping = False
            return Refusal.LENGTH
        if line.endswith(b"\r"):
            line = line[:-1]
        return line if len(line) <= self.max_line else Refusal.LENGTH
