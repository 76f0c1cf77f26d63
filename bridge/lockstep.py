"""The rule for a client that asks again only after it has read the answer, or has given up waiting.

Prosody is such a client, and what it passes on may hold a newline that somebody typed: a second line in the
same burst is an attack, not a question.

  - Bytes behind a line, there when it is read or at most 50 ms later and before its answer is written: the
    whole burst is one violation.  It gets one `0`, once it has been quiet for 50 ms.
  - Bytes later than that, before the answer is written: the client gave up; the old answer is void and the
    new line is the question.
  - The pieces of one line that come more than 50 ms apart: the first was cut off (at a NUL, say) and the
    second is another question; joined they are neither.  A violation too.

No I/O; time is passed in, in seconds.  Nothing here knows who answers.
"""

from __future__ import annotations

import enum

from bridge.lines import LineReader
from bridge.messages import Refusal

BURST = 0.050
"""Seconds.  Lines injected with one write arrive together; no client gives up and asks again so soon."""


class Heard(enum.Enum):
    """What the bytes just received mean."""

    NOTHING = "no complete line yet, or more of a violation"
    QUESTION = "a line that is the question now"
    VIOLATION = "a burst: the question, if one was open, is void"


class Lockstep:
    """What one lockstep client has asked and not yet been answered.

    Attributes:
      question: the line that is open, `Refusal.INJECTION` for a violation, `None` if nothing is owed.
      serial: number of that question; an answer to another number is void.
      since: when it was complete.
      quiet_at: not before this time may a violation be answered.
      gave_up: questions the client abandoned so far.
    """

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._reader = LineReader(max_line)
        self._begun = 0.0  # when the first piece of an unfinished line came
        self.question: bytes | Refusal | None = None
        self.serial = 0
        self.since = 0.0
        self.quiet_at = float("-inf")
        self.gave_up = 0

    def limit(self, max_line: int) -> None:
        """Another limit, in bytes, for lines that are still to come."""
        self._max_line = self._reader.max_line = max_line

    def received(self, data: bytes, now: float) -> Heard:
        """Bytes came from the client; all that were there, as far as they fit into one read."""
        if self.question is Refusal.INJECTION:
            self.quiet_at = now + BURST
            return Heard.NOTHING
        if self.question is not None:
            if now - self.since <= BURST:
                return self._violation(now)
            self.gave_up += 1
            self.question = None
        if not self._reader.unfinished:
            self._begun = now
        self._reader.feed(data)
        lines = self._reader.take(2)
        if not lines:
            return Heard.NOTHING
        if len(lines) > 1 or self._reader.unfinished or now - self._begun > BURST:
            return self._violation(now)
        return self._open(lines[0], now)

    def ended(self, now: float) -> Heard:
        """End of input: a last line without its line end counts."""
        if self.question is not None:
            return Heard.NOTHING
        self._reader.finish()
        lines = self._reader.take(1)
        return self._open(lines[0], now) if lines else Heard.NOTHING

    def close(self) -> None:
        """The question has been answered, or never will be."""
        self.question = None

    def _open(self, line: bytes | Refusal, now: float) -> Heard:
        self.question, self.since = line, now
        self.serial += 1
        return Heard.QUESTION

    def _violation(self, now: float) -> Heard:
        self._reader = LineReader(self._max_line)
        self._open(Refusal.INJECTION, now)
        self.quiet_at = now + BURST
        return Heard.VIOLATION
