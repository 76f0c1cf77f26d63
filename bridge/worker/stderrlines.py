"""What a program writes on its stderr, in whatever pieces it comes, becomes lines that are safe to log.

  - A line ends in a newline.  Of a longer one the first 2 KiB are looked at, and the rest is skipped.
  - Secrets are masked before anything is cut, so neither the end of a piece nor the cut shows half of one.
  - A program may print late: what it writes is masked with the secrets of all its questions that are remembered.  If
    any is forgotten that it may have printed since it last wrote, its lines are withheld, and say why.
  - What leaves is one printable line of at most 512 bytes: a program cannot forge a second line, a terminal's
    escape sequence or a syslog priority.
  - A line that cannot be masked safely is withheld whole: better to lose a line of diagnosis than a password.

No I/O.  The time is linear in what the program writes, and secrets are only looked for in lines that are to be shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from bridge.log.text import cut, escaped
from bridge.worker.masks import Masks

SHOWN = 512
"""Bytes of one line in the log; what is longer is a dump, and its first part says of what."""

ROOM = 2048
"""Bytes of a line that are looked at: more than are shown, as masks are short, and masked in two milliseconds whatever
they are."""

WITHHELD = "(line withheld: it may hold a secret)"
FORGOTTEN = "(line withheld: too many questions since what was written before, it may hold the secret of any)"

LATE = 2
"""Questions whose secrets may still come when all that was written has been read: the program's and the one before."""

# Compiled when they are first needed, not at start-up.
_FORGED_PRIORITY = r"(?:<\d+>)+"
_NOTHING_ELSE = rb"(?:<\d+>)+\s*\Z"


class Secrets(Protocol):
    """Of the questions that are remembered, one for each, empty if it has none."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __len__(self) -> int: ...


class StderrLines:
    """One program's stderr.

    Args:
      secrets: what the program may be printing; looked at again whenever it has written.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._line = bytearray()  # up to one byte more than is looked at, which tells that it is longer
        self._since = 0  # questions asked when last all that it had written was read
        self._line_since = 0  # the same when its unfinished line began
        self._dump_seen: int | None = None  # questions asked when what is being withheld had been read

    def feed(self, data: bytes, asked: int, drained: bool = True) -> Lines:
        """The lines that `data` completes.

        Args:
          data: what was read, any piece of the stream.
          asked: questions so far, the program's own included.
          drained: there was no more to read.
        """
        lines = self._complete(data, asked, ended=False)
        if drained:
            self._note_drained(asked)
        return lines

    def finish(self, asked: int) -> Lines:
        """The last line, where the program ended without a newline.  What comes then is a new stream."""
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
        """Whether what was written after so many questions may hold the secret of one that is not remembered."""
        return asked - len(self._secrets) > max(0, since - LATE)

    def _note_drained(self, asked: int) -> None:
        """All it has written is read.

        What had to be withheld may be the first part of a long dump that it is still busy with.  That is over when it
        has answered a question which it got later, unless another such dump has begun by then.
        """
        if self._is_forgotten(self._since, asked):
            if self._dump_seen is None or self._is_forgotten(self._dump_seen, asked):
                self._dump_seen = asked
            if asked < self._dump_seen + LATE:
                return
        self._since = asked
        self._dump_seen = None


class Lines:
    """What a program wrote: a number of lines, of which only those are masked that are shown.

    Args:
      rows: as they were written, none of them blank.
      secrets: what must not be shown.
      withheld: of how many of them, from the first on, nothing may be shown.
      torn: the last one has no end.
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

    def shown(self, number: int) -> str:
        """One of them, ready for the log."""
        if number < self._withheld:
            return FORGOTTEN
        if self._masks is None:
            self._masks = Masks(self._secrets)
        line = self._rows[number]
        overlong = len(line) > ROOM
        return _shown(line[:ROOM], self._masks, overlong, overlong or self._torn)


class Line:
    """One of some lines, masked when it is shown: by `str`."""

    __slots__ = ("_lines", "_number")

    def __init__(self, lines: Lines, number: int) -> None:
        self._lines = lines
        self._number = number

    def __str__(self) -> str:
        return self._lines.shown(self._number)


def _shown(line: bytes, masks: Masks, overlong: bool, torn: bool) -> str:
    masked = masks.apply(line, torn)
    if masked is None:
        return WITHHELD
    text = masked.rstrip().decode("utf-8", "backslashreplace")
    if text.startswith("<"):
        text = re.sub(_FORGED_PRIORITY, "", text, count=1)
    # Escaping shortens nothing, so one character more than fits is enough to have it cut, and marked.
    shown = cut(escaped(text[: SHOWN + 1]) + ("…" if overlong else ""), SHOWN)
    if shown != line and masks.betrayed_by(shown):
        return WITHHELD
    return shown.decode()


def _is_blank(row: bytes | bytearray) -> bool:
    return row.isspace() or (row.startswith(b"<") and re.match(_NOTHING_ELSE, row) is not None)
