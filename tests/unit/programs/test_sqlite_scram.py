"""SCRAM hashes of other servers in the file: checked by their own scheme, replaced by scrypt's, as safe as these."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import canary
from support.programs.bundled import be_patient

from bridge.programs import users
from bridge.programs.hashes import Cost, Hash, Kind, Scheme, Scram, Scrypt
from bridge.programs.users import BrokenUser, Users

TODAY = Cost(n=2**6, r=8, p=2)
OLD = Cost(n=2**5, r=8, p=1)
SHA1, SHA256, SHA512 = (Scheme(name, 5) for name in ("SHA-1", "SHA-256", "SHA-512"))
SECRET, WRONG, HOST = canary.right("alice"), "wrong", "example.com"


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "COST", TODAY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.db"


@pytest.fixture
def store(path: Path) -> Iterator[Users]:
    with Users(path) as store:
        yield store


def made(kind: Kind) -> Hash:
    return Scrypt.of(SECRET, kind) if isinstance(kind, Cost) else Scram.of(SECRET, kind)


def put(store: Users, **kinds: Kind) -> dict[str, Hash]:
    stored = {user: made(kind) for user, kind in kinds.items()}
    assert all(store.take([(user, HOST, one) for user, one in stored.items()], replace=False))
    return stored


def kept(store: Users, user: str = "alice") -> Hash:
    (found,) = [one for name, _, one in store.hashes() if name == user]
    return found


def run(path: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("kind", [SHA1, SHA256, SHA512], ids=str)
def test_a_users_life(store: Users, kind: Scheme) -> None:
    put(store, alice=kind, bob=kind)
    before = kept(store)
    assert store.exists("alice", HOST)
    assert store.names() == [("alice", HOST), ("bob", HOST)]
    assert not store.add("alice", HOST, WRONG)
    assert not store.check("alice", HOST, WRONG)
    assert not store.remove_checked("alice", HOST, WRONG)
    assert kept(store) == before
    assert store.check("alice", HOST, SECRET)
    after = kept(store)
    assert after.kind == TODAY
    assert store.check("alice", HOST, SECRET)
    assert not store.check("alice", HOST, WRONG)
    assert kept(store) == after, "once"
    assert kept(store, "bob").kind == kind
    assert store.remove_checked("bob", HOST, SECRET)
    assert store.names() == [("alice", HOST)]


def test_a_new_password_takes_its_place(store: Users) -> None:
    put(store, alice=SHA1, bob=SHA1)
    assert store.change("alice", HOST, "new")
    assert kept(store).kind == TODAY
    assert store.check("alice", HOST, "new")
    assert not store.check("alice", HOST, SECRET)
    assert store.remove("bob", HOST)
    assert not store.check("bob", HOST, SECRET)


@pytest.mark.parametrize("way", [Users.check, Users.remove_checked], ids=["check", "remove"])
def test_every_check_makes_the_same_hashes_in_the_same_order(
    store: Users, monkeypatch: pytest.MonkeyPatch, way: Callable[[Users, str, str, str], bool]
) -> None:
    """For an unknown user, a wrong and a right secret, of whatever kind the stored hash is."""
    kinds = [TODAY, OLD, SHA1, SHA256, SHA512, Scheme("SHA-1", 9)]
    put(store, **{f"u{number}": kind for number, kind in enumerate(kinds * 2)})
    work = counted(monkeypatch)
    seen: list[list[Kind]] = []
    for user in ("nobody", *(f"u{number}" for number in range(len(kinds)))):
        for secret in (WRONG, SECRET) if user != "nobody" else (WRONG,):
            work.clear()
            assert way(store, user, HOST, secret) == (secret == SECRET)
            seen.append([*work])
    assert seen == [seen[0]] * len(seen)
    assert sorted(map(str, seen[0])) == sorted(map(str, kinds)), "one of each"


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Kind]:
    """What is hashed from now on."""
    work: list[Kind] = []
    scrypt, pbkdf2 = hashlib.scrypt, hashlib.pbkdf2_hmac

    def count_scrypt(secret: bytes, **named: Any) -> bytes:
        work.append(Cost(named["n"], named["r"], named["p"]))
        return scrypt(secret, **named)

    def count_pbkdf2(name: str, secret: bytes, salt: bytes, iterations: int) -> bytes:
        work.append(Scheme(name.upper().replace("SHA", "SHA-"), iterations))
        return pbkdf2(name, secret, salt, iterations)

    monkeypatch.setattr(hashlib, "scrypt", count_scrypt)
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", count_pbkdf2)
    return work


@pytest.mark.parametrize(
    "broken", ["p = 2", "p = 'x'", "n = 0", "n = 1 << 40", "n = 'x'", "hash = x'00'", "hash = 'x'", "salt = 'x'"]
)
def test_a_broken_one_is_nobody_elses_trouble(
    store: Users, path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, alice=SHA1, bob=SHA256)
    run(path, f"UPDATE users SET {broken} WHERE user = 'alice'")
    work = counted(monkeypatch)
    for secret in (WRONG, SECRET):
        work.clear()
        with pytest.raises(BrokenUser, match="it is broken"):
            store.check("alice", HOST, secret)
        assert {TODAY, SHA256} <= {*work}, "as many hashes as for others"
    assert not store.check("nobody", HOST, WRONG)
    assert store.check("bob", HOST, SECRET)
    assert store.change("alice", HOST, SECRET), "and it can be mended"
    assert store.check("alice", HOST, SECRET)


def test_whatever_happens_at_once_a_user_has_one_hash(
    store: Users, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight processes log in, change and import the same users; each is there once, with what one of them stored."""
    be_patient(monkeypatch)
    put(store, **{f"u{number}": SHA1 for number in range(8)})

    def meddle(who: int) -> None:
        with Users(path) as mine:
            for number in range(8):
                if who % 3 == 0:
                    mine.check(f"u{number}", HOST, SECRET)
                elif who % 3 == 1:
                    mine.change(f"u{number}", HOST, SECRET)
                else:
                    mine.take([(f"u{number}", HOST, Scram.of(SECRET, SHA256))], replace=True)

    with ThreadPoolExecutor(8) as threads:
        [*threads.map(meddle, range(8))]
    assert [user for user, _ in store.names()] == [f"u{number}" for number in range(8)]
    assert all(store.check(user, host, SECRET) for user, host in store.names())
    assert not any(store.check(user, host, WRONG) for user, host in store.names())


def test_a_renewal_leaves_what_an_import_has_replaced_meanwhile(
    store: Users, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, alice=SHA1)
    new = Scram.of("other", SHA256)
    scrypt = hashlib.scrypt

    def once(secret: bytes, **named: Any) -> bytes:
        monkeypatch.setattr(hashlib, "scrypt", scrypt)
        with Users(path) as other:
            other.take([("alice", HOST, new)], replace=True)
        return scrypt(secret, **named)

    monkeypatch.setattr(hashlib, "scrypt", once)
    assert store.check("alice", HOST, SECRET), "it was when it was looked at"
    assert kept(store) == new


def test_take_stores_all_or_nothing(store: Users, path: Path) -> None:
    put(store, alice=SHA1)

    def some() -> Iterator[tuple[str, str, Hash]]:
        yield "bob", HOST, made(SHA1)
        yield "alice", HOST, made(SHA256)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.take(some(), replace=True)
    assert store.names() == [("alice", HOST)]
    assert kept(store).kind == SHA1
    assert store.add("carol", HOST, SECRET), "no transaction is left open"
    with Users(path) as other:
        assert other.exists("carol", HOST)


def test_take_keeps_or_replaces(store: Users) -> None:
    before = put(store, alice=SHA1)["alice"]
    new = made(SHA256)
    assert store.take([("alice", HOST, new), ("bob", HOST, new)], replace=False) == [False, True]
    assert kept(store) == before
    assert store.take([("alice", HOST, new), ("bob", HOST, new)], replace=True) == [True, True]
    assert kept(store) == new
    assert store.hashes("elsewhere") == []


def test_the_table_is_that_of_earlier_versions(store: Users, path: Path) -> None:
    """They find users of scrypt as ever, and of a SCRAM hash a cost that is impossible, which they call broken.

    What they do with such a row is in their tests: nobody else is affected, and it is listed, replaced and removed.
    """
    put(store, alice=SHA256, bob=TODAY)
    rows = run(path, "SELECT user, n, r, p, length(salt), length(hash) FROM users ORDER BY user")
    assert rows == [("alice", 5, 0, 256, 16, 64), ("bob", *TODAY, 16, 32)]
    with pytest.raises(ValueError, match=r"r|n"):
        hashlib.scrypt(b"", salt=b"", n=5, r=0, p=256, dklen=32)
