"""`extauth-sql` on ejabberd's and Prosody's tables, with rows as these servers write them."""

import base64
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import canary
from support.components import extra

extra("sql", "sqlalchemy")

import sqlalchemy as sa  # noqa: E402

from bridge.programs import sqlusers  # noqa: E402
from bridge.programs.hashes import Cost, Scheme, Scram, Scrypt  # noqa: E402
from bridge.programs.sqlconnection import Connection, Forbidden  # noqa: E402
from bridge.programs.sqlrows import Account, Clear, Example, Plain, make  # noqa: E402
from bridge.programs.sqltables import Ejabberd, Own, Prosody, Table  # noqa: E402
from bridge.programs.sqlurl import address  # noqa: E402
from bridge.programs.sqlusers import SqlUsers, Ways, matching  # noqa: E402
from bridge.programs.users import BrokenUser, Unavailable  # noqa: E402

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


@pytest.fixture
def database(tmp_path: Path) -> Database:
    path = tmp_path / "server.db"
    canary.knows(path, "servers may store passwords as they are")
    return Database(path)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def scram(algorithm: str = "SHA-1", iterations: int = 4096, salt: bytes | None = None) -> Scram:
    return Scram.of(SECRET, Scheme(algorithm, iterations), salt)


def scram_row(stored: Scram, prefix: str = "") -> tuple[object, ...]:
    """password, serverkey, salt, iterationcount."""
    return prefix + b64(stored.stored_key), b64(stored.server_key), b64(stored.salt), stored.iterations


# --- ejabberd ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "prefix"), [("SHA-1", ""), ("SHA-256", "sha256:"), ("SHA-512", "sha512:")])
def test_ejabberds_rows_of_before_there_was_a_type(database: Database, algorithm: str, prefix: str) -> None:
    database.script(NEW)
    row = scram_row(scram(algorithm), prefix)
    database.run("INSERT INTO users VALUES ('alice', ?, ?, ?, ?, ?, 0)", HOST, *row)
    with database.users(Ejabberd(None), write=False) as users:
        assert users.check("alice", HOST, SECRET)
        assert not users.check("alice", HOST, SECRET + "2")
        assert not users.check("alice", "example.org", SECRET)
        assert not users.check("ALICE", HOST, SECRET)
        assert not users.change("alice", HOST, SECRET + "2")
        assert not users.add("bob", HOST, SECRET)
        assert not users.remove("alice", HOST)
        assert not users.remove_checked("alice", HOST, SECRET)
    assert database.run("SELECT password, serverkey, salt, iterationcount FROM users") == [row]


@pytest.mark.parametrize(("algorithm", "number"), [("SHA-1", 2), ("SHA-256", 3), ("SHA-512", 4)])
def test_ejabberds_rows_with_a_type(database: Database, algorithm: str, number: int) -> None:
    database.script(TYPED)
    insert = "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?, 0)"
    database.run(insert, "alice", HOST, number, *scram_row(scram(algorithm)))
    database.run(insert, "alice", HOST, 1, SECRET + "2", "", "", 0)
    database.run(insert, "bob", HOST, 0, *scram_row(scram("SHA-256"), "sha256:"))  # not yet converted
    with database.users(Ejabberd(None)) as users:
        assert users.check("alice", HOST, SECRET)
        assert users.check("alice", HOST, SECRET + "2")
        assert users.check("bob", HOST, SECRET)
        assert not users.check("bob", HOST, SECRET + "2")
        assert users.names() == [("alice", HOST), ("bob", HOST)]
        assert users.change("alice", HOST, SECRET + "3")
        assert not users.check("alice", HOST, SECRET)
        assert not users.check("alice", HOST, SECRET + "2")
        assert users.check("alice", HOST, SECRET + "3")
    assert len(database.run("SELECT * FROM users WHERE username = 'alice'")) == 1


def test_ejabberds_plain_rows_of_one_host(database: Database) -> None:
    database.script(OLD)
    database.run("INSERT INTO users (username, password) VALUES ('alice', ?)", SECRET)
    with database.users(Ejabberd(HOST), host=HOST) as users:
        assert users.check("alice", HOST, SECRET)
        assert not users.check("alice", HOST, SECRET + "2")
        assert not users.check("alice", "example.org", SECRET)
        assert not users.exists("alice", "example.org")
        assert not users.add("bob", "example.org", SECRET)
        assert users.add("bob", HOST, SECRET)
        assert users.names() == [("alice", HOST), ("bob", HOST)]
    assert database.run("SELECT password, serverkey, iterationcount FROM users") == [(SECRET, "", 0)] * 2


def test_ejabberds_table_without_hosts_has_to_be_told_one(database: Database) -> None:
    database.script(OLD)
    with database.users(Ejabberd(None)) as users, pytest.raises(Unavailable, match="--host"):
        users.exists("alice", HOST)


def test_another_table_is_not_ejabberds(database: Database) -> None:
    database.script("CREATE TABLE users (name TEXT)")
    with database.users(Ejabberd(HOST)) as users, pytest.raises(Unavailable, match="not ejabberd's"):
        users.exists("alice", HOST)


@pytest.mark.parametrize("schema", [NEW, TYPED])
@pytest.mark.parametrize("kind", [Scheme("SHA-1", 4096), Scheme("SHA-256", 4096), Scheme("SHA-512", 4096), Clear()])
def test_what_is_written_for_ejabberd_is_what_it_writes(database: Database, schema: str, kind: Scheme | Clear) -> None:
    database.script(schema)
    with database.users(Ejabberd(None), form=kind) as users:
        assert users.add("alice", HOST, SECRET)
        assert not users.add("alice", HOST, SECRET)
        assert users.change("alice", HOST, SECRET + "2")
        assert users.check("alice", HOST, SECRET + "2")
        assert not users.check("alice", HOST, SECRET)
    [(password, server, salt, iterations)] = database.run("SELECT password, serverkey, salt, iterationcount FROM users")
    if isinstance(kind, Clear):
        assert (password, server, salt, iterations) == (SECRET + "2", "", "", 0)
        return
    salted = base64.b64decode(str(salt))
    prefix = "" if schema == TYPED or kind.algorithm == "SHA-1" else kind.algorithm.replace("-", "").lower() + ":"
    expected = Scram.of(SECRET + "2", kind, salted)
    assert (password, server, iterations) == (prefix + b64(expected.stored_key), b64(expected.server_key), 4096)
    if schema == TYPED:
        assert database.run("SELECT type FROM users") == [({"SHA-1": 2, "SHA-256": 3, "SHA-512": 4}[kind.algorithm],)]


def test_each_host_of_a_server_may_have_another_form(database: Database) -> None:
    database.script(PROSODY)
    prosody_rows(database, "bob", {"password": SECRET}, host="plain.example")
    for number in range(3):
        prosody_rows(database, f"user{number}", hashed(scram("SHA-256", 5000, SALT)), host="hashed.example")
    prosody_rows(database, "dave", hashed(scram("SHA-1", 4096, SALT)), host="hashed.example")
    with database.users(Prosody()) as users:
        for host in ("plain.example", "hashed.example", "new.example"):
            assert users.add("alice", host, SECRET)
        for user, host in (("bob", "plain.example"), ("dave", "hashed.example")):
            assert users.change(user, host, SECRET + "2")
            assert users.check(user, host, SECRET + "2")
    query = "SELECT user, host, key, length(value) FROM prosody WHERE key IN ('password', 'stored_key') AND user = ?"
    assert sorted(database.run(query, "alice")) == [
        ("alice", "hashed.example", "stored_key", 64),
        ("alice", "new.example", "stored_key", 64),
        ("alice", "plain.example", "password", len(SECRET)),
    ]
    assert database.run(query, "bob") == [("bob", "plain.example", "password", len(SECRET) + 1)]
    assert database.run(query, "dave") == [("dave", "hashed.example", "stored_key", 40)]


def test_new_passwords_are_kept_as_most_are(database: Database) -> None:
    database.script(NEW)
    for number in range(3):
        row = scram_row(scram("SHA-256", 5000), "sha256:") if number else (SECRET, "", "", 0)
        database.run("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, 0)", f"user{number}", HOST, *row)
    with database.users(Ejabberd(None)) as users:
        assert users.add("alice", HOST, SECRET)
    [(password, iterations)] = database.run("SELECT password, iterationcount FROM users WHERE username = 'alice'")
    assert (str(password)[:7], iterations) == ("sha256:", 5000)


def test_no_new_password_is_stored_as_nobody_said(database: Database) -> None:
    class TooLarge(Ejabberd):
        def kinds(self, connection: sa.Connection) -> list[Example]:
            raise Unavailable("a timeout")

    database.script(NEW)
    with SqlUsers(address(f"sqlite:///{database.path}"), Ways(TooLarge(None))) as users:
        assert users.look() == "a timeout"
        assert users.look() == "", "not again so soon"
        with pytest.raises(BrokenUser, match="--format"):
            users.add("alice", HOST, SECRET)
    with database.users(TooLarge(None), form=Clear()) as users:
        assert users.add("alice", HOST, SECRET)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_hash_without_the_rest_is_no_password(database: Database, number: int) -> None:
    """Or whoever has read it could log in with it."""
    stored = str(scram_row(scram())[0])
    database.script(TYPED)
    insert = "INSERT INTO users VALUES (?, ?, ?, ?, '', '', ?, 0)"
    database.run(insert, "alice", HOST, number, stored, 0)
    with database.users(Ejabberd(None)) as users, pytest.raises(BrokenUser):
        users.check("alice", HOST, stored)


@pytest.mark.parametrize("salt", ["?", "", "é"])
def test_ejabberds_broken_rows(database: Database, salt: str) -> None:
    database.script(NEW)
    database.run("INSERT INTO users VALUES ('alice', ?, 'x', 'y', ?, 4096, 0)", HOST, salt)
    with database.users(Ejabberd(None)) as users:
        assert users.exists("alice", HOST)
        with pytest.raises(BrokenUser):
            users.check("alice", HOST, SECRET)


# --- Prosody ----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("algorithm", ["SHA-1", "SHA-256"])
@pytest.mark.parametrize("iterations", [4096, 4096.0])
def test_prosodys_hashed_accounts(database: Database, algorithm: str, iterations: float) -> None:
    database.script(PROSODY)
    prosody_rows(database, "alice", hashed(scram(algorithm, 4096, SALT), iterations))
    database.run("INSERT INTO prosody VALUES (?, 'bob', 'roster', '', 'json', '{}')", HOST)
    with database.users(Prosody(), write=False) as users:
        assert users.check("alice", HOST, SECRET)
        assert not users.check("alice", HOST, SECRET + "2")
        assert not users.check("alice", "example.org", SECRET)
        assert not users.exists("bob", HOST)
        assert users.names() == [("alice", HOST)]
        assert not users.add("bob", HOST, SECRET)


def test_prosodys_plain_accounts(database: Database) -> None:
    database.script(PROSODY)
    prosody_rows(database, "alice", {"password": SECRET})
    prosody_rows(database, "bob", {"password": SECRET + "2", **hashed(scram("SHA-1", 4096, SALT))})
    with database.users(Prosody()) as users:
        assert users.check("alice", HOST, SECRET)
        assert not users.check("alice", HOST, SECRET + "2")
        assert users.check("bob", HOST, SECRET + "2")
        assert not users.check("bob", HOST, SECRET), "Prosody, too, prefers the password"


def test_prosodys_disabled_accounts(database: Database) -> None:
    database.script(PROSODY)
    prosody_rows(database, "alice", {"password": SECRET, "disabled": True})
    prosody_rows(database, "bob", {"password": SECRET, "disabled": False})
    with database.users(Prosody()) as users:
        assert not users.check("alice", HOST, SECRET)
        assert users.exists("alice", HOST)
        assert users.check("bob", HOST, SECRET)


@pytest.mark.parametrize("kind", [Scheme("SHA-1", 4096), Scheme("SHA-256", 4096), Clear()])
def test_what_is_written_for_prosody_is_what_it_writes(database: Database, kind: Scheme | Clear) -> None:
    database.script(PROSODY)
    prosody_rows(database, "alice", {"password": SECRET + "1", "created": 17, **hashed(scram(salt=SALT))})
    with database.users(Prosody(), form=kind) as users:
        assert users.change("alice", HOST, SECRET)
        assert users.check("alice", HOST, SECRET)
        assert not users.check("alice", HOST, SECRET + "1")
        assert users.add("bob", HOST, SECRET)
        assert not users.add("bob", HOST, SECRET)
        found = dict(database.run("SELECT key, value FROM prosody WHERE user = 'alice'"))
        assert found.pop("created") == "17"
        if isinstance(kind, Clear):
            assert found == {"password": SECRET}
        else:
            assert found == {
                key: str(value)
                for key, value in hashed(scram(kind.algorithm, 4096, str(found["salt"]).encode())).items()
            }
        assert users.remove("alice", HOST)
        assert users.remove_checked("bob", HOST, SECRET)
    assert database.run("SELECT * FROM prosody") == []


def test_types_of_prosodys_values(database: Database) -> None:
    database.script(PROSODY)
    with database.users(Prosody()) as users:
        assert users.add("alice", HOST, SECRET)
    found = dict(database.run("SELECT key, type FROM prosody"))
    assert found == {"salt": "string", "iteration_count": "number", "stored_key": "string", "server_key": "string"}


# --- What holds for all of them ---------------------------------------------------------------------------------


def test_a_collation_that_takes_two_names_for_one(database: Database) -> None:
    database.script(NEW.replace("username text NOT NULL", "username text NOT NULL COLLATE NOCASE"))
    database.run("INSERT INTO users VALUES ('alice', ?, ?, '', '', 0, 0)", HOST, SECRET)
    with database.users(Ejabberd(None)) as users:
        assert users.check("alice", HOST, SECRET)
        assert not users.check("Alice", HOST, SECRET)
        assert not users.exists("Alice", HOST)
        for change in (users.change, users.add, users.remove_checked):
            with contextlib.suppress(BrokenUser):
                assert not change("Alice", HOST, SECRET)
        with contextlib.suppress(BrokenUser):
            assert not users.remove("Alice", HOST)
        assert users.check("alice", HOST, SECRET)
        assert users.names() == [("alice", HOST)]


def test_a_row_that_was_changed_meanwhile_is_not_removed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.script(NEW)
    database.run("INSERT INTO users VALUES ('alice', ?, ?, '', '', 0, 0)", HOST, SECRET)
    real = sqlusers.matching

    def changed_meanwhile(*arguments: object) -> object:
        database.run("UPDATE users SET password = ?", SECRET + "2")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlusers, "matching", changed_meanwhile)
    with database.users(Ejabberd(None)) as users:
        assert not users.remove_checked("alice", HOST, SECRET)
        assert users.exists("alice", HOST)


def test_a_hash_that_could_not_be_renewed_is_renewed_later(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    later = [0.0]
    real = sqlusers.time.monotonic
    monkeypatch.setattr(sqlusers.time, "monotonic", lambda: real() + later[0])
    with database.users(Own(), cost=Cost(16, 8, 1)) as users:
        database.script("")
        users.create()
        database.run("INSERT INTO extauth_users VALUES ('alice', ?, ?)", HOST, scram().text())
        with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert users.check("alice", HOST, SECRET)
        for seconds, begins in ((0.0, "SCRAM"), (61.0, "$scry")):
            later[0] = seconds
            assert users.check("alice", HOST, SECRET)
            assert database.run("SELECT substr(hash, 1, 5) FROM extauth_users") == [(begins,)]


def test_where_nothing_may_be_changed_no_hash_is_renewed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def forbidden(*_: object) -> None:
        attempts.append(1)
        raise Forbidden("denied")

    monkeypatch.setattr(Connection, "write", forbidden)
    with database.users(Own(), cost=Cost(16, 8, 1)) as users:
        database.script("")
        users.create()
        database.run("INSERT INTO extauth_users VALUES ('alice', ?, ?)", HOST, scram().text())
        assert users.check("alice", HOST, SECRET)
        real = sqlusers.time.monotonic
        monkeypatch.setattr(sqlusers.time, "monotonic", lambda: real() + 3600)
        assert users.check("alice", HOST, SECRET)
    assert attempts == [1]


def digests(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The kinds of the hashes that are made from now on."""
    made: list[object] = []
    for one in (Cost, Scheme, Clear):
        real = one.digest
        monkeypatch.setattr(one, "digest", lambda kind, *rest, real=real: (made.append(kind), real(kind, *rest))[1])
    return made


def test_the_same_hashes_are_made_for_everybody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.script(PROSODY)
    prosody_rows(database, "alice", hashed(scram("SHA-1", 4096, SALT)))
    prosody_rows(database, "bob", hashed(scram("SHA-256", 5000, SALT)))
    prosody_rows(database, "carol", {"password": SECRET})
    expected = {Scheme("SHA-1", 4096), Scheme("SHA-256", 5000), Clear()}
    with database.users(Prosody()) as users:
        for user in ("alice", "bob", "carol", "nobody"):
            for secret in (SECRET, SECRET + "2"):
                made = digests(monkeypatch)
                users.check(user, HOST, secret)
                monkeypatch.undo()
                hashes = [kind for kind in made if kind != Clear()]
                assert sorted(map(repr, hashes)) == sorted(map(repr, expected - {Clear()}))
                assert {*made} == expected


def test_our_own_table_has_kinds_of_all_costs(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = Cost(16, 8, 1)
    stored = [Scrypt.of(SECRET, Cost(32, 8, 1)), Scrypt.of(SECRET, cheap), Scrypt.of(SECRET, Cost(16, 8, 10)), scram()]
    with database.users(Own(), cost=cheap) as users:
        database.script("")
        users.create()
        for number, one in enumerate(stored):
            database.run("INSERT INTO extauth_users VALUES (?, ?, ?)", f"user{number}", HOST, one.text())
    with database.users(Own(), cost=cheap) as users:
        made = digests(monkeypatch)
        assert not users.check("nobody", HOST, SECRET)
        assert sorted(map(repr, made)) == sorted(repr(one.kind) for one in stored)


def test_a_kind_that_was_met_is_made_for_everybody_from_then_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.script(PROSODY)
    with database.users(Prosody()) as users:
        prosody_rows(database, "alice", hashed(scram("SHA-1", 4096, SALT)))
        assert users.check("alice", HOST, SECRET)
        made = digests(monkeypatch)
        assert not users.check("nobody", HOST, SECRET)
        assert Scheme("SHA-1", 4096) in made


def test_kinds_are_looked_for_seldom(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(sqlusers.time, "monotonic", lambda: now[0])
    looks: list[float] = []  # when each began

    class Slow(Prosody):
        def kinds(self, connection: sa.Connection) -> list[Example]:
            looks.append(now[0])
            now[0] += 1.5
            return []

    database.script(PROSODY)
    with database.users(Slow()) as users:
        for _ in range(400):
            users.look()
            now[0] += 10
    assert len(looks) == 3
    assert looks[1] - looks[0] >= 1.5 * sqlusers.SHARE


def test_a_new_password_has_a_new_salt() -> None:
    kinds = (Cost(16, 8, 1), Scheme("SHA-1", 4096))
    assert all(make(kind, SECRET) != make(kind, SECRET) for kind in kinds)
    assert matching(SECRET, [make(kinds[0], SECRET), Plain(SECRET)], kinds, kinds[0])[0] is not None


def test_no_representation_shows_a_password() -> None:
    assert SECRET not in repr(Account((Plain(SECRET),)))
    assert SECRET not in repr(address(f"postgresql://xmpp:{SECRET}@db/xmpp"))
