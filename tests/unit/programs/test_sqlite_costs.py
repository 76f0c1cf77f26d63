"""Hashes of several costs in one file: a check's time never shows who is a user, and old hashes are renewed."""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.programs.bundled import be_patient

from bridge.programs import users
from bridge.programs.users import Cost, Unavailable, Users

TODAY = Cost(n=2**6, r=8, p=2)
OLD = Cost(n=2**5, r=8, p=1)
OLDER = Cost(n=2**4, r=4, p=3)
OTHER = Cost(n=2**5, r=8, p=4)  # the same work as today's
HIGH = Cost(n=2**7, r=8, p=1)
HIGHER = Cost(n=2**6, r=8, p=3)
SECRET, WRONG, HOST = "hunter2:land", "wrong", "example.com"

Row = tuple[int, int, int, bytes, bytes]


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "COST", TODAY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.db"


@pytest.fixture
def store(path: Path) -> Iterator[Users]:
    with Users(path) as store:
        assert store.add("today", HOST, SECRET)
        yield store


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[Cost]:
    """What is hashed."""
    made: list[Cost] = []
    scrypt = hashlib.scrypt

    def counted(secret: bytes, **named: Any) -> bytes:
        made.append(Cost(named["n"], named["r"], named["p"]))
        return scrypt(secret, **named)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    return made


def put(path: Path, user: str, cost: Cost) -> None:
    """Store a user as another version of the program would have."""
    salt = os.urandom(16)
    digest = hashlib.scrypt(SECRET.encode(), salt=salt, n=cost.n, r=cost.r, p=cost.p, dklen=32)
    run(path, "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?)", user, HOST, *cost, salt, digest)


def run(path: Path, sql: str, *values: object) -> list[Any]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def row(path: Path, user: str) -> Row:
    (found,) = run(path, "SELECT n, r, p, salt, hash FROM users WHERE user = ?", user)
    return found


@pytest.mark.parametrize(
    "costs",
    [[], [OLD], [OTHER], [HIGH], [OLD, HIGH], [OLDER, OLD, OTHER]],
    ids=["one cost", "lower", "equal", "higher", "lower and higher", "three more"],
)
@pytest.mark.parametrize("way", [Users.check, Users.remove_checked], ids=["check", "remove"])
def test_every_check_makes_the_same_hashes_in_the_same_order(
    store: Users, path: Path, work: list[Cost], costs: list[Cost], way: Callable[[Users, str, str, str], bool]
) -> None:
    """For an unknown user, a wrong and a right secret, whatever the stored hash's cost."""
    for number, cost in enumerate(costs):
        put(path, f"u{number}", cost)
        put(path, f"keeps{number}", cost)  # so that the cost is there until the end
    names = ["nobody", "today", *(f"u{number}" for number in range(len(costs)))]
    made: list[list[Cost]] = []
    for name in names:
        for secret in (WRONG, SECRET) if name != "nobody" else (WRONG,):
            work.clear()
            assert way(store, name, HOST, secret) == (secret == SECRET)
            made.append([*work])
    assert made == [made[0]] * len(made)
    assert sorted(made[0]) == sorted([TODAY, *costs]), "one of each"


def test_a_cost_that_another_process_brings_counts_at_once(store: Users, path: Path, work: list[Cost]) -> None:
    assert not store.check("nobody", HOST, WRONG)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN")
    holder.execute("SELECT 1 FROM users").fetchall()  # a reader: the change stays in SQLite's log, apart from the file
    put(path, "old", OLD)
    work.clear()
    assert not store.check("nobody", HOST, WRONG)
    assert work == [TODAY, OLD]
    holder.close()
    assert store.remove("old", HOST)
    work.clear()
    assert not store.check("nobody", HOST, WRONG)
    assert work == [TODAY]


def test_no_check_costs_more_than_is_in_time(store: Users, path: Path, work: list[Cost]) -> None:
    """Costs beyond that affect only their own user, as do invalid ones."""
    huge = Cost(n=2**9, r=8, p=1)  # four times today's
    for user, cost in {"huge": huge, "old": OLD, "high": HIGH, "higher": HIGHER}.items():
        put(path, user, cost)
    work.clear()
    assert not store.check("nobody", HOST, WRONG)
    assert work == [TODAY, OLD, HIGH, HIGHER]
    assert store.check("huge", HOST, SECRET)
    assert not store.check("huge", HOST, WRONG)


@pytest.mark.parametrize("broken", ["n = 3", "n = -2", "r = 0", "p = 1 << 40", "n = 'x'", "r = x'00'", "n = 2.5"])
def test_a_broken_cost_is_nobody_elses_trouble(store: Users, path: Path, work: list[Cost], broken: str) -> None:
    put(path, "alice", OLD)
    run(path, f"UPDATE users SET {broken} WHERE user = 'alice'")
    for secret in (WRONG, SECRET):
        with pytest.raises(Unavailable, match="it is broken") as caught:
            store.check("alice", HOST, secret)
        assert secret not in str(caught.value)
    assert store.check("today", HOST, SECRET)
    assert not store.check("nobody", HOST, WRONG)
    assert TODAY in work


@pytest.mark.parametrize("cost", [OLD, OLDER])
def test_a_good_login_renews_a_cheap_hash(store: Users, path: Path, work: list[Cost], cost: Cost) -> None:
    put(path, "alice", cost)
    before = row(path, "alice")
    assert not store.check("alice", HOST, WRONG)
    assert row(path, "alice") == before
    assert store.check("alice", HOST, SECRET)
    after = row(path, "alice")
    assert after[:3] == TODAY
    assert after[3] != before[3]
    assert after[4] != before[4]
    work.clear()
    assert store.check("alice", HOST, SECRET)
    assert not store.check("alice", HOST, WRONG)
    assert work == [TODAY] * 2, "the old cost is gone"
    assert row(path, "alice") == after, "once"


@pytest.mark.parametrize("cost", [TODAY, OTHER, HIGH])
def test_other_hashes_stay(store: Users, path: Path, cost: Cost) -> None:
    """Two versions that share a file do not renew each other's hashes, and no hash gets cheaper."""
    put(path, "alice", cost)
    before = row(path, "alice")
    assert store.check("alice", HOST, SECRET)
    assert row(path, "alice") == before


@pytest.mark.parametrize("meanwhile", ["UPDATE users SET hash = x'00' WHERE user = 'alice'", "DELETE FROM users"])
def test_what_was_changed_meanwhile_is_not_renewed(
    store: Users, path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    put(path, "alice", OLD)
    after_a_hash(monkeypatch, lambda: run(path, meanwhile))
    assert store.check("alice", HOST, SECRET), "it was when it was looked at"
    rows = run(path, "SELECT hash FROM users WHERE user = 'alice'")
    assert rows in ([(b"\0",)], [])


def test_a_removal_finds_what_a_login_has_renewed_meanwhile(
    store: Users, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(path, "alice", OLD)
    with Users(path) as other:
        after_a_hash(monkeypatch, lambda: other.check("alice", HOST, SECRET))
        assert store.remove_checked("alice", HOST, SECRET)
    assert not store.exists("alice", HOST)


def after_a_hash(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have another process do something while the first hash is made."""
    scrypt = hashlib.scrypt

    def once(secret: bytes, **named: Any) -> bytes:
        monkeypatch.setattr(hashlib, "scrypt", scrypt)
        happens()
        return scrypt(secret, **named)

    monkeypatch.setattr(hashlib, "scrypt", once)


def test_a_renewal_that_cannot_be_stored_is_no_wrong_secret(store: Users, path: Path) -> None:
    """While another process writes: a renewal waits less than a change does, and is done later."""
    put(path, "alice", OLD)
    before = row(path, "alice")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    assert store.check("alice", HOST, SECRET)
    assert time.monotonic() - begun < users.BUSY_TIMEOUT
    assert not store.check("alice", HOST, WRONG)
    other.execute("ROLLBACK")
    other.close()
    assert row(path, "alice") == before
    assert store.check("alice", HOST, SECRET)
    assert row(path, "alice")[:3] == TODAY


def test_nor_where_nothing_can_be_written(store: Users, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only file or file system; root may write to any read-only file."""
    put(path, "alice", OLD)
    before = row(path, "alice")
    set_wait = users._set_wait

    def read_only(connection: sqlite3.Connection, seconds: float) -> None:
        connection.execute("PRAGMA query_only = 1")
        set_wait(connection, seconds)

    monkeypatch.setattr(users, "_set_wait", read_only)
    with pytest.raises(Unavailable, match="readonly"):
        store.change("alice", HOST, "new")
    assert store.check("alice", HOST, SECRET)
    assert not store.check("alice", HOST, WRONG)
    assert row(path, "alice") == before


def test_many_may_renew_at_once(store: Users, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)
    for number in range(8):
        put(path, f"u{number}", OLD)

    def log_in(_: int) -> bool:
        with Users(path) as mine:
            return all(
                mine.check(f"u{number}", HOST, secret) == (secret == SECRET)
                for number in range(8)
                for secret in (WRONG, SECRET)
            )

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(log_in, range(8)))
    assert all(row(path, f"u{number}")[:3] == TODAY for number in range(8))
    assert store.check("u0", HOST, SECRET)
