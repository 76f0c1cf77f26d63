"""The rule for a client that asks again only after it has read the answer, or has given up waiting.

Prosody is such a client, and what it passes on may hold a newline that somebody typed: a second line in the
same burst is an attack, not a question.

  - Bytes behind a line, there when it is read or at most 50 ms later and before its answer is written: the
    whole burst is one violation.  It gets one `0`, once it has been quiet for 50 ms.
  - Bytes later than that, before the answer is written: the client gave up; the old answer is void and the
    new line is the question.
  - A line that comes in pieces is one line only if nothing else can be: pieces more than 50 ms apart, or on
    a terminal any piece that was written whole, are a line that was cut off (lpty cuts at a NUL) and another
    question.  Joined they are neither.  A violation too.
  - On a terminal, a first line whose secret holds another question to the same host: this is how both pieces
    look when they came before we were there to read the first.  In doubt, a violation.

No I/O; time is passed in, in seconds.  Nothing here knows who answers.
"""

from __future__ import annotations

import enum

from bridge.protocol.lines import LineReader
from bridge.protocol.query import Refusal

BURST = 0.050
"""Seconds.  Lines injected with one write arrive together; no client gives up and asks again so soon."""

WRITTEN_WHOLE = 2048
"""Bytes.  What is written to a terminal at once is there at once up to this size (Linux, iterate_tty_write)."""

_QUESTIONS = (b"auth:", b"isuser:", b"setpass:", b"tryregister:", b"removeuser:", b"removeuser3:")


class Heard(enum.Enum):
    """What became of the questions.  After any of these an answer to the question before is void."""

    GAVE_UP = "the question that was open is not the client's any more, and nobody reads its answer"
    QUESTION = "there is a question now"
    VIOLATION = "a burst is the question now: the line before it, if one was open, is part of it"


class LockstepRule:
    """What one lockstep client has asked and not yet been answered.

    Only what `received` and `ended` return, and `close`, change the question.

    Attributes:
      question: the line that is open, `Refusal.INJECTION` for a violation, `None` if nothing is owed.
      since: when it was complete.
      quiet_at: not before this time may a violation be answered.
    """

    def __init__(self, max_line: int, terminal: bool = False) -> None:
        """Args:
        max_line: bytes.
        terminal: the client is on a terminal, and writes a line with one write.
        """
        self._max_line = max_line
        self._terminal = terminal
        self._reader = LineReader(max_line)
        self._begun = 0.0  # when the first piece of an unfinished line came
        self._first = True  # nothing was asked so far
        self.question: bytes | Refusal | None = None
        self.since = 0.0
        self.quiet_at = float("-inf")

    def limit(self, max_line: int) -> None:
        """Another limit, in bytes, for lines that are still to come."""
        self._max_line = self._reader.max_line = max_line

    def received(self, data: bytes, now: float) -> tuple[Heard, ...]:
        """Bytes came from the client: all that were there.

        Returns:
          What that means, in its order; nothing if no line is complete, or more came of a violation.
        """
        if self.question is Refusal.INJECTION:
            self.quiet_at = now + BURST
            return ()
        if self.question is None:
            return self._read(data, now)
        if now - self.since <= BURST:
            return self._violation(now)
        self.question = None
        return (Heard.GAVE_UP, *self._read(data, now))

    def ended(self, now: float) -> tuple[Heard, ...]:
        """End of input: a last line without its line end counts."""
        if self.question is not None:
            return ()
        lines = self._reader.finish()
        return self._open(lines[0], now) if lines else ()

    def close(self) -> None:
        """The question has been answered, or never will be."""
        self.question = None

    def _read(self, data: bytes, now: float) -> tuple[Heard, ...]:
        """Bytes of a line, while none is open."""
        begun = self._reader.unfinished
        if not begun:
            self._begun = now
        elif self._terminal and begun < WRITTEN_WHOLE:
            self._begun = float("-inf")
        lines = self._reader.feed(data)
        if not lines:
            return ()
        line = lines[0]
        if len(lines) > 1 or self._reader.unfinished or now - self._begun > BURST:
            return self._violation(now)
        if self._terminal and self._first and isinstance(line, bytes) and holds_another(line):
            return self._violation(now)
        return self._open(line, now)

    def _open(self, line: bytes | Refusal, now: float) -> tuple[Heard, ...]:
        self.question, self.since, self._first = line, now, False
        return (Heard.QUESTION,)

    def _violation(self, now: float) -> tuple[Heard, ...]:
        self._reader = LineReader(self._max_line)
        self._open(Refusal.INJECTION, now)
        self.quiet_at = now + BURST
        return (Heard.VIOLATION,)


def holds_another(line: bytes) -> bool:
    """Whether the secret of `line` holds what looks like another question to the same host."""
    fields = line.split(b":", 3)
    if len(fields) < 4:
        return False
    host, secret = b":" + fields[2], fields[3]
    return any((start := secret.find(command)) >= 0 and host in secret[start:] for command in _QUESTIONS)
