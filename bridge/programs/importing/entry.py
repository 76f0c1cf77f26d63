"""What readers find: users with a password or a hash of it, and what can be neither.

Whatever is read may have been written by anybody, in any mistaken order: a message never holds what was read, as that
could be a password; it says where.
"""

import binascii
import os
import re
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import BinaryIO

import attrs

from bridge.programs.hashes import Hash, Scram, from_base64, sound

LONGEST = 1 << 16
"""Bytes of a user's file, or characters of one value: ejabberd's protocol cannot carry a longer password."""


_HASHED = re.compile(
    r"""\$[\w.,=-]+\$\S{16,}  # crypt(3), passlib
    | \{[\w.-]+\}\S{13,} | \{(?:plain|clear|cleartext)\}.*  # LDAP, Dovecot
    | (?:(?:pbkdf2|bcrypt|argon2|scrypt|scram)[\w-]*  # Django, Werkzeug, PostgreSQL, ejabberd
        | [a-z]*[_-]?s?(?:sha[_-]?[0-9]*|md[245]))[$:]\S{16,}
    | [a-z0-9+/]{27}= | [a-z0-9+/]{43}= | [a-z0-9+/]{86}==  # base64 of SHA-1, SHA-256, SHA-512
    | (?:.*[^a-z0-9])?(?:0x|\\x|md5)?[0-9a-f]{32,}(?:[^a-z0-9].*)?  # hexadecimal, alone or with a salt""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
"""What is no password but a hash of one.  Taken for a password it would lock its user out, and let in whoever has seen
it; a password that looks the same is the lesser loss."""


class Unreadable(Exception):
    """The source cannot be read, or not to its end. str() is one line, safe to show."""


class Defect(Exception):
    """What is stored for one user cannot be used. str() is a few words, safe to show."""


@attrs.frozen
class Entry:
    """A user as found.

    Attributes:
      where: the place, to be named in messages: a line's number, or a file.
      host: None if the source does not say.
      secret: the password itself, or its hash.
    """

    where: str
    user: str
    host: str | None
    secret: str | Hash = attrs.field(repr=False)


@attrs.frozen
class NotTaken:
    """A user who cannot be taken, or what looks like one; of this host, if the source says so."""

    where: str
    reason: str
    host: str | None = attrs.field(default=None, eq=False)


Found = Entry | NotTaken


def entry(where: str, user: str, host: str | None, secret: Callable[[], str | Hash]) -> Found:
    """A user, or why its secret cannot be used."""
    try:
        return Entry(where, user, host, secret())
    except Defect as defect:
        return NotTaken(where, str(defect), host)


def plain(password: str | None) -> str:
    """A password.

    Raises:
      Defect: there is none, or it is none.
    """
    if not password:
        raise Defect("no password is stored")
    if _HASHED.fullmatch(password):
        raise Defect("looks like a hash, not a password")
    if "\ufffd" in password:
        raise Defect("its password holds a letter that was lost")
    return password


def scram(algorithm: str, iterations: int, salt: bytes, stored_key: bytes, server_key: bytes) -> Scram:
    """A SCRAM hash that can be checked.

    Raises:
      Defect: it cannot be.
    """
    found = Scram(algorithm, iterations, salt, stored_key, server_key)
    try:
        sound(found)
    except ValueError as error:  # in words of its own
        raise Defect(str(error)) from None
    return found


def number(text: str) -> int:
    """A number of iterations."""
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise Defect("a number of iterations that is none")
    return int(text)


def base64(text: str) -> bytes:
    try:
        return from_base64(text)
    except ValueError:
        raise Defect("a key or salt that is not base64") from None


def hexadecimal(text: str) -> bytes:
    try:
        return binascii.unhexlify(text.encode("ascii"))
    except ValueError:
        raise Defect("a key that is not hexadecimal") from None


def opened(path: str) -> BufferedReader:
    """Open what the administrator has named: a file, or a pipe.

    Raises:
      Unreadable: that cannot be done.
    """
    return _opened(path, 0)


def opened_file(path: str) -> BufferedReader:
    """Open what somebody else has named: a file, not a link, and nothing that would keep us waiting for a writer.

    Raises:
      Unreadable: that cannot be done.
    """
    file = _opened(path, os.O_NONBLOCK | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Unreadable(f"cannot read {path!r}: not a regular file")
    return file


def _opened(path: str, flags: int) -> BufferedReader:
    try:
        return open(path, "rb", opener=lambda path, given: os.open(path, given | flags))
    except OSError as error:
        raise Unreadable(f"cannot read {path!r}: {error.strerror}") from None


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """All that is in it, piece by piece.

    Raises:
      Unreadable: it cannot be read to its end.
    """
    try:
        while data := file.read(1 << 18):
            yield data
    except OSError as error:
        raise Unreadable(f"cannot read {file.name!r}: {error.strerror}") from None
