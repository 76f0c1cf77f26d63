"""Tables as Prosody stores them: `return { ["name"] = value; }`, read without running anything.

Of Lua there are strings in quotes, numbers, true, false, nil, tables of these, and comments to the end of a line;
whatever else a file holds, it is refused as a whole.
"""

import re

from bridge.programs.importing.entry import Defect

Value = bytes | float | bool | None | dict[object, "Value"]

_TOKEN = re.compile(
    rb"""(?:[ \t\r\n\f\v]|--(?!\[=*\[)[^\n]*+)*+   # what is between tokens
    (?: "(?P<double>(?:[^"\\\n\r]|\\z\s*|\\.)*+)" | '(?P<single>(?:[^'\\\n\r]|\\z\s*|\\.)*+)'
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*) | (?P<number>-?[0-9](?:[0-9A-Za-z.]|(?<=[eEpP])[+-])*)
      | (?P<mark>[][{}=;,]) | (?P<end>\Z) )""",
    re.VERBOSE | re.DOTALL,
)

_ESCAPE = re.compile(
    rb"\\(?:(?P<letter>[abfnrtv\\\"'\n])|(?P<decimal>[0-9]{1,3})|x(?P<hex>[0-9a-fA-F]{2})|z(?P<space>\s*)"
    rb"|u\{(?P<code>[0-9a-fA-F]{1,6})\}|(?P<unknown>.?))",
    re.DOTALL,
)

_LETTERS = dict(zip(b"abfnrtv\\\"'\n", b"\a\b\f\n\r\t\v\\\"'\n", strict=True))

_DEEPEST = 16
"""Tables within tables; an account has none."""

_WORDS = {b"true": True, b"false": False, b"nil": None}


def table(data: bytes) -> dict[object, Value]:
    """The table that a file returns.

    Raises:
      Defect: it is not one, or cannot be read without running it.
    """
    reader = _Reader(data)
    if reader.next() != ("word", b"return") or reader.next() != ("mark", b"{"):
        raise Defect("not a file of Prosody's")
    found = reader.rest_of_table(1)
    if reader.peeked("mark", b";"):
        reader.next()
    if reader.next()[0] != "end":
        raise Defect("not a file of Prosody's: there is more behind its table")
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._token = self._read()

    def next(self) -> tuple[str, bytes]:
        """The next token and its kind."""
        token = self._token
        if token[0] != "end":
            self._token = self._read()
        return token

    def peeked(self, *token: str | bytes) -> bool:
        return self._token == token

    def _read(self) -> tuple[str, bytes]:
        match = _TOKEN.match(self._data, self._at)
        if match is None or match.lastgroup is None:
            raise Defect("not a file of Prosody's: it holds more than a table")
        self._at = match.end()
        return match.lastgroup, match[match.lastgroup]

    def rest_of_table(self, depth: int) -> dict[object, Value]:
        if depth > _DEEPEST:
            raise Defect("not a file of Prosody's: tables within tables")
        found: dict[object, Value] = {}
        position = 1
        while not self.peeked("mark", b"}"):
            key, value = self._field(position, depth)
            found[key] = value
            position += key == position
            if not self.peeked("mark", b"}") and self.next() not in (("mark", b";"), ("mark", b",")):
                raise Defect("not a file of Prosody's: damaged")
        self.next()
        return found

    def _field(self, position: int, depth: int) -> tuple[object, Value]:
        """`[key] = value`, `key = value`, or a value alone."""
        if self.peeked("mark", b"["):
            self.next()
            key = self._value(depth)
            if isinstance(key, dict) or self.next() != ("mark", b"]") or self.next() != ("mark", b"="):
                raise Defect("not a file of Prosody's: damaged")
            return key, self._value(depth)
        kind, token = self._token
        if kind != "word" or token in _WORDS:
            return position, self._value(depth)
        self.next()
        if self.next() != ("mark", b"="):
            raise Defect("not a file of Prosody's: it holds more than a table")
        return token, self._value(depth)

    def _value(self, depth: int) -> Value:
        match self.next():
            case ("double" | "single", text):
                return unescaped(text)
            case ("number", text):
                return _number(text)
            case ("word", word) if word in _WORDS:
                return _WORDS[word]
            case ("mark", b"{"):
                return self.rest_of_table(depth + 1)
            case _:
                raise Defect("not a file of Prosody's: it holds more than a table")


def unescaped(text: bytes) -> bytes:
    """What a string in quotes stands for."""
    return _ESCAPE.sub(_meaning, text) if b"\\" in text else text


def _meaning(match: re.Match[bytes]) -> bytes:
    if match["letter"] is not None:
        return bytes([_LETTERS[match["letter"][0]]])
    if match["space"] is not None:
        return b""
    try:
        if match["code"] is not None:
            return chr(int(match["code"], 16)).encode()
        return bytes([int(match["decimal"]) if match["decimal"] is not None else int(match["hex"], 16)])
    except (TypeError, ValueError):  # an unknown escape, \256, or half of a surrogate pair
        raise Defect("not a file of Prosody's: a string that is none") from None


def _number(text: bytes) -> float:
    try:
        return int(text, 0) if b"x" in text.lower() else float(text)
    except ValueError:
        raise Defect("not a file of Prosody's: a number that is none") from None
