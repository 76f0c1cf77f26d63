"""The tables in which users are: the program's own, ejabberd's with and without hosts, Prosody's; and rows for them.

ejabberd's are made by the files that Debian's ejabberd has for that; how Prosody makes its own is said here.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from support.components import missing
from support.databases.program import Program, manage
from support.databases.server import LOGIN, Server

HOST = "example.com"

NAMES = {"own": "extauth_users", "ejabberd": "users", "ejabberd_hosts": "users", "prosody": "prosody"}
"""The tables, by what they are called here."""

QUICK = ["--scrypt", "4,8,1"]
"""Hashes of the program's own that cost nothing: thousands are made."""

PROSODY = {
    "postgresql": """CREATE TABLE prosody ("host" TEXT NOT NULL, "user" TEXT NOT NULL, "store" TEXT NOT NULL,
        "key" TEXT NOT NULL, "type" TEXT NOT NULL, "value" TEXT NOT NULL);
        CREATE INDEX prosody_index ON prosody ("host", "user", "store", "key");""",
    "mariadb": """CREATE TABLE prosody (host TEXT NOT NULL, user TEXT NOT NULL, store TEXT NOT NULL,
        `key` TEXT NOT NULL, type TEXT NOT NULL, value MEDIUMTEXT NOT NULL)
        CHARACTER SET 'utf8mb4' COLLATE 'utf8mb4_bin';
        CREATE INDEX prosody_index ON prosody (host(20), user(20), store(20), `key`(20));""",
}


class Scram(NamedTuple):
    """What a server keeps of a password (RFC 5802)."""

    algorithm: str
    salt: bytes
    stored: bytes
    server: bytes
    iterations: int


def scram(secret: str, algorithm: str, iterations: int = 32) -> Scram:
    """A hash to be compared; one that is hard to guess would have more iterations."""
    salt = b"salt of 16 bytes"
    salted = hashlib.pbkdf2_hmac(algorithm, secret.encode(), salt, iterations)
    stored = hashlib.new(algorithm, hmac.digest(salted, b"Client Key", algorithm)).digest()
    return Scram(algorithm, salt, stored, hmac.digest(salted, b"Server Key", algorithm), iterations)


class Place:
    """A table that holds users, and programs that use it.

    Args:
      database: an empty one of the server; or one with the program's `own` table, if it is `made`.
      table: `own`, `ejabberd`, `ejabberd_hosts` (its newer form), or `prosody`.

    Attributes:
      reading, writing: URL and options for a program that may change nothing of a foreign table, or all.
    """

    def __init__(self, server: Server, database: str, table: str, *, made: bool = False) -> None:
        self.server = server
        self.database = database
        self.table = table
        self.name = NAMES[table]
        options = {
            "own": QUICK,
            "ejabberd": ["--table", "ejabberd", "--host", HOST],
            "ejabberd_hosts": ["--table", "ejabberd"],
            "prosody": ["--table", "prosody"],
        }[table]
        self.reading = [server.url(database), *options]
        self.writing = [*self.reading, *["--write"] * (table != "own")]
        self._programs: dict[str, Program] = {}
        if not made:
            self._make()

    def _make(self) -> None:
        if self.table == "own":
            done = manage(*self.writing, "createtable")
            assert done.returncode == 0, done.stderr
            return
        statement = PROSODY[self.server.kind] if self.table == "prosody" else _ejabberd(self.server.kind, self.table)
        role = f"SET ROLE {LOGIN};" if self.server.kind == "postgresql" else ""  # whose table it is
        self.sql(role + statement)

    # --- programs ----------------------------------------------------------------------------------------

    def writer(self, number: int = 1) -> Program:
        """A program that may change what is there; the same for all tests, until it ends."""
        return self._program(f"writer {number}", self.writing)

    def reader(self) -> Program:
        """A program that may not."""
        return self._program("reader", self.reading)

    def _program(self, name: str, words: list[str]) -> Program:
        if name in self._programs and not self._programs[name].lives():
            self._programs.pop(name).close()
        if name not in self._programs:
            self._programs[name] = Program(*words)
        return self._programs[name]

    def clear(self) -> None:
        """Remove all users and the programs that have ended; the others have said nothing that they must not."""
        self.sql(f"DELETE FROM {self.name};")
        for name, program in list(self._programs.items()):
            program.said()
            if not program.lives():
                self._programs.pop(name).close()

    def close(self) -> None:
        for program in self._programs.values():
            program.close()

    # --- rows --------------------------------------------------------------------------------------------

    def sql(self, statements: str) -> list[list[str]]:
        """Execute these behind the programs' back; returns their rows, as text."""
        return self.server.sql(statements, self.database)

    def rows(self) -> list[list[str]]:
        return sorted(self.sql(f"SELECT * FROM {self.name};"))

    def put(self, users: Mapping[str, str | Scram], host: str = HOST) -> None:
        """Have users in a foreign table, as its server keeps them: with the password, or a hash of it."""
        insert = self._prosody if self.table == "prosody" else self._ejabberd
        self.sql("\n".join(insert(user, secret, host) for user, secret in users.items()))

    def put_prosody(
        self, user: str, key: str, kind: str, value: str, *, host: str = HOST, store: str = "accounts"
    ) -> None:
        """One of Prosody's rows."""
        self.sql(f"INSERT INTO prosody VALUES ({self._literals(host, user, store, key, kind, value)});")

    def _prosody(self, user: str, secret: str | Scram, host: str) -> str:
        if isinstance(secret, str):
            values = [("password", "string", secret)]
        else:
            values = [
                ("stored_key", "string", secret.stored.hex()),
                ("server_key", "string", secret.server.hex()),
                ("salt", "string", secret.salt.decode()),
                ("iteration_count", "number", str(secret.iterations)),
            ]
        rows = [f"({self._literals(host, user, 'accounts', *value)})" for value in values]
        return f"INSERT INTO prosody VALUES {', '.join(rows)};"

    def _ejabberd(self, user: str, secret: str | Scram, host: str) -> str:
        values = {"username": user, "iterationcount": "0"}
        if self.table == "ejabberd_hosts":
            values["server_host"] = host
        if isinstance(secret, str):
            values["password"] = secret
        else:
            prefix = {"sha1": "", "sha256": "sha256:", "sha512": "sha512:"}[secret.algorithm]
            values["password"] = prefix + base64.b64encode(secret.stored).decode()
            values["serverkey"] = base64.b64encode(secret.server).decode()
            values["salt"] = base64.b64encode(secret.salt).decode()
            values["iterationcount"] = str(secret.iterations)
        return f"INSERT INTO users ({', '.join(values)}) VALUES ({self._literals(*values.values())});"

    def _literals(self, *texts: str) -> str:
        quoted = [text.replace("'", "''") for text in texts]
        if self.server.kind == "mariadb":
            quoted = [text.replace("\\", "\\\\") for text in quoted]
        return ", ".join(f"'{text}'" for text in quoted)


def _ejabberd(kind: str, table: str) -> str:
    """How one of Debian's files makes the table of users."""
    name = {"postgresql": "pg", "mariadb": "mysql"}[kind] + ".new" * (table == "ejabberd_hosts")
    file = Path(f"/usr/share/ejabberd/sql/{name}.sql")
    if not file.exists():
        missing(str(file), "ejabberd")
    found = re.search(r"^CREATE TABLE users \(.*?;$", file.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[0]
