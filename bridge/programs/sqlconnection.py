"""One connection to a shared database: opened when needed, again once it is lost, and never trusted in between.

The rules:

- A failure never outlasts its cause: after any error the connection is closed, and the next question opens another.
- A connection that was lost while nobody used it (failover, restart, an idle timeout) costs one repetition, no answer.
  Only what has certainly done nothing is repeated: a read, or a write whose COMMIT was not sent.
- A name that the database cannot hold affects its user only: nobody can end a program by asking for it.
- Messages never hold what the database says about a statement, as that may quote its values.
"""

import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from bridge.programs.sqlurl import Address, BadURL, connector
from bridge.programs.users import BrokenUser, Unavailable

_Result = TypeVar("_Result")

DIALECTS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "sqlite": "sqlite"}

_BEGIN = {
    "postgresql": "BEGIN ISOLATION LEVEL SERIALIZABLE",  # of two who register one name, one begins again
    "mysql": "START TRANSACTION",
    "sqlite": "BEGIN IMMEDIATE",
}

_LOST = {1053, 1927}
"""MariaDB's: it is shutting down; this connection was killed.  SQLAlchemy knows the others."""

_CONFLICT = {"40001", "40P01", 1213, 1020}
"""PostgreSQL's and MariaDB's: somebody else's transaction was first, so this one has done nothing."""

_NO_SUCH_NAME = {1267, 1270, 1271, 1366, 1406, "54000"}
"""MariaDB's: the column's character set does not have these characters, or the column is too short.  PostgreSQL's: it
is too long for an index."""

_DENIED = {"42501", 1142, 1143}
"""PostgreSQL's and MariaDB's: the account has no right to change this table."""

_NO_TABLE = {"42P01", 1146}
"""PostgreSQL's and MariaDB's: there is no such table."""

_PATIENCE = 2
"""Seconds after which a transaction no longer begins again, whoever was first."""

_DOUBTS = 5
"""How often it begins again where what it violates may be for ever."""

_PAUSE = 0.02
"""Seconds until it begins again, at most, and by as much longer each time: by chance, so that those who disturb each
other part."""

_LONGEST = 300
"""Characters of a driver's message."""


class Forbidden(BrokenUser):
    """The account has no right to make a change."""


class Connection:
    """Runs what is asked, on one connection; for one thread.

    Args:
      prepare: called with each new connection before anything else.

    Raises:
      BadURL: by the constructor, when the driver does not understand the URL.
      Unavailable: by `read` and `write`, when the database cannot be used now.
      BrokenUser: by `read` and `write`, when it has no place for these values.
      Forbidden: by `write`.
    """

    def __init__(self, where: Address, prepare: Callable[[sa.Connection], None]) -> None:
        options: dict[str, Any] = {"use_native_hstore": False} if where.system == "postgresql" else {}
        self._engine = sa.create_engine(
            f"{DIALECTS[where.system]}://",
            creator=connector(where),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            **options,
        )
        self._where = where
        self._prepare = prepare
        self._open: sa.Connection | None = None

    def read(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """What `work` finds; it may be called again."""
        return self._run(work, writing=False)

    def write(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """What `work` returns, when all its changes are made; it may be called again."""

        def whole(connection: sa.Connection) -> _Result:
            connection.exec_driver_sql(_BEGIN[self._where.system])
            result = work(connection)
            self._commit(connection)
            return result

        return self._run(whole, writing=True)

    def close(self) -> None:
        """Close it, and so undo what was not committed."""
        if self._open is not None:
            with suppress(Exception):  # it may be lost already
                self._open.invalidate()
            with suppress(Exception):
                self._open.close()
            self._open = None

    def _run(self, work: Callable[[sa.Connection], _Result], writing: bool) -> _Result:
        try:
            return self._tried(work)
        except SQLAlchemyError as error:
            raise self._trouble(error, writing) from None
        except BadURL as error:  # only now: the file of a certificate is being replaced, say
            raise Unavailable(str(error)) from None
        except (Unavailable, UnicodeError):  # the latter is about what is stored for one user
            raise
        except Exception as error:  # a driver's that reads nonsense: nothing about a user, either
            raise Unavailable(f"cannot use the database: {type(error).__name__}") from None

    def _tried(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        end = time.monotonic() + _PATIENCE
        attempt = 0
        while True:
            attempt += 1
            reused = self._open is not None
            try:
                return self._once(work)
            except SQLAlchemyError as error:
                again = _is_conflict(error, attempt) or (reused and _is_lost(error))
                if not again or time.monotonic() > end:
                    raise
            time.sleep(random.uniform(0, attempt * _PAUSE))

    def _once(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        try:
            result = work(self._connected())
        except BaseException:
            self.close()
            raise
        if self._where.system == "sqlite":
            self.close()  # each question uses the file that is at the path then
        return result

    def _connected(self) -> sa.Connection:
        if self._open is None:
            self._open = self._engine.connect()
            self._prepare(self._open)
        return self._open

    def _commit(self, connection: sa.Connection) -> None:
        try:
            connection.exec_driver_sql("COMMIT")
        except SQLAlchemyError as error:
            if _is_conflict(error, 1):
                raise
            raise self._trouble(error, writing=True) from None  # it may be done or not: nothing to repeat

    def _trouble(self, error: SQLAlchemyError, writing: bool) -> Unavailable:
        why = describe(error, self._where.password)
        if isinstance(error, DataError | IntegrityError) or _code(error) in _NO_SUCH_NAME:
            return BrokenUser(f"the database has no place for a user: {why}")
        if writing and _code(error) in _DENIED:
            return Forbidden(f"the database does not let this account change users: {why}")
        if _lacks_table(error):
            return Unavailable(f"no such table there: another database, another --table, or createtable: {why}")
        return Unavailable(f"cannot use the database: {why}")


def describe(error: SQLAlchemyError, password: str | None = None) -> str:
    """What went wrong, in one line without any value: the driver's words only about connecting.

    Args:
      password: the one that they must not hold.
    """
    if not isinstance(error, DBAPIError) or error.orig is None:
        return type(error).__name__
    name = type(error.orig).__name__
    code = _code(error)
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorname", None)
    known = f"{name} ({code})" if code else name
    if error.statement is not None:
        return known
    text = " ".join(str(error.orig.args[-1] if error.orig.args else "").split())
    if password:
        text = text.replace(password, "***")
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return f"{known}: {clean[:_LONGEST]}"


def _code(error: SQLAlchemyError) -> object:
    """PostgreSQL's SQLSTATE, or MariaDB's number."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return None
    first = error.orig.args[0] if error.orig.args else None
    return first if isinstance(first, int) else getattr(error.orig, "sqlstate", None)


def _lacks_table(error: SQLAlchemyError) -> bool:
    """Whether the table is missing; SQLite has no code for that."""
    if isinstance(error, DBAPIError) and isinstance(error.orig, sqlite3.Error):
        return str(error.orig).startswith("no such table")
    return _code(error) in _NO_TABLE


def _is_lost(error: SQLAlchemyError) -> bool:
    return isinstance(error, DBAPIError) and (error.connection_invalidated or _code(error) in _LOST)


def _is_conflict(error: SQLAlchemyError, attempt: int) -> bool:
    """Whether somebody else was first: then this has done nothing, and finds another state when it is tried again."""
    return _code(error) in _CONFLICT or (isinstance(error, IntegrityError) and attempt <= _DOUBTS)
