"""Prosody's internal storage: DIR/HOST/accounts/USER.dat, of mod_auth_internal_plain and mod_auth_internal_hashed.

Names of hosts and users are percent-encoded.  Where an account has a password and a hash, the password counts, as in
Prosody.  Keys are hexadecimal and say by their length which algorithm made them: Prosody stores no name of it.

Some names can be written in several ways, of which Prosody reads one: the others are old, or by another hand.

An account may be marked as disabled.  Prosody 13 also marks those of mod_auth_internal_plain that prosodyctl makes, and
lets them in all the same; nothing in the file tells which is meant, so whoever imports has to say it.
"""

import os
import re
import stat
from collections.abc import Container, Iterator

from bridge.programs.hashes import BY_SIZE, Hash
from bridge.programs.importing.entry import (
    LONGEST,
    Defect,
    Found,
    NotTaken,
    Unreadable,
    chunks,
    entry,
    hexadecimal,
    opened_file,
    plain,
    scram,
)
from bridge.programs.importing.lua import Value, table

_ENCODED = re.compile(r"%([0-9a-fA-F]{2})")


def read(directory: str, *, disabled: bool = False) -> Iterator[Found]:
    """The users of all hosts in this data directory.

    Args:
      disabled: those that are marked as disabled, too.

    Raises:
      Unreadable: there are none, or it cannot be read.
    """
    hosts: list[str] = []
    closed: list[NotTaken] = []
    for name in _names(directory):
        try:
            if stat.S_ISDIR(os.stat(os.path.join(directory, name, "accounts")).st_mode):
                hosts.append(name)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            closed.append(NotTaken(name, f"cannot read it: {error.strerror}"))
    if not hosts and closed:
        raise Unreadable(f"{closed[0].where!r} in {directory!r}: {closed[0].reason}")
    if not hosts:
        raise Unreadable(f"no HOST/accounts in {directory!r}, so it is not Prosody's data directory")
    yield from closed
    for folder in hosts:
        try:
            host = _decoded(folder)
        except Defect as defect:
            yield NotTaken(folder, str(defect))
            continue
        if _is_passed_over(folder, hosts):
            yield NotTaken(folder, "Prosody reads another directory for this host", host)
            continue
        accounts = os.path.join(directory, folder, "accounts")
        users = {name[:-4]: name for name in _names(accounts) if name.endswith(".dat")}
        for user, name in users.items():
            where = f"{folder}/accounts/{name}"
            if _is_passed_over(user, users):
                yield NotTaken(where, "Prosody reads another file for this user", host)
            else:
                yield _account(os.path.join(accounts, name), where, host, user, disabled)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError as error:
        raise Unreadable(f"cannot read {directory!r}: {error.strerror}") from None


def _account(path: str, where: str, host: str, user: str, disabled: bool) -> Found:
    try:
        with opened_file(path) as file:
            data = b"".join(chunks(file)) if os.fstat(file.fileno()).st_size <= LONGEST else None
        if data is None:
            return NotTaken(where, "too large a file", host)
        account = table(data)
        marked = account.get(b"disabled")
        if not disabled and marked is not None and marked is not False:  # in Lua all else is true, 0 too
            return NotTaken(where, "the account is marked as disabled; --disabled takes it", host)
        return entry(where, _decoded(user), host, lambda: _secret(account))
    except (Defect, Unreadable) as error:
        return NotTaken(where, str(error), host)


def _is_passed_over(name: str, names: Container[str]) -> bool:
    """Whether Prosody reads another one in the place of this one."""
    try:
        read = encoded(_decoded(name).lower())
    except Defect:
        return False
    return read != name and read in names


def encoded(name: str) -> str:
    """A name as Prosody encodes it: each byte but letters and digits of ASCII."""
    return re.sub(rb"[^A-Za-z0-9]", lambda match: b"%%%02x" % match[0][0], name.encode()).decode()


def _decoded(name: str) -> str:
    """A name that was percent-encoded, byte by byte."""
    data = os.fsencode(_ENCODED.sub(lambda match: os.fsdecode(bytes.fromhex(match[1])), name))
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Defect("a name that is not UTF-8") from None


def _secret(account: dict[object, Value]) -> str | Hash:
    if account.get(b"password"):
        return plain(_text(account, b"password"))
    if b"stored_key" not in account:
        raise Defect("no password is stored")
    iterations = account.get(b"iteration_count")
    salt = account.get(b"salt")
    if not isinstance(iterations, int | float) or not 0 < iterations < 1e10 or not isinstance(salt, bytes):
        raise Defect("no number of iterations, or no salt")
    stored, server = (hexadecimal(_text(account, key)) for key in (b"stored_key", b"server_key"))
    return scram(BY_SIZE.get(len(stored), ""), int(iterations), salt, stored, server)


def _text(account: dict[object, Value], key: bytes) -> str:
    value = account.get(key)
    try:
        if isinstance(value, bytes):
            return value.decode()
    except UnicodeDecodeError:
        pass
    raise Defect(f"its {key.decode()} is no text")
