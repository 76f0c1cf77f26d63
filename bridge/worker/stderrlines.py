"""Turns what a program writes on stderr, in whatever pieces it arrives, into lines that are safe to log.

  - A line ends in a newline.  Of a line longer than 2 KiB the rest is skipped.
  - Secrets are masked before anything is cut, so neither the end of a piece nor the cut shows half of one.
  - A program may print late: its output is masked with the secrets of all its questions that are remembered.  If it may
    hold the secret of a forgotten one, as too many questions came since the program last wrote, its lines are withheld
    and the log says why.
  - The result is one printable line of at most 512 bytes: a program cannot forge a second line, a terminal's
    escape sequence or a syslog priority.
  - A line that cannot be masked safely is withheld completely: better to lose a line of diagnostics than a password.

No I/O.  The time is linear in what the program writes, and secrets are searched for only in lines that are shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from bridge.log.text import cut, escaped
from bridge.worker.masks import Masks

SHOWN = 512
"""Bytes of one line in the log; a longer line is a dump, and its beginning says of what."""

ROOM = 2048
"""Bytes of a line that are looked at: more than are shown, as masks are short; masking them takes two milliseconds at
most."""

START = 100
"""Bytes of a line by which one is told from another: a message begins within that, after a time and a file's name."""

WITHHELD = "(line withheld: it may hold a secret)"
FORGOTTEN = "(line withheld: too many questions since the program last wrote, it may hold the secret of any)"

LATE = 2
"""Questions whose secrets may still be printed once all output has been read: the current one and the one before."""

# Compiled on first use, not at start-up.
_FORGED_PRIORITY = r"(?:<\d+>)+"
_NOTHING_ELSE = rb"(?:<\d+>)+\s*\Z"


class Secrets(Protocol):
    """The secrets of the remembered questions, one for each, empty if it has none."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __len__(self) -> int: ...


class StderrLines:
    """One program's stderr.

    Args:
      secrets: those the program may print; read again whenever it has written.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._line = bytearray()  # the unfinished line; one byte more than ROOM if it is longer
        self._since = 0  # questions asked when its output was last read completely
        self._line_since = 0  # `_since` when the unfinished line began
        self._dump_seen: int | None = None  # questions asked when the output being withheld had been read completely

    def feed(self, data: bytes, asked: int, drained: bool = True) -> Lines:
        """Take `data`, any piece of the stream, and return the lines it completes.

        Args:
          asked: questions so far, including the current one.
          drained: there was no more to read.
        """
        lines = self._complete(data, asked, ended=False)
        if drained:
            self._note_drained(asked)
        return lines

    def finish(self, asked: int) -> Lines:
        """End of the stream: return a last line without a newline.  A new stream may follow."""
        return self._complete(b"\n", asked, ended=True)

    def _complete(self, data: bytes, asked: int, ended: bool) -> Lines:
        first, *more = data.split(b"\n")
        if not self._line:
            self._line_since = self._since
        self._line += first[: ROOM + 1 - len(self._line)]
        if not more:
            return Lines([], self._secrets, withheld=0, torn=False)
        *whole, rest = more
        rows = [row for row in (bytes(self._line), *whole) if row and not _is_blank(row)]
        if self._is_forgotten(self._since, asked):
            withheld = len(rows)
        else:
            withheld = int(self._is_forgotten(self._line_since, asked) and not _is_blank(self._line))
        self._line[:] = rest[: ROOM + 1]
        self._line_since = self._since
        return Lines(rows, self._secrets, withheld, torn=ended)

    def _is_forgotten(self, since: int, asked: int) -> bool:
        """Whether output written after `since` questions may hold the secret of one that is not remembered."""
        return asked - len(self._secrets) > max(0, since - LATE)

    def _note_drained(self, asked: int) -> None:
        """Note that all output has been read.

        Output that had to be withheld may be the first part of a long dump, still being written.  The dump is over when
        the program has answered a question it got later, unless another such dump has begun by then.
        """
        if self._is_forgotten(self._since, asked):
            if self._dump_seen is None or self._is_forgotten(self._dump_seen, asked):
                self._dump_seen = asked
            if asked < self._dump_seen + LATE:
                return
        self._since = asked
        self._dump_seen = None


class Lines:
    """Some lines a program wrote; a line is masked only when it is shown.

    Args:
      rows: as written, none of them blank.
      secrets: what must not be shown.
      withheld: number of lines, from the first on, that must not be shown at all.
      torn: the last line has no newline.
    """

    def __init__(self, rows: list[bytes], secrets: Secrets, withheld: int, torn: bool) -> None:
        self._rows = rows
        self._secrets = secrets
        self._withheld = withheld
        self._torn = torn
        self._masks: Masks | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Line]:
        return (Line(self, number) for number in range(len(self._rows)))

    def start(self, number: int) -> bytes:
        """The beginning of a line as it was written: never to be shown, as it may hold a secret."""
        return self._rows[number][:START]

    def shown(self, number: int) -> str:
        """One line, ready for the log."""
        if number < self._withheld:
            return FORGOTTEN
        if self._masks is None:
            self._masks = Masks(self._secrets)
        line = self._rows[number]
        overlong = len(line) > ROOM
        if overlong:  # its last word may be the beginning of a secret
            line = line[:ROOM].rpartition(b" ")[0] or line[:ROOM]
        return _shown(line, self._masks, overlong, overlong or self._torn)


class Line:
    """A line that is masked only when `str` shows it."""

    __slots__ = ("_lines", "_number")

    def __init__(self, lines: Lines, number: int) -> None:
        self._lines = lines
        self._number = number

    def start(self) -> bytes:
        """Its beginning as it was written: never to be shown, as it may hold a secret."""
        return self._lines.start(self._number)

    def __str__(self) -> str:
        return self._lines.shown(self._number)


def _shown(line: bytes, masks: Masks, overlong: bool, torn: bool) -> str:
    masked = masks.apply(line, torn)
    if masked is None:
        return WITHHELD
    text = masked.rstrip().decode("utf-8", "backslashreplace")
    if text.startswith("<"):
        text = re.sub(_FORGED_PRIORITY, "", text, count=1)
    # Escaping never shortens, so one character more than fits is enough for the cut to be marked.
    shown = cut(escaped(text[: SHOWN + 1]) + ("…" if overlong else ""), SHOWN)
    if shown != line and masks.betrayed_by(shown):
        return WITHHELD
    return shown.decode()


def _is_blank(row: bytes | bytearray) -> bool:
    return row.isspace() or (row.startswith(b"<") and re.match(_NOTHING_ELSE, row) is not None)
