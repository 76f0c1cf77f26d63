r"""The words of an SQL dump, and the rows of PostgreSQL's COPY, read piece by piece.

A dump of a whole database holds what its users have written, messages too, so every string in it has to be read to its
very end, or its text would be taken for statements.  Whether a backslash escapes is up to the database: in MariaDB's
and MySQL's dumps it does, in others only in E'...'.  A dump that does not show whose it is, but holds \', is refused,
and so is one in a character set where the last byte of a letter may look like a backslash.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

import attrs

from bridge.programs.importing.entry import Unreadable, chunks

MOST_PENDING = 1 << 26
"""Bytes of one string or line: the largest packet of a MySQL server by default."""

_SPACE = rb"[ \t\r\n\f\v]"
_NAME = rb"[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*"

_COMMON = rb"""
    (?P<skip>%(space)s++ | --[^\n]*+(?:\n|\Z) | /\*.*?\*/ | ^\\[^\n]*+(?:\n|\Z))
  | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*+'(?!'))
  | %(string)s
  | (?P<quoted>"(?:[^"]|"")*+"(?!") | `(?:[^`]|``)*+`(?!`) | \[[A-Za-z0-9_]++\])
  | (?P<dollar>\$(?P<tag>(?:%(name)s)?)\$.*?\$(?P=tag)\$)
  | (?P<open>[eE]' | /\* | \$(?:%(name)s)?\$)   # no end of it was found
  | (?P<number>-?(?:0x[0-9A-Fa-f]++|[0-9]++(?:\.[0-9]*+)?(?:[eE][+-]?[0-9]++)?))
  | (?P<word>%(name)s)
  | (?P<mark>[^'"`])
"""

_STANDARD = rb"(?P<string>'(?:[^']|'')*+'(?!'))"
_BACKSLASHES = rb"(?P<string>'(?:[^'\\]|\\.|'')*+'(?!'))"

_HEADERS = {
    "backslashes": re.compile(
        rb"(?i)-- (?:My|Maria)SQL dump|-- MariaDB dump|/\*M?!|-- phpMyAdmin|-- MySQL|--\s+-- Mnesia table"
    ),
    "standard": re.compile(rb"--\s+-- PostgreSQL database dump|PRAGMA foreign_keys|BEGIN TRANSACTION"),
}
"""How dumps begin; what ejabberd's own export2sql writes is for MySQL."""

_DECEPTIVE = re.compile(rb"(?i)NAMES\s+'?(?:big5|cp932|gb18030|gbk|sjis)\b")
"""What says that a dump is in such a character set, of MySQL's."""

_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"0": b"\0", b"Z": b"\x1a"}
_COPY_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


@attrs.define
class Token:
    """A word, quoted name, string, number or mark; `text` is what it stands for."""

    kind: str
    text: bytes = attrs.field(repr=False)


class Tokens:
    """Reads tokens and COPY's rows from one file.

    Raises:
      Unreadable: by each method, where the file cannot be read on.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._name = file.name
        self._chunks = chunks(file)
        self._data = b""
        self._at = 0
        self._ended = False
        self._line = 1
        while len(self._data) < 512 and self._more():
            pass
        head = self._data[:512]
        self._known = next((known for known, header in _HEADERS.items() if header.match(head.lstrip())), "")
        self._pattern = _compiled(_BACKSLASHES if self._known == "backslashes" else _STANDARD)

    @property
    def where(self) -> str:
        return f"line {self._line}"

    def unreadable(self, reason: str) -> Unreadable:
        return Unreadable(f"{self._name!r} {self.where}: {reason}")

    def require_ascii(self, setting: bytes) -> None:
        """Refuse a character set in which an ASCII character may be a part of another."""
        if _DECEPTIVE.search(setting):
            raise self.unreadable("its character set: dump with --default-character-set=utf8mb4")

    def statement(self) -> Iterator[Token]:
        """The tokens up to the next semicolon, or to the end."""
        while (token := self._next()) is not None and token.kind != ";":
            yield token

    @property
    def ended(self) -> bool:
        """Whether there is nothing more."""
        return self._ended and self._at == len(self._data)

    def copied(self) -> Iterator[list[bytes | None]]:
        """The rows behind a COPY statement, to their end."""
        self._take_line()
        while (line := self._take_line()) != b"\\.":
            yield [None if value == b"\\N" else _copied(value) for value in line.split(b"\t")]

    def _take_line(self) -> bytes:
        while (end := self._data.find(b"\n", self._at)) < 0:
            if not self._more():
                raise self.unreadable("it ends too early")
        line = self._data[self._at : end]
        self._at = end + 1
        self._line += 1
        return line.removesuffix(b"\r")

    def _next(self) -> Token | None:
        while True:
            match = self._pattern.match(self._data, self._at)
            # What reaches the end of the data may go on behind it.
            while (match is None or match["open"] or match.end() >= len(self._data) - 1) and self._more():
                match = self._pattern.match(self._data, self._at)
            if match is None or match["open"]:
                if self._at == len(self._data):
                    return None
                raise self.unreadable("a string that does not end")
            self._at = match.end()
            found = match[0]
            self._line += found.count(b"\n")
            if match["skip"] is None:
                return self._token(match, found)
            if found[:2] == b"/*":  # which MySQL executes: /*!40101 SET NAMES gbk */
                self.require_ascii(found)

    def _token(self, match: re.Match[bytes], found: bytes) -> Token:
        if match["mark"]:
            return Token(found.decode("latin-1"), found)
        if match["quoted"]:
            if found[:1] == b"`" and not self._known:
                self._known, self._pattern = "backslashes", _compiled(_BACKSLASHES)
            return Token("name", found[1:-1].replace(found[-1:] * 2, found[-1:]))
        if match["escaped"]:
            return Token("string", _unescaped(found[2:-1]))
        if match["string"]:
            return self._string(found[1:-1])
        return Token("word" if match["word"] else "number" if match["number"] else "dollar", found)

    def _string(self, inner: bytes) -> Token:
        if self._known == "backslashes":
            return Token("string", _unescaped(inner))
        if not self._known and (inner.endswith(b"\\") or b"\\'" in inner):
            raise self.unreadable("it is not known whether \\ escapes: it does not begin with whose dump it is")
        is_clear = self._known or b"\\" not in inner
        return Token("string" if is_clear else "unclear", inner.replace(b"''", b"'"))

    def _more(self) -> bool:
        """Read on.  False at the end."""
        if len(self._data) - self._at > MOST_PENDING:
            raise self.unreadable("a string or line that does not end")
        more = next(self._chunks, b"")
        # As much again as is waiting: a long string is looked at a few times only.
        while more and len(more) < len(self._data) - self._at and (further := next(self._chunks, b"")):
            more += further
        self._data = self._data[self._at :] + more
        self._at = 0
        self._ended = not more
        return bool(more)


def _compiled(string: bytes) -> re.Pattern[bytes]:
    pattern = _COMMON % {b"space": _SPACE, b"string": string, b"name": _NAME}
    return re.compile(pattern, re.VERBOSE | re.DOTALL | re.MULTILINE)


def _unescaped(text: bytes) -> bytes:
    """A string in which backslashes escape, and two quotes are one."""
    if b"\\" not in text and b"''" not in text:
        return text
    return re.sub(rb"\\(.)|''", lambda match: _ESCAPES.get(match[1], match[1]) if match[1] else b"'", text, flags=re.S)


def _copied(text: bytes) -> bytes:
    """A value of COPY's: there, quotes are like any other character."""
    if b"\\" not in text:
        return text
    return re.sub(rb"\\(.)", lambda match: _COPY_ESCAPES.get(match[1], match[1]), text, flags=re.S)
