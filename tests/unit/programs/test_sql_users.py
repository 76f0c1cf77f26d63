"""What holds for the users of all tables: names that are taken for one, changes meanwhile, the time of a check."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from support import canary
from support.components import extra

extra("sql", "sqlalchemy")

import sqlalchemy as sa  # noqa: E402
from support.databases.onfile import HOST, NEW, PROSODY, SALT, SECRET, Database, hashed, prosody_rows, scram  # noqa: E402

from bridge.programs import sqlusers  # noqa: E402
from bridge.programs.hashes import Cost, Scheme, Scrypt  # noqa: E402
from bridge.programs.sqlconnection import Connection, Forbidden  # noqa: E402
from bridge.programs.sqlrows import Account, Clear, Example, Plain, make  # noqa: E402
from bridge.programs.sqltables import Ejabberd, Own, Prosody  # noqa: E402
from bridge.programs.sqlurl import address  # noqa: E402
from bridge.programs.sqlusers import matching  # noqa: E402
from bridge.programs.users import BrokenUser  # noqa: E402


@pytest.fixture
def database(tmp_path: Path) -> Database:
    path = tmp_path / "server.db"
    canary.knows(path, "servers may store passwords as they are")
    return Database(path)


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
