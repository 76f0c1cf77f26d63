"""A dump of ejabberd's SQL table `users`: of mysqldump, pg_dump or sqlite3's .dump, alone or among other tables.

Plain passwords and SCRAM hashes, with and without the column server_host.  Columns have to be named, by CREATE TABLE or
by INSERT or COPY themselves: their order is not the same everywhere.
"""

import binascii
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO

from bridge.programs.hashes import BY_SIZE, Hash
from bridge.programs.importing.entry import (
    Defect,
    Entry,
    Found,
    NotTaken,
    Unreadable,
    base64,
    entry,
    number,
    plain,
    scram,
)
from bridge.programs.importing.sqltokens import Token, Tokens

_TABLE = b"users"

_NOT_COLUMNS = {b"PRIMARY", b"UNIQUE", b"KEY", b"CONSTRAINT", b"INDEX", b"FULLTEXT", b"CHECK", b"FOREIGN", b"EXCLUDE"}
"""How what is no column begins, in CREATE TABLE."""

_ROUTINES = {b"TRIGGER", b"FUNCTION", b"PROCEDURE", b"EVENT"}
"""What may be created with statements of its own."""

_IN_BODIES = {b"ATOMIC", b"INSERT", b"REPLACE", b"UPDATE", b"DELETE", b"SELECT", b"WITH"}
"""What is behind BEGIN then: PostgreSQL's word for it, or the first statement of a trigger of SQLite's."""

_PREFIXES = {"sha256": "SHA-256", "sha512": "SHA-512"}
"""Of the stored key, where the column for it is too old for others."""

_NULL, _END = Token("word", b"NULL"), Token("", b"")

Row = dict[str, list[Token]]


def read(file: BinaryIO) -> Iterator[Found]:
    """The users in this dump.

    Raises:
      Unreadable: there is no such table in it, or it cannot be read to its end.
    """
    dump = _Dump(Tokens(file))
    yield from dump.users()


class _Dump:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._columns: list[str] = []  # as created
        self._is_there = False
        self._schema: list[bytes] = []  # or database, of names that do not say it
        self._whose: object = None  # the database and schema of the table that was found
        self._is_open = False  # a transaction, which is all of SQLite's dump
        self._seen: dict[tuple[str, str | None], set[str]] = {}  # with which types

    def users(self) -> Iterator[Found]:
        while not self._tokens.ended:
            words = self._tokens.statement()
            match next(words, _END).text.upper():
                case b"CREATE":
                    self._create(words)
                case b"INSERT" | b"REPLACE":
                    yield from self._insert(words)
                case b"COPY":
                    yield from self._copy(words)
                case b"SET":
                    self._set(words)
                case b"USE":
                    self._schema = [token.text for token in words]
                case b"BEGIN":
                    self._is_open = True
                case b"COMMIT" | b"END":
                    self._is_open = False
                case b"DELIMITER":
                    self._tokens.pass_over_delimited()
                    continue
                case _:
                    pass
            _pass_over(words)
        if self._is_open or not self._tokens.is_complete:
            raise self._tokens.unreadable("it ends too early: what completes a dump is missing")
        if not self._is_there:
            raise self._tokens.unreadable("the dump holds no table `users`")

    def _set(self, words: Iterator[Token]) -> None:
        said = [token.text.lower() for token in words]
        self._tokens.take_setting(b" ".join(said))
        if said[:1] == [b"search_path"]:
            self._schema = said[2:]
        if said == [b"standard_conforming_strings", b"=", b"off"]:
            raise self._tokens.unreadable("strings with escapes: dump with standard_conforming_strings on")

    def _create(self, words: Iterator[Token]) -> None:
        *_, what = [_END, *_up_to(words, b"TABLE", *_ROUTINES, b"AS", b"ON", b"FOR")]
        if what.text.upper() == b"TABLE":
            self._create_table(words)
        elif what.text.upper() in _ROUTINES:
            self._create_routine(words)

    def _create_routine(self, words: Iterator[Token]) -> None:
        """Pass over what it does, to the statement that is END alone: these are not statements of the dump."""
        if self._tokens.is_mysqls:
            raise self._tokens.unreadable("a routine or trigger without DELIMITER: dump the table `users` alone")
        said = [token.text.upper() if token.kind == "word" else b"" for token in words]
        begins = any(first == b"BEGIN" and second in _IN_BODIES for first, second in pairwise(said))
        if not begins or said[-2:] == [b"ATOMIC", b"END"]:
            return
        while [token.text.upper() for token in words] != [b"END"]:
            if self._tokens.ended:
                raise self._tokens.unreadable("it ends too early")
            words = self._tokens.statement()

    def _create_table(self, words: Iterator[Token]) -> None:
        is_theirs, token = self._table(words)
        if is_theirs and token.kind == "(":
            if self._columns:
                raise self._second()
            self._is_there = True
            parts = [part for part in self._list(words) if part]
            self._columns = [
                _name(part[0]) for part in parts if part[0].kind == "name" or part[0].text.upper() not in _NOT_COLUMNS
            ]

    def _insert(self, words: Iterator[Token]) -> Iterator[Found]:
        _pass_over(_up_to(words, b"INTO"))
        is_theirs, token = self._table(words)
        if not is_theirs:
            return
        columns = self._columns
        if token.kind == "(":
            columns = [_name(part[0]) for part in self._list(words) if part]
            token = next(words, token)
        if token.text.upper() != b"VALUES":
            raise self._tokens.unreadable("an INSERT that is not of values")
        self._require(columns)
        for token in words:
            where = self._tokens.where
            if token.kind == "(":
                yield from self._user(where, columns, self._list(words))
            elif token.kind != ",":
                break  # ON CONFLICT, or the like

    def _copy(self, words: Iterator[Token]) -> Iterator[Found]:
        is_theirs, token = self._table(words)
        columns, rest = self._columns, [token]
        if token.kind == "(":
            columns, rest = [_name(part[0]) for part in self._list(words) if part], []
        if [token.text.upper() for token in (*rest, *words)][:2] != [b"FROM", b"STDIN"]:
            return
        if is_theirs:
            self._require(columns)
        for values in self._tokens.copied():
            if is_theirs:
                row = [[_NULL if value is None else Token("string", value)] for value in values]
                yield from self._user(self._tokens.where, columns, row)

    def _table(self, words: Iterator[Token]) -> tuple[bool, Token]:
        """Whether a table is that of users, and the token that follows its name."""
        token = next(words, _END)
        while token.kind == "word" and token.text.upper() in (b"IF", b"NOT", b"EXISTS", b"ONLY"):
            token = next(words, _END)
        if token.kind == "string" and self._tokens.is_mysqls:  # and in latin1, as said in sqltokens
            raise self._tokens.unreadable("names in the quotes of strings: dump without --compatible")
        schema, name, token = list[bytes](), token.text, next(words, _END)
        while token.kind == ".":
            schema.append(name)
            name, token = next(words, _END).text, next(words, _END)
        if name.lower() != _TABLE:
            return False, token
        whose = self._tokens.database, schema or self._schema
        if self._whose not in (None, whose):
            raise self._second()
        self._whose = whose
        return True, token

    def _second(self) -> Unreadable:
        """It is of another program, or of another host of ejabberd's: not the same users."""
        return self._tokens.unreadable("a second table `users`: dump one database alone")

    def _list(self, words: Iterator[Token]) -> list[list[Token]]:
        """What is between parentheses, of which the first was read, separated by commas."""
        parts, depth = [list[Token]()], 1
        for token in words:
            depth += {"(": 1, ")": -1}.get(token.kind, 0)
            if depth == 0:
                return parts
            if token.kind == "," and depth == 1:
                parts.append([])
            else:
                parts[-1].append(token)
        raise self._tokens.unreadable("a parenthesis that does not end")

    def _require(self, columns: list[str]) -> None:
        self._is_there = True
        if not columns:
            raise self._tokens.unreadable("the columns of `users` are not named: dump it with CREATE TABLE")
        if not {"username", "password"} <= {*columns}:
            raise self._tokens.unreadable("its table `users` is not ejabberd's")

    def _user(self, where: str, columns: list[str], values: list[list[Token]]) -> Iterator[Found]:
        if len(columns) != len(values):
            raise self._tokens.unreadable("a row with too many or too few values")
        row = dict(zip(columns, values, strict=True))
        try:
            user, host, kind = _text(row, "username"), _text(row, "server_host") or None, _text(row, "type")
            found = entry(where, user, host, lambda: _secret(row))
        except Defect as defect:
            yield NotTaken(where, str(defect))
            return
        if self._may_be_damaged(found):
            reason = "a ? may stand for a letter that was lost: dump with --default-character-set=utf8mb4"
            yield NotTaken(where, reason, host)
        elif not isinstance(found, Entry) or not self._is_one_more(found, kind):
            yield found

    def _may_be_damaged(self, found: Found) -> bool:
        if self._tokens.is_exact or not isinstance(found, Entry):
            return False
        return "?" in found.user or (isinstance(found.secret, str) and "?" in found.secret)

    def _is_one_more(self, found: Entry, kind: str) -> bool:
        """Since 24.06 a user may have a row for each algorithm; one of them will do."""
        types = self._seen.setdefault((found.user, found.host), set())
        is_one_more = bool(types) and kind not in types
        types.add(kind)
        return is_one_more


def _secret(row: Row) -> str | Hash:
    password, server, salt, iterations = (
        _text(row, name) for name in ("password", "serverkey", "salt", "iterationcount")
    )
    if not server and not salt and iterations in ("", "0"):
        return plain(password)
    prefix, colon, key = password.rpartition(":")
    stored = base64(key)
    algorithm = _PREFIXES.get(prefix, "") if colon else BY_SIZE.get(len(stored), "")
    return scram(algorithm, number(iterations), base64(salt), stored, base64(server))


def _text(row: Row, name: str) -> str:
    """A value; the same for none at all, NULL, and an empty one.

    Raises:
      Defect: it is not text, or calculated.
    """
    value = row.get(name, [])
    if [token.kind for token in value] == ["unclear"]:
        raise Defect(f"its {name} holds a backslash, and it is not known whether that escapes")
    try:
        return _bytes(value).decode()
    except ValueError:
        raise Defect(f"its {name} is no text in UTF-8") from None


def _bytes(value: list[Token]) -> bytes:
    match value:
        case []:
            return b""
        case [Token("word", word)] if word.upper() == b"NULL":
            return b""
        case [Token("number", text)] if text[:2] in (b"0x", b"0X"):
            return binascii.unhexlify(text[2:])
        case [Token("string" | "number", text)]:
            return text
        case [Token("word", b"X" | b"x"), Token("string", text)]:
            return binascii.unhexlify(text)
        case [Token("word", word), Token("string", text)] if word.startswith(b"_"):  # the character set: _binary
            return text
        case _:
            raise ValueError("calculated")


def _name(token: Token) -> str:
    return token.text.decode("latin-1").lower()


def _up_to(words: Iterator[Token], *ends: bytes) -> Iterator[Token]:
    """The tokens up to one of these words, which is the last of them."""
    for token in words:
        yield token
        if token.kind == "word" and token.text.upper() in ends:
            return


def _pass_over(words: Iterator[Token]) -> None:
    for _ in words:
        pass
