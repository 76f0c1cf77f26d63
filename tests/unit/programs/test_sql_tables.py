"""`extauth-sql` on ejabberd's and Prosody's tables, with rows as these servers write them."""

import base64
from pathlib import Path

import pytest
from support import canary
from support.components import extra

extra("sql", "sqlalchemy")

import sqlalchemy as sa  # noqa: E402
from support.databases.onfile import (  # noqa: E402
    HOST,
    NEW,
    OLD,
    PROSODY,
    SALT,
    SECRET,
    TYPED,
    Database,
    b64,
    hashed,
    prosody_rows,
    scram,
    scram_row,
)

from bridge.programs.hashes import Scheme, Scram  # noqa: E402
from bridge.programs.sqlrows import Clear, Example  # noqa: E402
from bridge.programs.sqltables import Ejabberd, Prosody  # noqa: E402
from bridge.programs.sqlurl import address  # noqa: E402
from bridge.programs.sqlusers import SqlUsers, Ways  # noqa: E402
from bridge.programs.users import BrokenUser, Unavailable  # noqa: E402


@pytest.fixture
def database(tmp_path: Path) -> Database:
    path = tmp_path / "server.db"
    canary.knows(path, "servers may store passwords as they are")
    return Database(path)


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
