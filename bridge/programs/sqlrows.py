"""What the rows of users hold, whichever table it is.

The rules:

- Names are compared here, character by character: a database's collation may take two for one (MariaDB's ignores
  case, accents and spaces at the end).  Nothing is changed where it does so.
- What cannot be read as a credential is left out, and the account is marked as broken.
"""

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from bridge.programs.hashes import Hash, Kind, Scheme, Scram, Scrypt
from bridge.programs.users import BrokenUser


class Clear(NamedTuple):
    """The kind of a password that is stored as it is.  Digests are compared: their length tells nothing."""

    work: int = 0

    def digest(self, secret: str, salt: bytes) -> bytes:
        del salt
        return hashlib.sha256(secret.encode()).digest()


class Plain(NamedTuple):
    """A password that is stored as it is."""

    password: str

    @property
    def kind(self) -> Clear:
        return Clear()

    @property
    def salt(self) -> bytes:
        return b""

    @property
    def digest(self) -> bytes:
        return self.kind.digest(self.password, b"")

    def __repr__(self) -> str:
        return "Plain()"


Credential: TypeAlias = Hash | Plain
AnyKind: TypeAlias = Kind | Clear


class Account(NamedTuple):
    """What is stored for one user.

    Attributes:
      credentials: the password in one form or, in newer tables of ejabberd, in several.
      broken: something stored cannot be read.
      disabled: there is an account, but nobody may log in to it.
    """

    credentials: tuple[Credential, ...]
    broken: bool = False
    disabled: bool = False
    rows: int = 1


class Example(NamedTuple):
    """One of the credentials of one kind, of one host where that matters, and how many there are."""

    host: str
    credential: Credential
    number: int


def make(kind: AnyKind, secret: str) -> Credential:
    """A new credential for `secret`."""
    if isinstance(kind, Clear):
        return Plain(secret)
    if isinstance(kind, Scheme):
        return Scram.of(secret, kind, str(uuid.uuid4()).encode())  # Prosody's salts are text
    return Scrypt.of(secret, kind)


def exact_rows(rows: Iterable[Sequence[Any]], names: tuple[str, str], lock: bool) -> list[Sequence[Any]]:
    """Those whose first two columns are these names.

    Args:
      lock: they are to be changed.

    Raises:
      BrokenUser: a change would reach other rows, too.
    """
    found = [*rows]
    same = [row for row in found if (as_text(row[0]), as_text(row[1])) == names]
    if lock and len(same) < len(found):
        raise BrokenUser("cannot change a user: the database takes another name for the same")
    return same


def credentials_of(read: Any, rows: Iterable[Sequence[Any]]) -> list[Credential | None]:
    """What `read` makes of each row; None for what it cannot."""
    found: list[Credential | None] = []
    for row in rows:
        try:
            found.append(read(*row))
        except (ValueError, TypeError, OverflowError):
            found.append(None)
    return found


def account_of(found: list[Credential | None], rows: int) -> Account:
    return Account(tuple(one for one in found if one is not None), broken=None in found, rows=rows)


def examples_of(read: Any, rows: Sequence[tuple[Any, int, Sequence[Any]]]) -> list[Example]:
    """What `read` makes of each row's values, which follow the host and how many there are."""
    found = zip(credentials_of(read, [values for _, _, values in rows]), rows, strict=True)
    return [Example(as_text(host), one, count) for one, (host, count, _) in found if one is not None]


def as_text(value: object) -> str:
    """A column's value.  Binary ones hold UTF-8; what does not becomes nothing that a name could be."""
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else "" if value is None else str(value)
