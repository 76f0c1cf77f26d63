"""Tables of other servers in files of SQLite, with rows as these servers write them, and the users of a table there."""

import base64
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bridge.programs.hashes import Scheme, Scram
from bridge.programs.sqltables import Table
from bridge.programs.sqlurl import address
from bridge.programs.sqlusers import SqlUsers, Ways
from support import canary

SECRET = canary.CANARY
HOST = "example.com"

OLD = """
CREATE TABLE users (
    username text PRIMARY KEY, "password" text NOT NULL, serverkey text NOT NULL DEFAULT '',
    salt text NOT NULL DEFAULT '', iterationcount integer NOT NULL DEFAULT 0,
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);
"""
"""ejabberd's lite.sql."""

NEW = OLD.replace("username text PRIMARY KEY", "username text NOT NULL, server_host text NOT NULL").replace(
    "TIMESTAMP)", "TIMESTAMP, PRIMARY KEY (server_host, username))"
)
"""Its lite.new.sql, up to 25.03."""

TYPED = NEW.replace('"password"', '"type" smallint NOT NULL, "password"').replace("username)", 'username, "type")')
"""What later versions make of it."""

PROSODY = """
CREATE TABLE prosody (
    "host" TEXT NOT NULL, "user" TEXT NOT NULL, "store" TEXT NOT NULL, "key" TEXT NOT NULL, "type" TEXT NOT NULL,
    "value" TEXT NOT NULL);
CREATE INDEX prosody_index ON prosody ("host", "user", "store", "key");
"""


class Database:
    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(query, values).fetchall()

    def script(self, text: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(text)

    @contextlib.contextmanager
    def users(self, table: Table, write: bool = True, host: str | None = None, **more: object) -> Iterator[SqlUsers]:
        with SqlUsers(address(f"sqlite:///{self.path}"), Ways(table, host, write, **more)) as users:  # type: ignore[arg-type]
            users.look()
            yield users


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def scram(algorithm: str = "SHA-1", iterations: int = 4096, salt: bytes | None = None) -> Scram:
    return Scram.of(SECRET, Scheme(algorithm, iterations), salt)


def scram_row(stored: Scram, prefix: str = "") -> tuple[object, ...]:
    """password, serverkey, salt, iterationcount."""
    return prefix + b64(stored.stored_key), b64(stored.server_key), b64(stored.salt), stored.iterations


def prosody_rows(database: Database, user: str, values: dict[str, object], host: str = HOST) -> None:
    for key, value in values.items():
        kind = {bool: "boolean", int: "number", float: "number", str: "string"}[type(value)]
        text = str(value).lower() if kind == "boolean" else str(value)
        insert = "INSERT INTO prosody VALUES (?, ?, 'accounts', ?, ?, ?)"
        database.run(insert, host, user, key, kind, text)


def hashed(stored: Scram, iterations: float | None = None) -> dict[str, object]:
    return {
        "salt": stored.salt.decode(),
        "iteration_count": iterations or stored.iterations,
        "stored_key": stored.stored_key.hex(),
        "server_key": stored.server_key.hex(),
    }


SALT = b"0b6f4d5e-62ab-4f3c-a2fc-94c8d0a2fa57"
