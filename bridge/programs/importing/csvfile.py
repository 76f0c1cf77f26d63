"""A table as text: its first line names the columns, which may be in any order and beside others.

user, host   or `jid`, which is both, and counts; without `host`, all are of the host that is given by hand
password     as it is
hash         as our own export writes it: scrypt as PHC string, SCRAM as in RFC 5803
"""

import csv
import io
import re
from collections.abc import Iterator

from bridge.programs.hashes import Hash, parse
from bridge.programs.importing.entry import Defect, Found, NotTaken, Unreadable, entry, opened, plain

COLUMNS = ["user", "host", "hash"]
"""Those of an export."""

_NAMES = {"username": "user", "localpart": "user", "server": "host", "domain": "host"}
"""What else columns are called."""

_DELIMITERS = ",;\t"

_BESIDE_HASHES = re.compile(r"(?:.*[ _-])?(?:salt|iter(?:ation)?[ _-]?(?:s|count)|(?:stored|server)[ _-]?key)")
"""What columns are called beside which `password` is a key of SCRAM's, as in ejabberd's table."""

_LONGEST_HEAD = 1 << 16
"""Characters of the first line."""


def read(path: str) -> Iterator[Found]:
    """The users in this file.

    Raises:
      Unreadable: its columns are not named, or it cannot be read to its end.
    """
    lines = io.TextIOWrapper(opened(path), "utf-8-sig", newline="")
    with lines:
        rows = None
        try:
            head = lines.readline(_LONGEST_HEAD)
            if len(head) == _LONGEST_HEAD:
                raise Unreadable(f"{path!r} line 1: too long for the names of columns")
            delimiter = max(_DELIMITERS, key=head.count)
            columns = _columns(path, next(csv.reader([head], delimiter=delimiter, strict=True), list[str]()))
            rows = csv.reader(lines, delimiter=delimiter, strict=True)
            for row in rows:
                if row:
                    yield _row(f"line {rows.line_num + 1}", columns, row)
        except csv.Error:
            raise Unreadable(f"{path!r} line {rows.line_num + 1 if rows else 1}: damaged quotes, or too long") from None
        except UnicodeDecodeError:
            raise Unreadable(f"cannot read {path!r}: not UTF-8") from None
        except OSError as error:
            raise Unreadable(f"cannot read {path!r}: {error.strerror}") from None


def _columns(path: str, head: list[str]) -> list[str]:
    names = [name.strip().lower() for name in head]
    columns = [_NAMES.get(name, name) for name in names]
    has_name, has_secret = {"user", "jid"} & {*columns}, {"password", "hash"} & {*columns}
    if not has_name or not has_secret or len({*columns}) < len(columns):
        raise Unreadable(f"{path!r} line 1: no columns named user, host (or jid), and password or hash")
    if any(map(_BESIDE_HASHES.fullmatch, columns)):
        raise Unreadable(f"{path!r} line 1: its password is a hash: dump the table as SQL")
    return columns


def _row(where: str, columns: list[str], values: list[str]) -> Found:
    if len(values) != len(columns):
        return NotTaken(where, "not as many columns as in the first line")
    row = dict(zip(columns, values, strict=True))
    user, host = row.get("user", ""), row.get("host", "")
    if "jid" in row:
        others = user, host
        user, at, host = row["jid"].partition("@")
        if not at:
            return NotTaken(where, "no @ in its jid")
        if any(other and other.lower() != own.lower() for other, own in zip(others, (user, host), strict=True)):
            return NotTaken(where, "its jid is not of its user and host")
    return entry(where, user, host or None, lambda: _secret(row.get("password", ""), row.get("hash", "")))


def _secret(password: str, hashed: str) -> str | Hash:
    if not hashed:
        return plain(password)
    if password:
        raise Defect("a password and a hash")
    try:
        return parse(hashed)
    except ValueError as error:  # in words of its own
        raise Defect(str(error)) from None
