"""The XML of `ejabberdctl export_piefxis`: XEP-0227, with files that it includes, plain and SCRAM.

What users have written, messages to others too, is inside their elements and may look like anything here: of a user's
element only the credentials directly below it count, and nothing is included there.  A document type is refused, so no
entity can be defined; and a file may include those beside it only.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple
from xml.parsers import expat

import attrs

from bridge.programs.hashes import ALGORITHMS, Hash, Scram
from bridge.programs.importing.entry import (
    LONGEST,
    Defect,
    Found,
    Unreadable,
    base64,
    chunks,
    entry,
    number,
    opened_file,
    plain,
    scram,
)

_INCLUDE = "http://www.w3.org/2001/XInclude include"

_MOST_PENDING = 1 << 23
"""Bytes of one tag that may be kept until it ends; ejabberd's own limit for a stanza is far below."""

_DEEPEST = 4
"""Files that include each other in a row: ejabberd's main file includes one for each host."""

_AROUND_USERS = {"server-data", "host"}

_HASH_PARTS = ("iter-count", "salt", "server-key", "stored-key")


@attrs.define
class _Credentials:
    """A scram-credentials element, as far as it has been read."""

    mechanism: str
    parts: dict[str, str] = attrs.field(factory=dict[str, str], repr=False)


class _User(NamedTuple):
    where: str
    name: str
    host: str | None
    password: str
    hashes: list[_Credentials]


def read(file: BinaryIO) -> Iterator[Found]:
    """The users of all hosts in this file, and in those that it includes.

    Raises:
      Unreadable: it is not what ejabberd exports, or cannot be read to its end.
    """
    yield from _File(file, depth=1).users()


class _File:
    """One file; `found` are its users that were not handed out yet."""

    def __init__(self, file: BinaryIO, depth: int, host: str | None = None) -> None:
        self._file = file
        self._path = file.name
        self._depth = depth
        self._elements: list[str] = []  # those that are open
        self._host = host
        self._user: _User | None = None
        self._depth_of_user = 0  # how many elements are open around it
        self._found: list[Found] = []
        self._included: list[tuple[str, str | None]] = []
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._doctype

    def users(self) -> Iterator[Found]:
        fed = 0
        for data in chunks(self._file):
            fed += len(data)
            self._feed(data, last=False)
            if fed - self._parser.CurrentByteIndex > _MOST_PENDING:
                raise self._unreadable("a tag that does not end")
            yield from self._new()
        self._feed(b"", last=True)
        yield from self._new()

    def _feed(self, data: bytes, *, last: bool) -> None:
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            raise Unreadable(f"{self._path!r} line {error.lineno}: {expat.ErrorString(error.code)}") from None
        except (LookupError, ValueError):  # what its first line calls its encoding
            raise self._unreadable("an encoding that cannot be read") from None

    def _new(self) -> Iterator[Found]:
        """What was found since the last time, here and in what is included here."""
        found, self._found = self._found, []
        yield from found
        included, self._included = self._included, []
        for name, host in included:
            with opened_file(os.path.join(os.path.dirname(self._path), name)) as file:
                yield from _File(file, self._depth + 1, host).users()

    def _unreadable(self, reason: str) -> Unreadable:
        return Unreadable(f"{self._path!r} line {self._parser.CurrentLineNumber}: {reason}")

    def _doctype(self, *_: object) -> None:
        raise self._unreadable("a document type, which no export has")

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        name = element.rpartition(" ")[2]
        if not self._elements and name not in (*_AROUND_USERS, "user"):
            raise self._unreadable("not an export of ejabberd's")
        if self._user is not None:
            if name == "scram-credentials" and self._depth_in_user() == 1:
                self._user.hashes.append(_Credentials(attributes.get("mechanism", "")))
        elif _AROUND_USERS.issuperset(self._elements):
            self._start_around_users(element, name, attributes)
        self._elements.append(name)

    def _start_around_users(self, element: str, name: str, attributes: dict[str, str]) -> None:
        if element == _INCLUDE:
            self._include(attributes.get("href", ""))
        elif name == "host":
            self._host = attributes.get("jid", "")
        elif name == "user":
            where = f"{os.path.basename(self._path)} line {self._parser.CurrentLineNumber}"
            self._user = _User(where, attributes.get("name", ""), self._host, attributes.get("password", ""), [])
            self._depth_of_user = len(self._elements)

    def _depth_in_user(self) -> int:
        """How many elements are open, the user's included."""
        return len(self._elements) - self._depth_of_user

    def _include(self, name: str) -> None:
        if self._depth == _DEEPEST:
            raise self._unreadable("files that include each other")
        if not name or name in (".", "..") or any(char in "/\\\0:" for char in name):
            raise self._unreadable("it includes a file from elsewhere")
        self._included.append((name, self._host))

    def _text(self, text: str) -> None:
        if self._user is None or self._depth_in_user() != 3 or self._elements[-2] != "scram-credentials":
            return
        parts, part = self._user.hashes[-1].parts, self._elements[-1]
        if part in _HASH_PARTS:
            parts[part] = (parts.get(part, "") + text)[:LONGEST]

    def _end(self, _element: str) -> None:
        self._elements.pop()
        user = self._user
        if user is not None and self._depth_in_user() == 0:
            self._user = None
            self._found.append(entry(user.where, user.name, user.host, lambda: _secret(user)))


def _secret(user: _User) -> str | Hash:
    if user.password.startswith("scram:"):
        return _packed(user.password)
    if user.password:
        return plain(user.password)
    usable = [one for one in user.hashes if one.mechanism.removeprefix("SCRAM-") in ALGORITHMS]
    if user.hashes and not usable:
        raise Defect("an unknown algorithm or an impossible cost")
    return _hash(usable[0]) if usable else plain(None)


def _hash(found: _Credentials) -> Scram:
    iterations, salt, server, stored = (found.parts.get(part, "").strip() for part in _HASH_PARTS)
    algorithm = found.mechanism.removeprefix("SCRAM-")
    return scram(algorithm, number(iterations), *_bytes(algorithm, salt, stored, server))


def _packed(text: str) -> Scram:
    """`scram:[HASH,]STOREDKEY,SERVERKEY,SALT,ITERATIONS`, as ejabberd writes it into the password's place."""
    *hashed, stored, server, salt, iterations = ["", "", "", *text.removeprefix("scram:").split(",")][-5:]
    name = "".join(hashed).lower()
    algorithm = {"": "SHA-1", "sha": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512"}.get(name, "")
    return scram(algorithm, number(iterations), *_bytes(algorithm, salt, stored, server))


def _bytes(algorithm: str, *texts: str) -> tuple[bytes, bytes, bytes]:
    """Salt and keys; where they are in base64 twice, which ejabberd's export once did, both are undone."""
    salt, stored, server = map(base64, texts)
    if len(stored) != ALGORITHMS.get(algorithm) and len(stored) == len(server):
        salt, stored, server = (base64(data.decode("latin-1")) for data in (salt, stored, server))
    return salt, stored, server
