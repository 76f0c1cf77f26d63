"""The rule for a client that asks again only after it has read the answer, or has given up waiting.

Prosody is such a client, and what it passes on may hold a newline that somebody typed: a second line in the
same burst is an attack, not a question.

  - Bytes after a line that are there when it is read, or arrive within 50 ms and before its answer is written: the
    whole burst is one violation.  It gets one `0`, after 50 ms without further bytes.
  - Bytes that arrive later, before the answer is written: the client gave up; the old answer is void and the
    new line is the question.
  - A line that comes in pieces is one line only if it can be nothing else.  Pieces more than 50 ms apart, or on a
    terminal after any piece that was written whole, are a truncated line (lpty cuts at a NUL) and another question;
    joined, they would be neither.  A violation too.
  - On a terminal, a line whose secret holds another question to the same host: this is how both pieces look if they
    came before we could read the first, at the start or because we stood still.  When in doubt, a violation.

No I/O; the caller passes the time in, in seconds.
"""

from __future__ import annotations

import enum

from bridge.protocol.lines import LineReader
from bridge.protocol.query import Refusal

BURST = 0.050
"""Seconds.  Lines injected with one write arrive together; no client gives up and asks again this soon."""

WRITTEN_WHOLE = 2048
"""Bytes.  One write(2) to a terminal of up to this size arrives in one piece (Linux, iterate_tty_write)."""

_QUESTIONS = (b"auth:", b"isuser:", b"setpass:", b"tryregister:", b"removeuser:", b"removeuser3:")


class Heard(enum.Enum):
    """What the client's bytes mean.  Any of these makes an answer to the previous question void."""

    GAVE_UP = "the client gave up on the open question, and nobody reads its answer"
    QUESTION = "there is a new question"
    VIOLATION = "a burst is the question now, including the line before it if one was open"


class LockstepRule:
    """The open question of one lockstep client.

    It changes only with what `received` and `ended` return, and with `close`.

    Args:
      max_line: bytes.
      terminal: the client is on a terminal, and writes a line with one write.

    Attributes:
      question: the open line, `Refusal.INJECTION` for a violation, `None` if no answer is owed.
      since: when it was complete.
      quiet_at: the earliest time at which a violation may be answered.
    """

    def __init__(self, max_line: int, terminal: bool = False) -> None:
        self._max_line = max_line
        self._terminal = terminal
        self._reader = LineReader(max_line)
        self._begun = 0.0  # when the first piece of an unfinished line came
        self.question: bytes | Refusal | None = None
        self.since = 0.0
        self.quiet_at = float("-inf")

    def limit(self, max_line: int) -> None:
        """Set a new limit, in bytes, for further lines."""
        self._max_line = self._reader.max_line = max_line

    def received(self, data: bytes, now: float) -> tuple[Heard, ...]:
        """Take `data` from the client, which must be everything there was to read.

        Returns:
          what it means, in order; nothing if no line is complete, or if it continues a violation.
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
        """End of input: a last line without a line end counts."""
        if self.question is not None:
            return ()
        lines = self._reader.finish()
        return self._open(lines[0], now) if lines else ()

    def close(self) -> None:
        """Close the question: it has been answered, or never will be."""
        self.question = None

    def _read(self, data: bytes, now: float) -> tuple[Heard, ...]:
        """Take bytes while no question is open."""
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
        if self._terminal and isinstance(line, bytes) and holds_another(line):
            return self._violation(now)
        return self._open(line, now)

    def _open(self, line: bytes | Refusal, now: float) -> tuple[Heard, ...]:
        self.question, self.since = line, now
        return (Heard.QUESTION,)

    def _violation(self, now: float) -> tuple[Heard, ...]:
        self._reader = LineReader(self._max_line)
        self._open(Refusal.INJECTION, now)
        self.quiet_at = now + BURST
        return (Heard.VIOLATION,)


def holds_another(line: bytes) -> bool:
    """Whether the secret of `line` contains what looks like another question to the same host."""
    if line.count(b":") < 5:  # three of its own, and two of the shortest question
        return False
    _, _, host, secret = line.split(b":", 3)
    host = b":" + host
    return any((start := secret.find(command)) >= 0 and host in secret[start:] for command in _QUESTIONS)
