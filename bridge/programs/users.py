"""Users and their salted password hashes in one SQLite file.

The rules:

- Every question uses the file that is at the path *now*.  A file that was replaced, overwritten or restored is
  reopened; a missing one is waited for, never recreated: an empty one would silently refuse everybody.
- Any number of processes may use one file.  It is in WAL mode, every change is one statement, and no lock is
  held while a password is hashed.
- After a change the file is complete by itself: a plain copy of it is a backup, a plain move restores it.
- The time of a check does not show whether the user exists: every check makes one hash of every kind that occurs
  in the file (`hashes`).
- A user has one row, whatever kind of hash is in it, so all changes hold for all kinds.  A SCRAM hash, which another
  server has made, has r = 0, which no scrypt hash can have; then n is its number of iterations, p its algorithm, and
  `hash` its StoredKey followed by its ServerKey.  Version 0.2.1 says of such a row alone that it is broken, and
  lets nobody in by it; it lists, replaces and removes it like any other, so a file can go back to that version.
- Names are compared as given: the caller has prepared them (as XMPP servers do before they ask).
"""

import errno
import fcntl
import os
import re
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Self

from bridge.programs.hashes import ALGORITHMS, COST, Cost, Hash, Kind, Scheme, Scram, Scrypt, affordable, verify

BUSY_TIMEOUT = 2.0
"""Seconds to wait for another process's lock: well below the 4 s after which a bridge gives up on a program."""

BRIEFLY = 0.2
"""Seconds to wait for it for work that can be done later."""

PATIENTLY = 60.0
"""Seconds to wait for it with what took hours to prepare."""

SCHEMA = """
CREATE TABLE users (
    user TEXT NOT NULL, host TEXT NOT NULL,
    n INTEGER NOT NULL, r INTEGER NOT NULL, p INTEGER NOT NULL, salt BLOB NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (host, user)
) WITHOUT ROWID;
"""


STORE = "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT "
KEEP = "DO NOTHING"
REPLACE = "DO UPDATE SET n = excluded.n, r = excluded.r, p = excluded.p, salt = excluded.salt, hash = excluded.hash"

NUMBERS = {"SHA-1": 1, "SHA-256": 256, "SHA-512": 512}
"""How SCRAM's algorithms are stored, in p."""

NAMES = {number: name for name, number in NUMBERS.items()}


class Unavailable(Exception):
    """The database cannot be used now. str() is one line, safe to show, and never holds a secret."""


class BrokenUser(Unavailable):
    """What is stored for one user cannot be used; everybody else's can."""


class Users:
    """The users in one file: a context manager that closes it, for one thread.

    It is opened at the first question; a failure never outlasts its cause.

    Args:
      path: the database.  Created with mode 0600, with the first user in it, if it is missing or empty.
      create: False: never create it.
      tell: told, in one line, that what was stored is not complete in the file itself.

    Raises:
      Unavailable: by every method but `close`, when the database is locked, broken, missing or not permitted.
        Nothing was changed then, and the next call tries again.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, create: bool = True, tell: Callable[[str], object] = lambda _: None
    ) -> None:
        self._path = os.path.abspath(path)
        self._tell = tell
        self._may_create = create
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, ...] = ()
        self._kinds: list[Kind] = []  # those that occur in the file
        self._kinds_version: object = None  # the file's version when they were read

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def exists(self, user: str, host: str) -> bool:
        return bool(self._rows("SELECT 1 FROM users WHERE user = ? AND host = ?", user, host))

    def check(self, user: str, host: str, secret: str) -> bool:
        """Whether this is the user's secret.  Takes as long for an unknown user as for a wrong secret."""
        stored, new = self._verified(user, host, secret)
        if stored is not None and new is not None:
            self._renew(user, host, stored, new)
        return stored is not None

    def add(self, user: str, host: str, secret: str) -> bool:
        """Add a user.  False if it exists already (and keeps its secret)."""
        one = Scrypt.of(secret, COST)
        made = self._made_with([(user, host, one)], STORE + KEEP)
        return self._change(STORE + KEEP, user, host, *_row(one)) if made is None else made[0]

    def change(self, user: str, host: str, secret: str) -> bool:
        """Give a user a new secret.  False if there is no such user."""
        return self._change(
            "UPDATE users SET n = ?, r = ?, p = ?, salt = ?, hash = ? WHERE user = ? AND host = ?",
            *(*_row(Scrypt.of(secret, COST)), user, host),
        )

    def remove(self, user: str, host: str) -> bool:
        """Remove a user.  False if there is no such user."""
        return self._change("DELETE FROM users WHERE user = ? AND host = ?", user, host)

    def remove_checked(self, user: str, host: str, secret: str) -> bool:
        """Remove a user.  False if there is no such user or the secret is wrong."""
        for _attempt in range(2):  # a concurrent login may have renewed the hash, at most once
            stored, _ = self._verified(user, host, secret)
            if stored is None:
                return False
            # Only with the hash that was checked: the secret may have changed meanwhile.
            sql = "DELETE FROM users WHERE user = ? AND host = ? AND hash = ?"
            if self._change(sql, user, host, _row(stored)[-1]):
                return True
        return False

    def names(self, host: str | None = None) -> list[tuple[str, str]]:
        """(user, host) of all users, or of one host's, ordered by host and user."""
        return self._rows("SELECT user, host FROM users WHERE host = ? OR ? IS NULL ORDER BY host, user", host, host)

    def hashes(self, host: str | None = None) -> list[tuple[str, str, Hash]]:
        """What `names` returns, each with the user's hash, which may be broken."""
        sql = "SELECT user, host, n, r, p, salt, hash FROM users WHERE host = ? OR ? IS NULL ORDER BY host, user"
        return [(user, host, _hash(*row)) for user, host, *row in self._rows(sql, host, host)]

    def take(self, users: Iterable[tuple[str, str, Hash]], *, replace: bool) -> list[bool]:
        """Store all of these in one transaction.

        Args:
          replace: also those that exist already; otherwise they keep their hashes.

        Returns:
          of each whether it was stored.
        """
        sql = STORE + (REPLACE if replace else KEEP)
        stored = self._made_with(users, sql)
        if stored is None:
            try:
                stored = self._take(self._database(PATIENTLY), users, sql)
            except (sqlite3.Error, OSError) as error:
                raise self._unavailable(error) from error
            self._kinds_version = None
            if any(stored):
                self._complete_file()
        return stored

    def _made_with(self, users: Iterable[tuple[str, str, Hash]], sql: str) -> list[bool] | None:
        """Make the file with these in it, if it is to be made: an empty one would refuse everybody."""
        try:
            return _make(self._path, lambda new: self._take(new, users, sql)) if self._may_create else None
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error

    @staticmethod
    def _take(database: sqlite3.Connection, users: Iterable[tuple[str, str, Hash]], sql: str) -> list[bool]:
        database.execute("BEGIN IMMEDIATE")
        try:
            stored = [database.execute(sql, (user, host, *_row(one))).rowcount > 0 for user, host, one in users]
            database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # it may be over already: a full disk ends it
                database.execute("ROLLBACK")
            raise
        return stored

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._kinds_version = None

    def _verified(self, user: str, host: str, secret: str) -> tuple[Hash | None, Scrypt | None]:
        """The user's stored hash, or None if `secret` does not match it; and a new one that is to replace it.

        The same hashes are made for everybody: none is skipped because the answer is already known.
        """
        rows = self._rows("SELECT n, r, p, salt, hash FROM users WHERE user = ? AND host = ?", user, host)
        stored = _hash(*rows[0]) if rows else None
        try:
            matches, new = verify(secret, stored, self._kinds_in_use(), COST)
        except ValueError:
            raise BrokenUser(f"cannot use a user's hash in the database {self._path!r}: it is broken") from None
        return stored if matches else None, new

    def _kinds_in_use(self) -> list[Kind]:
        """The kinds that occur in the file, cheapest first, as many as one check can afford."""
        version = self._rows("PRAGMA data_version")  # differs once another process has changed something
        if version != self._kinds_version:
            rows = self._rows("SELECT DISTINCT n, r, p FROM users")
            self._kinds = affordable((_kind(*row) for row in rows), COST)
            self._kinds_version = version
        return self._kinds

    def _renew(self, user: str, host: str, old: Hash, new: Scrypt) -> None:
        """Replace `old` by `new`, if it is still there.  If that cannot be done now, a later login does it."""
        with suppress(Unavailable):
            self._change(
                "UPDATE users SET n = ?, r = ?, p = ?, salt = ?, hash = ? WHERE user = ? AND host = ? AND hash = ?",
                *(*_row(new), user, host, _row(old)[-1]),
                wait=BRIEFLY,
            )

    def _rows(self, sql: str, *values: object) -> list[Any]:
        try:
            return [] if self._is_still_to_be_made() else self._database().execute(sql, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error

    def _change(self, sql: str, *values: object, wait: float = BUSY_TIMEOUT) -> bool:
        """Run one statement as its own transaction.  True if it changed something."""
        try:
            changed = self._database(wait).execute(sql, values).rowcount > 0
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error
        if changed:
            self._kinds_version = None
            self._complete_file()
        return changed

    def _complete_file(self) -> None:
        """Move the change from SQLite's log to the file itself, and empty the log.

        A leftover log would be applied to a file that somebody moves to this path: old users would be back.
        The change is already durable, so this waits only briefly for others: the next process can do it too.
        """
        if self._connection is None:
            return
        try:
            _set_wait(self._connection, BRIEFLY)
            is_busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            reason = "database is locked" if is_busy else ""
        except sqlite3.Error as error:
            reason = str(error)
        if reason:
            log = f"{self._path}-wal"
            self._tell(f"done, but until the next change a plain copy is no backup: a part is in {log!r} ({reason})")

    def _is_still_to_be_made(self) -> bool:
        if not self._may_create or _has_content(self._path):
            return False
        if not os.access(os.path.dirname(self._path), os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "cannot write to its directory")
        return True

    def _database(self, wait: float = BUSY_TIMEOUT) -> sqlite3.Connection:
        """A connection to the file that is now at the path, which waits up to `wait` seconds for locks."""
        file = os.stat(self._path)
        self._may_create = False
        found = (file.st_dev, file.st_ino, file.st_ctime_ns)  # ctime: no copying tool can set it back
        if self._connection is None or self._opened != found:
            self.close()
            self._connection = _connect(self._path)
            self._opened = found
        _set_wait(self._connection, wait)
        return self._connection

    def _unavailable(self, error: Exception) -> Unavailable:
        self.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Unavailable(f"cannot use the database {self._path!r}: {reason}")


def _row(stored: Hash) -> tuple[Any, ...]:
    """n, r, p, salt and hash, as the table has them."""
    if isinstance(stored, Scrypt):
        return (*stored.cost, stored.salt, stored.digest)
    return (stored.iterations, 0, NUMBERS[stored.algorithm], stored.salt, stored.stored_key + stored.server_key)


def _kind(n: Any, r: Any, p: Any) -> Kind:
    return Cost(n, r, p) if r != 0 else Scheme(NAMES.get(p, ""), n)


def _hash(n: Any, r: Any, p: Any, salt: Any, digest: Any) -> Hash:
    """What `_row` has stored; anything else becomes a hash that nothing matches, or that `verify` refuses."""
    kind = _kind(n, r, p)
    if isinstance(kind, Cost):
        return Scrypt(kind, salt, digest)
    size = ALGORITHMS.get(kind.algorithm, 0)
    if not isinstance(digest, bytes) or len(digest) != 2 * size:
        return Scram("", n, salt, b"", b"")
    return Scram(*kind, salt, digest[:size], digest[size:])


def _connect(path: str) -> sqlite3.Connection:
    """Open an existing file; mode=rw, as SQLite would otherwise create a missing one, readable by everybody."""
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(f"file:{quoted}?mode=rw", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)


def _set_wait(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}").fetchall()


def _make(path: str, fill: Callable[[sqlite3.Connection], list[bool]]) -> list[bool] | None:
    """Create the database if it is missing or empty.  It appears complete, even if many processes try at once.

    Returns:
      what `fill` returns, which adds users to it before that; None if it is there already.
    """
    if _has_content(path):
        return None
    path = os.path.realpath(path)
    # The lock is on the directory: closing a descriptor of the database would drop SQLite's own locks on it.
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        return None if _has_content(path) else _make_beside(path, fill)
    finally:
        os.close(directory)


def _has_content(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def _make_beside(path: str, fill: Callable[[sqlite3.Connection], list[bool]]) -> list[bool]:
    """Create the database under a temporary name, then move it to `path` atomically.

    All is written to the file itself: SQLite's log would get there only when it is closed, and nobody is told if there
    is no room for it then.
    """
    _remove_unfinished(path)
    new = f"{path}.{os.urandom(8).hex()}.new"
    try:
        _make_private_file(new, os.stat(path if os.path.exists(path) else os.path.dirname(path)))
        database = _connect(new)
        try:
            database.executescript(SCHEMA)
            stored = fill(database)
            database.execute("PRAGMA journal_mode = WAL").fetchall()
        finally:
            database.close()
        os.replace(new, path)
    except BaseException:
        _remove_unfinished(path)
        raise
    return stored


def _remove_unfinished(path: str) -> None:
    """Remove what is under temporary names, and what SQLite puts beside it.

    It is of somebody who was killed, as whoever makes the database has the lock.
    """
    directory, name = os.path.split(path)
    is_one = re.compile(rf"{re.escape(name)}\.[0-9a-f]{{16}}\.new(-journal|-wal|-shm)?").fullmatch
    for found in os.listdir(directory):
        if is_one(found):
            with suppress(OSError):  # somebody else's
                os.unlink(os.path.join(directory, found))


def _make_private_file(path: str, owner: os.stat_result) -> None:
    """Create an empty file with mode 0600, whatever the umask.  SQLite gives its -wal and -shm the same mode."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.fchmod(file, 0o600)
        if os.geteuid() == 0:  # created by an administrator, for the account that will serve it
            os.fchown(file, owner.st_uid, owner.st_gid)
    finally:
        os.close(file)
