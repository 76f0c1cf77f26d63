"""The three tables that can hold users: our own, ejabberd's `users`, and Prosody's `prosody`.

The rules:

- What is in a row, `sqlrows` says.
- Only our own table is ever created.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from bridge.programs.hashes import BY_SIZE, Scram, from_base64, parse, sound, to_base64
from bridge.programs.sqlrows import (
    Account,
    Credential,
    Example,
    Plain,
    account_of,
    as_text,
    credentials_of,
    exact_rows,
    examples_of,
)
from bridge.programs.users import Unavailable


class Table(Protocol):
    """One kind of table.  Every method may raise what SQLAlchemy raises."""

    def prepare(self, connection: sa.Connection) -> None:
        """Find out what a new connection needs to know."""

    def find(self, connection: sa.Connection, user: str, host: str, *, lock: bool = False) -> Account | None:
        """The account; with `lock`, nobody else changes it in this transaction."""
        ...

    def kinds(self, connection: sa.Connection) -> list[Example]:
        """An example of each kind of credential; broken ones are left out."""
        ...

    def insert(self, connection: sa.Connection, user: str, host: str, new: Credential) -> None: ...
    def replace(self, connection: sa.Connection, user: str, host: str, new: Credential, old: Account) -> None: ...
    def delete(self, connection: sa.Connection, user: str, host: str) -> None: ...
    def names(self, connection: sa.Connection) -> Iterable[tuple[str, str]]: ...


_name = sa.Text().with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")

OWN = sa.Table(
    "extauth_users",
    sa.MetaData(),
    sa.Column("username", _name, primary_key=True),
    sa.Column("host", _name, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
)


class Own:
    """Our own table: one hash for each user, as text."""

    def prepare(self, connection: sa.Connection) -> None:
        pass

    def find(self, connection: sa.Connection, user: str, host: str, *, lock: bool = False) -> Account | None:
        query = sa.select(OWN.c.username, OWN.c.host, OWN.c.hash).where(OWN.c.username == user, OWN.c.host == host)
        rows = exact_rows(_selected(connection, query, lock), (user, host), lock)
        return account_of(credentials_of(parse, [(as_text(row[2]),) for row in rows]), len(rows)) if rows else None

    def kinds(self, connection: sa.Connection) -> list[Example]:
        """Hashes are of one kind if they begin alike and are equally long, or nearly: no more than the first four
        digits of SCRAM's iterations are looked at, so that the salt behind them is not."""
        text = OWN.c.hash
        begin = sa.case(
            (sa.func.substr(text, 1, 8) == "$scrypt$", sa.func.substr(text, 9, 13)),  # ln=14,r=8,p=5
            (sa.func.substr(text, 1, 12) == "SCRAM-SHA-1$", sa.func.substr(text, 1, 16)),
            else_=sa.func.substr(text, 1, 18),
        )
        query = sa.select(sa.func.min(text), sa.func.count()).group_by(sa.func.length(text), begin)
        return examples_of(parse, [("", row[1], (as_text(row[0]),)) for row in connection.execute(query)])

    def insert(self, connection: sa.Connection, user: str, host: str, new: Credential) -> None:
        connection.execute(sa.insert(OWN).values(username=user, host=host, hash=_hash(new)))

    def replace(self, connection: sa.Connection, user: str, host: str, new: Credential, old: Account) -> None:
        del old
        connection.execute(sa.update(OWN).where(OWN.c.username == user, OWN.c.host == host).values(hash=_hash(new)))

    def delete(self, connection: sa.Connection, user: str, host: str) -> None:
        connection.execute(sa.delete(OWN).where(OWN.c.username == user, OWN.c.host == host))

    def names(self, connection: sa.Connection) -> Iterable[tuple[str, str]]:
        return [(as_text(row[0]), as_text(row[1])) for row in connection.execute(sa.select(OWN.c.username, OWN.c.host))]


class Ejabberd:
    """ejabberd's `users`, of any version: with hosts or for one host, with one credential for each user or several.

    Args:
      host: whose users these are, where the table does not say.
    """

    _TYPES: ClassVar = {2: "SHA-1", 3: "SHA-256", 4: "SHA-512"}
    _PREFIXES: ClassVar = {"sha256:": "SHA-256", "sha512:": "SHA-512"}
    """How the algorithm is told where there is no column `type`, or where it is 0 as the row is older."""

    def __init__(self, host: str | None) -> None:
        self._host = host
        self._table = _table("users")
        self._columns: frozenset[str] = frozenset()

    def prepare(self, connection: sa.Connection) -> None:
        self._columns = frozenset(connection.execute(sa.text("SELECT * FROM users WHERE 1 = 0")).keys())
        self._table = _table("users", *sorted(self._columns))
        if not {"username", "password"} <= self._columns:
            raise Unavailable("cannot use the database: its table `users` is not ejabberd's")
        if self._host is None and "server_host" not in self._columns:
            raise Unavailable("the table `users` does not say which host its users are of: --host HOST does")

    def find(self, connection: sa.Connection, user: str, host: str, *, lock: bool = False) -> Account | None:
        found = self._all_columns(connection, user, host, lock)
        while frozenset(found.keys()) != self._columns:  # the table was altered: the rows may be of other hosts
            self.prepare(connection)
            found = self._all_columns(connection, user, host, lock)
        values = [{"server_host": host, **row} for row in found.mappings()]
        rows = exact_rows([(row["username"], row["server_host"], row) for row in values], (user, host), lock)
        names = ("type", "password", "serverkey", "salt", "iterationcount")
        read = credentials_of(self._read, [[row.get(name) for name in names] for _, _, row in rows])
        return account_of(read, len(rows)) if rows else None

    def _all_columns(self, connection: sa.Connection, user: str, host: str, lock: bool) -> sa.CursorResult[Any]:
        query = sa.select(sa.text("*")).select_from(self._table).where(*self._where(user, host))
        return _selected(connection, query, lock)

    def kinds(self, connection: sa.Connection) -> list[Example]:
        column = self._table.c
        hosts: list[Any] = [column.server_host] if "server_host" in self._columns else []
        kind: list[Any] = [column.type] if "type" in self._columns else []
        query = sa.select(*(hosts or [sa.null()]), sa.func.count())
        if "iterationcount" not in self._columns:
            rows: list[Any] = [*connection.execute(query.group_by(*hosts))]
            return [Example(as_text(row[0]), Plain(""), row[1]) for row in rows]
        length = sa.case((column.iterationcount == 0, 0), else_=sa.func.length(column.password))
        examples = [sa.func.min(column[name]) for name in ("password", "serverkey", "salt")]
        query = query.add_columns(*(kind or [sa.null()]), *examples, column.iterationcount)
        rows = [*connection.execute(query.group_by(*hosts, *kind, column.iterationcount, length))]
        return examples_of(self._read, [(row[0], row[1], row[2:]) for row in rows])

    def insert(self, connection: sa.Connection, user: str, host: str, new: Credential) -> None:
        named = {"username": user} | ({"server_host": host} if "server_host" in self._columns else {})
        connection.execute(sa.insert(self._table).values(**named, **self._values(new)))

    def replace(self, connection: sa.Connection, user: str, host: str, new: Credential, old: Account) -> None:
        if old.rows > 1:
            self.delete(connection, user, host)
            self.insert(connection, user, host, new)
        else:
            connection.execute(sa.update(self._table).where(*self._where(user, host)).values(**self._values(new)))

    def delete(self, connection: sa.Connection, user: str, host: str) -> None:
        connection.execute(sa.delete(self._table).where(*self._where(user, host)))

    def names(self, connection: sa.Connection) -> Iterable[tuple[str, str]]:
        hosts = self._table.c.server_host if "server_host" in self._columns else sa.literal(self._host)
        rows = connection.execute(sa.select(self._table.c.username, hosts))
        return {(as_text(row[0]), as_text(row[1])) for row in rows}

    def _where(self, user: str, host: str) -> list[sa.ColumnElement[bool]]:
        hosts = [self._table.c.server_host == host] if "server_host" in self._columns else []
        return [*hosts, self._table.c.username == user]

    def _read(self, number: Any, password: Any, server_key: Any, salt: Any, iterations: Any) -> Credential:
        stored, server, salted = as_text(password), as_text(server_key), as_text(salt)
        if number in (None, 0, 1) and (server, salted, iterations or 0) == ("", "", 0):
            return Plain(stored)
        algorithm = self._TYPES.get(number or 0)
        if not number:
            algorithm = self._PREFIXES.get(stored[:7], "SHA-1")
            stored = stored.removeprefix("sha256:").removeprefix("sha512:")
        return sound(Scram(algorithm or "", int(iterations), *map(from_base64, (salted, stored, server))))

    def _values(self, new: Credential) -> dict[str, object]:
        values: dict[str, object]
        if isinstance(new, Plain):
            values = {"password": new.password, "serverkey": "", "salt": "", "iterationcount": 0, "type": 1}
        else:
            assert isinstance(new, Scram)
            salt, stored, server = map(to_base64, (new.salt, new.stored_key, new.server_key))
            number = next(number for number, name in self._TYPES.items() if name == new.algorithm)
            if "type" not in self._columns and new.algorithm != "SHA-1":
                stored = f"{new.algorithm.replace('-', '').lower()}:{stored}"
            values = {"password": stored, "serverkey": server, "salt": salt, "iterationcount": new.iterations}
            values["type"] = number
        return {name: value for name, value in values.items() if name in self._columns}


class Prosody:
    """Prosody's `prosody`, where an account's store `accounts` has one row for each of its values."""

    _CREDENTIAL: ClassVar = ("password", "salt", "iteration_count", "stored_key", "server_key")
    _STORE: ClassVar = "accounts"

    def __init__(self) -> None:
        self._table = _table("prosody", "host", "user", "store", "key", "type", "value")

    def prepare(self, connection: sa.Connection) -> None:
        pass

    def find(self, connection: sa.Connection, user: str, host: str, *, lock: bool = False) -> Account | None:
        column = self._table.c
        query = sa.select(column.user, column.host, column.key, column.value).where(*self._where(user, host))
        rows = exact_rows(_selected(connection, query, lock), (user, host), lock)
        if not rows:
            return None
        values = {as_text(row[2]): as_text(row[3]) for row in rows}
        given = tuple(values.get(name, "") for name in self._CREDENTIAL)
        found = credentials_of(self._read, [given] if any(given) else [])
        return account_of(found, 1)._replace(disabled=values.get("disabled", "false") != "false")

    def kinds(self, connection: sa.Connection) -> list[Example]:
        first, other = self._table.alias("i"), self._table.alias("k")
        both = sa.and_(
            *(first.c[name] == other.c[name] for name in ("host", "user", "store")), other.c.key == "stored_key"
        )
        query = sa.select(first.c.host, sa.func.count(), first.c.value, sa.func.min(other.c.value))
        query = query.select_from(first.join(other, both)).where(
            first.c.store == self._STORE, first.c.key == "iteration_count"
        )
        hashed = connection.execute(query.group_by(first.c.host, first.c.value, sa.func.length(other.c.value))).all()
        column = self._table.c
        clear = sa.select(column.host, sa.func.count()).where(column.store == self._STORE, column.key == "password")
        plain = connection.execute(clear.group_by(column.host)).all()
        return examples_of(
            self._read,
            [(row[0], row[1], ("", "salt", row[2], row[3], row[3])) for row in hashed]
            + [(row[0], row[1], ("a password", "", "", "", "")) for row in plain],
        )

    def insert(self, connection: sa.Connection, user: str, host: str, new: Credential) -> None:
        named = {"host": host, "user": user, "store": self._STORE}
        rows = [
            {**named, "key": key, "type": "number" if key == "iteration_count" else "string", "value": value}
            for key, value in self._values(new).items()
        ]
        connection.execute(sa.insert(self._table).values(rows))

    def replace(self, connection: sa.Connection, user: str, host: str, new: Credential, old: Account) -> None:
        del old
        connection.execute(
            sa.delete(self._table).where(*self._where(user, host), self._table.c.key.in_(self._CREDENTIAL))
        )
        self.insert(connection, user, host, new)

    def delete(self, connection: sa.Connection, user: str, host: str) -> None:
        connection.execute(sa.delete(self._table).where(*self._where(user, host)))

    def names(self, connection: sa.Connection) -> Iterable[tuple[str, str]]:
        query = sa.select(self._table.c.user, self._table.c.host).where(self._table.c.store == self._STORE)
        return {(as_text(row[0]), as_text(row[1])) for row in connection.execute(query.distinct())}

    def _where(self, user: str, host: str) -> list[sa.ColumnElement[bool]]:
        column = self._table.c
        return [column.host == host, column.user == user, column.store == self._STORE]

    def _read(self, password: str, salt: str, iterations: str, stored: str, server: str) -> Credential:
        if password:  # Prosody, too, prefers it to a hash
            return Plain(password)
        keys = bytes.fromhex(as_text(stored)), bytes.fromhex(as_text(server))
        algorithm = BY_SIZE.get(len(keys[0]), "")
        # Lua 5.3 and later write a whole number that was calculated as 10000.0.
        return sound(Scram(algorithm, int(as_text(iterations).removesuffix(".0")), salt.encode(), *keys))

    def _values(self, new: Credential) -> dict[str, str]:
        if isinstance(new, Plain):
            return {"password": new.password}
        assert isinstance(new, Scram)
        return {
            "salt": new.salt.decode(),
            "iteration_count": str(new.iterations),
            "stored_key": new.stored_key.hex(),
            "server_key": new.server_key.hex(),
        }


def _table(name: str, *columns: str) -> sa.TableClause:
    """A table of others.  Columns are quoted always: many are words of SQL in one system or another."""
    untyped: list[sa.ColumnClause[Any]] = [sa.column(sa.quoted_name(column, quote=True)) for column in columns]
    return sa.table(name, *untyped)


def _selected(connection: sa.Connection, query: Any, lock: bool) -> sa.CursorResult[Any]:
    """The rows of a Select, which SQLAlchemy 2.0 and 2.1 give different types."""
    found: sa.CursorResult[Any] = connection.execute(query.with_for_update() if lock else query)
    return found


def _hash(new: Credential) -> str:
    assert not isinstance(new, Plain)
    return new.text()
