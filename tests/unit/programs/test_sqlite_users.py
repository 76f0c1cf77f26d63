"""The store behind `extauth-sqlite`, used as a library: hashes, files, and what `--demo` relies on."""

import hashlib
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.programs import users
from bridge.programs.users import Cost, Unavailable, Users

CHEAP = Cost(n=2**4, r=8, p=1)
SECRET = "hunter2:land"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "COST", CHEAP)


def stored(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT user, n, r, p, salt, hash FROM users ORDER BY user").fetchall()
    finally:
        connection.close()


def test_equal_passwords_have_different_rows_and_are_nowhere_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    with Users(path) as store:
        assert store.add("alice", "example.com", SECRET)
        assert store.add("bob", "example.com", SECRET)
        alice, bob = stored(path)
        assert alice[1:4] == bob[1:4] == (2**4, 8, 1)
        assert alice[4] != bob[4]
        assert alice[5] != bob[5]
        for file in tmp_path.iterdir():
            assert SECRET.encode() not in file.read_bytes()


def test_a_new_password_has_a_new_salt(tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    with Users(path) as store:
        store.add("alice", "example.com", SECRET)
        before = stored(path)
        assert store.change("alice", "example.com", SECRET)
        after = stored(path)
    assert before[0][4] != after[0][4]
    assert before[0][5] != after[0][5]


def test_old_hashes_stay_valid_when_the_cost_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Users(tmp_path / "users.db") as store:
        store.add("alice", "example.com", SECRET)
        monkeypatch.setattr(users, "COST", Cost(n=2**5, r=4, p=2))
        assert store.check("alice", "example.com", SECRET)
        assert not store.check("alice", "example.com", "wrong")
        store.change("alice", "example.com", SECRET)
        assert store.check("alice", "example.com", SECRET)
        assert not store.check("alice", "example.com", "wrong")
    assert stored(tmp_path / "users.db")[0][1:4] == (2**5, 4, 2)


@pytest.mark.parametrize("cost", [Cost(n=2**16, r=8, p=1), Cost(n=2**4, r=8, p=2**13)])
def test_costs_beyond_the_default_memory_limit(cost: Cost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """64 MiB, and one that needs more for p than for n: OpenSSL's default limit is 32 MiB."""
    monkeypatch.setattr(users, "COST", cost)
    with Users(tmp_path / "users.db") as store:
        assert store.add("alice", "example.com", SECRET)
        assert store.check("alice", "example.com", SECRET)


def test_an_unknown_user_costs_the_same_time_as_a_wrong_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "COST", Cost(n=2**13, r=8, p=1))
    with Users(tmp_path / "users.db") as store:
        store.add("alice", "example.com", SECRET)

        def seconds(user: str) -> float:
            begun = time.thread_time()  # of the CPU: how long others keep it from us is not ours
            assert not store.check(user, "example.com", "wrong")
            return time.thread_time() - begun

        pairs = [(seconds("alice"), seconds("nobody")) for _ in range(5)]
        wrong, unknown = map(min, zip(*pairs, strict=True))
    assert unknown > wrong / 2
    assert wrong > unknown / 2


def test_removal_needs_the_password_that_is_still_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the check and the removal another process changes the password: nothing is removed."""
    path = tmp_path / "users.db"
    with Users(path) as store, Users(path) as other:
        store.add("alice", "example.com", SECRET)
        scrypt = hashlib.scrypt

        def slow(*arguments: Any, **named: Any) -> bytes:
            digest = scrypt(*arguments, **named)
            monkeypatch.undo()
            monkeypatch.setattr(users, "COST", CHEAP)
            assert other.change("alice", "example.com", "new")
            return digest

        monkeypatch.setattr(hashlib, "scrypt", slow)
        assert not store.remove_checked("alice", "example.com", SECRET)
        assert store.exists("alice", "example.com")
        assert store.remove_checked("alice", "example.com", "new")


def test_names(tmp_path: Path) -> None:
    with Users(tmp_path / "users.db") as store:
        assert store.names() == []
        for user, host in [("bob", "b.example"), ("zoë", "a.example"), ("alice", "b.example")]:
            assert store.add(user, host, "x")
        assert store.names() == [("zoë", "a.example"), ("alice", "b.example"), ("bob", "b.example")]
        assert store.names("b.example") == [("alice", "b.example"), ("bob", "b.example")]
        assert store.names("c.example") == []


def test_it_is_in_wal_mode_and_complete_after_every_change(tmp_path: Path) -> None:
    """A plain copy, taken while others have the file open, holds everything."""
    path = tmp_path / "users.db"
    with Users(path) as store, Users(path) as other:
        store.add("alice", "example.com", SECRET)
        assert other.exists("alice", "example.com")
        assert (tmp_path / "users.db-wal").stat().st_size == 0
        store.change("alice", "example.com", "new")
        assert other.check("alice", "example.com", "new")
        shutil.copyfile(path, tmp_path / "backup.db")
    with Users(tmp_path / "backup.db", create=False) as backup:
        assert backup.check("alice", "example.com", "new")
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_closed_store_opens_again(tmp_path: Path) -> None:
    store = Users(tmp_path / "users.db")
    store.close()
    assert store.add("alice", "example.com", SECRET)
    store.close()
    store.close()
    assert sorted(os.listdir(tmp_path)) == ["users.db"]
    assert store.exists("alice", "example.com")
    store.close()


@pytest.mark.parametrize("name", ["users.db", "a b?c#d%20.db", ":memory:", "file:x.db", "üsers.db"])
def test_every_path_is_just_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with Users(name) as store:
        assert store.add("alice", "example.com", SECRET)
        monkeypatch.chdir("/")
        assert store.exists("alice", "example.com")
    assert os.listdir(tmp_path) == [name]


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    path.touch(mode=0o644)
    with Users(path) as store:
        assert store.add("alice", "example.com", SECRET)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "users.db"
    link.symlink_to(tmp_path / "real" / "users.db")
    with Users(link) as store:
        assert store.add("alice", "example.com", SECRET)
    assert link.is_symlink()
    assert os.listdir(tmp_path / "real") == ["users.db"]


def test_what_root_makes_belongs_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(tmp_path, 12345, 23456)
    with Users(tmp_path / "users.db") as store:
        store.add("alice", "example.com", SECRET)
        assert store.exists("alice", "example.com")
        owners = {(file.stat().st_uid, file.stat().st_gid) for file in tmp_path.iterdir()}
        assert len(list(tmp_path.iterdir())) == 3
    assert owners == {(12345, 23456)}


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.exists("alice", "example.com"),
        lambda store: store.check("alice", "example.com", SECRET),
        lambda store: store.add("alice", "example.com", SECRET),
        lambda store: store.change("alice", "example.com", SECRET),
        lambda store: store.remove("alice", "example.com"),
        lambda store: store.remove_checked("alice", "example.com", SECRET),
        lambda store: store.names(),
    ],
)
def test_errors_are_one_kind_and_never_hold_a_secret(tmp_path: Path, ask: Callable[[Users], object]) -> None:
    path = tmp_path / "users.db"
    for store in (Users(path, create=False), Users(tmp_path), Users(tmp_path / "no" / "users.db")):
        with pytest.raises(Unavailable) as caught:
            ask(store)
        assert SECRET not in repr(caught.value) + repr(caught.value.__cause__) + repr(store)
        assert "\n" not in str(caught.value)
    assert not path.exists()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE things (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with Users(path) as store, pytest.raises(Unavailable, match="no such table: users"):
        store.add("alice", "example.com", SECRET)
    assert path.read_bytes() == before


def test_a_failure_while_it_is_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "SCHEMA", "CREATE TABLE users (user TEXT); no SQL;")
    with Users(tmp_path / "users.db") as store:
        with pytest.raises(Unavailable):
            store.add("alice", "example.com", SECRET)
        assert os.listdir(tmp_path) == []
        monkeypatch.undo()
        monkeypatch.setattr(users, "COST", CHEAP)
        assert store.add("alice", "example.com", SECRET)
