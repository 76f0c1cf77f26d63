r"""The words of an SQL dump, and the rows of PostgreSQL's COPY, read piece by piece.

A dump of a whole database holds what its users have written, messages too, so every string in it has to be read to its
very end, or its text would be taken for statements.  Whether a backslash escapes is up to the database: in MariaDB's
and MySQL's dumps it does, in others only in E'...'.  A dump that does not show whose it is, but holds \', is refused.

So is one that says it is not in UTF-8: mysqldump has written a ? for each letter that its character set lacks, and in
some sets the last byte of a letter may look like a backslash.
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
_TAG = rb"[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*+"

_COMMON = rb"""
    (?P<skip>%(space)s++ | %(comment)s[^\n]*+(?:\n|\Z) | /\*.*?\*/ | ^\\[^\n]*+(?:\n|\Z))
  | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*+'(?!'))
  | %(string)s
  | (?P<quoted>%(names)s `(?:[^`]|``)*+`(?!`) | \[[A-Za-z0-9_]++\])
  | (?P<dollar>\$(?P<tag>(?:%(tag)s)?)\$.*?\$(?P=tag)\$)
  | (?P<open>[eE]' | /\* | \$(?:%(tag)s)?\$)   # no end of it was found
  | (?P<number>-?(?:0x[0-9A-Fa-f]++|[0-9]++(?:\.[0-9]*+)?(?:[eE][+-]?[0-9]++)?))
  | (?P<word>%(name)s)
  | (?P<mark>[^'"`])
"""

_STANDARD = {
    b"comment": rb"--",
    b"string": rb"(?P<string>'(?:[^']|'')*+'(?!'))",
    b"names": rb'"(?:[^"]|"")*+"(?!") |',
}
_BACKSLASHES = {
    b"comment": rb"(?:--|\#)",
    b"string": rb"""(?P<string>'(?:[^'\\]|\\.|'')*+'(?!') | "(?:[^"\\]|\\.|"")*+"(?!"))""",
    b"names": b"",
}

_HEADERS = {
    "backslashes": re.compile(
        rb"(?i)-- (?:My|Maria)SQL dump|-- MariaDB dump|/\*M?!|-- phpMyAdmin|-- MySQL|--\s+-- Mnesia table|\#"
    ),
    "standard": re.compile(rb"--\s+-- PostgreSQL database (?:cluster )?dump|PRAGMA foreign_keys|BEGIN TRANSACTION"),
}
"""How dumps begin; what ejabberd's own export2sql writes is for MySQL."""

_EJABBERDS = re.compile(rb"--\s+-- Mnesia table")

_BEGUN = re.compile(rb"-- (?:(?:MySQL|MariaDB) dump [0-9]|PostgreSQL database (?:cluster )?dump\s*\Z)")
_COMPLETE = re.compile(rb"-- (?:Dump completed|PostgreSQL database (?:cluster )?dump complete)")
"""What a dump that has comments begins and ends with."""

_EXECUTED = re.compile(rb"(?is)/\*M?![0-9]*\s*SET\s+(.*)\*/")
"""A comment that MySQL executes: /*!40101 SET NAMES latin1 */"""

_CHARSET = re.compile(
    rb"""(?i)(?:.*,)?\s*(?:NAMES|CHARACTER\s+SET|CHARSET|client_encoding\s*(?:=|TO))\s*['"`]?([\w-]+)"""
)
_UNICODE = {b"utf8", b"utf-8", b"utf8mb3", b"utf8mb4", b"binary"}

_COMPATIBLE = re.compile(
    rb"(?i)@OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='[^']*\b"
    rb"(?:ANSI|MYSQL323|MYSQL40|POSTGRESQL|ORACLE|MSSQL|DB2|MAXDB|NO_(?:KEY|TABLE|FIELD)_OPTIONS)\b"
)
"""What a dump says that was made with --compatible: MariaDB's is in latin1 then, and does not say that."""

_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"0": b"\0", b"Z": b"\x1a"}
_COPY_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


@attrs.define
class Token:
    """A word, quoted name, string, number or mark; `text` is what it stands for."""

    kind: str
    text: bytes = attrs.field(repr=False)


class Tokens:
    """Reads tokens and COPY's rows from one file.

    Attributes:
      database: what psql was told to connect to, before what was read last.

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
        self._begun = 0  # dumps that are not complete
        self._charset = b""
        self.database: list[bytes] = []
        while len(self._data) < 512 and self._more():
            pass
        if self._data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise self.unreadable("in UTF-16: dump with --result-file or --file, not with >")
        self._data = self._data.removeprefix(b"\xef\xbb\xbf")
        head = self._data[:512].lstrip()
        self._known = next((known for known, header in _HEADERS.items() if header.match(head)), "")
        self._is_ejabberds = _EJABBERDS.match(head) is not None
        self._pattern = _compiled(_BACKSLASHES if self._known == "backslashes" else _STANDARD)

    @property
    def where(self) -> str:
        return f"line {self._line}"

    def unreadable(self, reason: str) -> Unreadable:
        return Unreadable(f"{self._name!r} {self.where}: {reason}")

    def take_setting(self, setting: bytes) -> None:
        """Learn what the dump is written in, from what follows a SET."""
        if _COMPATIBLE.match(setting):
            raise self.unreadable("made for another database: dump without --compatible")
        if said := _CHARSET.match(setting):
            self._charset = said[1].lower()
            if self._charset not in _UNICODE:
                raise self.unreadable(
                    "its character set is not UTF-8: dump with --default-character-set=utf8mb4, or --encoding=UTF8"
                )

    @property
    def is_mysqls(self) -> bool:
        return self._known == "backslashes"

    @property
    def is_exact(self) -> bool:
        """Whether each ? is one: mysqldump writes it for a letter, too, unless it writes in utf8mb4."""
        return not self.is_mysqls or self._is_ejabberds or self._charset in (b"utf8mb4", b"binary")

    @property
    def is_complete(self) -> bool:
        return self._begun <= 0

    def statement(self) -> Iterator[Token]:
        """The tokens up to the next semicolon that is not within parentheses."""
        token, depth = None, 0
        while (following := self._next()) is not None:
            token = following
            if token.kind == ";" and depth <= 0:
                return
            depth += {"(": 1, ")": -1}.get(token.kind, 0)
            yield token
        if token is not None:
            raise self.unreadable("it ends too early")

    def pass_over_delimited(self) -> None:
        """Pass over routines and triggers, behind the word DELIMITER, to the line that says it is a semicolon again."""
        line = b"DELIMITER" + self._take_line()
        while line.upper().split() != [b"DELIMITER", b";"]:
            line = self._take_line()

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
            if found[:1] in b"-/\\":
                self._take_remark(found)

    def _take_remark(self, found: bytes) -> None:
        """A comment, or what psql is told."""
        if setting := _EXECUTED.match(found):
            self.take_setting(setting[1])
        elif found.startswith((b"\\connect ", b"\\c ")):
            self.database = found.split()[1:]
        self._begun += (_BEGUN.match(found) is not None) - (_COMPLETE.match(found) is not None)

    def _token(self, match: re.Match[bytes], found: bytes) -> Token:
        if match["mark"]:
            return Token(found.decode("latin-1"), found)
        if match["quoted"]:
            if found[:1] == b"`" and not self._known:
                self._known, self._pattern = "backslashes", _compiled(_BACKSLASHES)
            return Token("name", found[1:-1].replace(found[-1:] * 2, found[-1:]))
        if match["escaped"]:
            return Token("string", _unescaped(found[1:]))
        if match["string"]:
            return self._string(found)
        return Token("word" if match["word"] else "number" if match["number"] else "dollar", found)

    def _string(self, found: bytes) -> Token:
        if self.is_mysqls:
            return Token("string", _unescaped(found))
        inner = found[1:-1]
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
        if more:
            self._data = self._data[self._at :] + more
            self._at = 0
        self._ended = not more
        return bool(more)


def _compiled(dialect: dict[bytes, bytes]) -> re.Pattern[bytes]:
    pattern = _COMMON % {b"space": _SPACE, b"name": _NAME, b"tag": _TAG, **dialect}
    return re.compile(pattern, re.VERBOSE | re.DOTALL | re.MULTILINE)


def _unescaped(string: bytes) -> bytes:
    """What a string stands for in which backslashes escape, and two of its quotes are one."""
    quote, text = string[:1], string[1:-1]
    if b"\\" not in text and quote * 2 not in text:
        return text
    return re.sub(
        rb"\\(.)|" + quote * 2,
        lambda match: _ESCAPES.get(match[1], match[1]) if match[1] else quote,
        text,
        flags=re.S,
    )


def _copied(text: bytes) -> bytes:
    """A value of COPY's: there, quotes are like any other character."""
    if b"\\" not in text:
        return text
    return re.sub(rb"\\(.)", lambda match: _COPY_ESCAPES.get(match[1], match[1]), text, flags=re.S)
