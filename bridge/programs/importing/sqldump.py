"""A dump of ejabberd's SQL table `users`: of mysqldump, pg_dump or sqlite3's .dump, alone or among other tables.

Plain passwords and SCRAM hashes, with and without the column server_host.  Columns have to be named, by CREATE TABLE or
by INSERT or COPY themselves: their order is not the same everywhere.
"""

import binascii
from collections.abc import Iterator
from typing import BinaryIO

from bridge.programs.hashes import BY_SIZE, Hash
from bridge.programs.importing.entry import Defect, Entry, Found, NotTaken, base64, entry, number, plain, scram
from bridge.programs.importing.sqltokens import Token, Tokens

_TABLE = b"users"

_NOT_COLUMNS = {b"PRIMARY", b"UNIQUE", b"KEY", b"CONSTRAINT", b"INDEX", b"FULLTEXT", b"CHECK", b"FOREIGN", b"EXCLUDE"}
"""How what is no column begins, in CREATE TABLE."""

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
        self._seen: set[tuple[str, str | None]] = set()

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
                case _:
                    pass
            _pass_over(words)
        if not self._is_there:
            raise self._tokens.unreadable("the dump holds no table `users`")

    def _set(self, words: Iterator[Token]) -> None:
        said = [token.text.lower() for token in words]
        if said[:1] == [b"names"]:
            self._tokens.require_ascii(b" ".join(said))
        if said == [b"standard_conforming_strings", b"=", b"off"]:
            raise self._tokens.unreadable("strings with escapes: dump with standard_conforming_strings on")

    def _create(self, words: Iterator[Token]) -> None:
        if not any(token.text.upper() == b"TABLE" for token in _up_to(words, b"TABLE", b"AS", b"ON")):
            return
        table, token = self._table(words)
        if table == _TABLE and token.kind == "(":
            if self._columns:  # of another program, or of another host of ejabberd's: not the same users
                raise self._tokens.unreadable("a second table `users`: dump one database alone")
            self._is_there = True
            parts = [part for part in self._list(words) if part]
            self._columns = [
                _name(part[0]) for part in parts if part[0].kind == "name" or part[0].text.upper() not in _NOT_COLUMNS
            ]

    def _insert(self, words: Iterator[Token]) -> Iterator[Found]:
        _pass_over(_up_to(words, b"INTO"))
        table, token = self._table(words)
        if table != _TABLE:
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
        table, token = self._table(words)
        columns, rest = self._columns, [token]
        if token.kind == "(":
            columns, rest = [_name(part[0]) for part in self._list(words) if part], []
        if [token.text.upper() for token in (*rest, *words)][:2] != [b"FROM", b"STDIN"]:
            return
        if table == _TABLE:
            self._require(columns)
        for values in self._tokens.copied():
            if table == _TABLE:
                row = [[_NULL if value is None else Token("string", value)] for value in values]
                yield from self._user(self._tokens.where, columns, row)

    def _table(self, words: Iterator[Token]) -> tuple[bytes, Token]:
        """A table's name, without its schema, and the token that follows."""
        token = next(words, _END)
        while token.kind == "word" and token.text.upper() in (b"IF", b"NOT", b"EXISTS", b"ONLY"):
            token = next(words, _END)
        name, token = token.text.lower(), next(words, _END)
        while token.kind == ".":
            name, token = next(words, _END).text.lower(), next(words, _END)
        return name, token

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
            user, host = _text(row, "username"), _text(row, "server_host") or None
            found = entry(where, user, host, lambda: _secret(row))
        except Defect as defect:
            yield NotTaken(where, str(defect))
            return
        # Since 24.06 a user may have a row for each algorithm; one of them will do.
        if "type" in row and isinstance(found, Entry):
            if (user, host) in self._seen:
                return
            self._seen.add((user, host))
        yield found


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
        if token.text.upper() in ends:
            return


def _pass_over(words: Iterator[Token]) -> None:
    for _ in words:
        pass
