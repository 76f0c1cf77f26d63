"""`extauth-sqlite DATABASE` while its database is locked, lost, broken, replaced or shared by many."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.programs.bundled import PATIENT, Running

from bridge.programs import users
from bridge.programs.users import Users

CHEAP = users.Cost(n=2**4, r=8, p=1)
REAL = [sys.executable, "-m", "bridge.programs.sqlite"]
CODE = "from bridge.programs import sqlite, users; users.COST = users.Cost(2**4, 8, 1)"
QUICK = [sys.executable, "-c", f"{CODE}; exit(sqlite.main())"]
"""The same program with new hashes that cost nothing, for tests that make many."""


Start = Callable[..., Running]
ALICE = "auth:alice:example.com:hunter2:land"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "COST", CHEAP)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return make(tmp_path / "users.db", "alice", "hunter2:land")


def make(path: Path, user: str, secret: str) -> Path:
    with Users(path) as store:
        assert store.add(user, "example.com", secret)
    return path


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Running] = []

    def starter(database: Path, command: list[str] = REAL) -> Running:
        started.append(Running([*command, database]))
        return started[-1]

    yield starter
    for running in started:
        running.close()


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


@pytest.mark.slow
def test_a_lock_on_changes(database: Path, start: Start) -> None:
    program = start(database, QUICK)
    other = connect(database)
    other.execute("BEGIN IMMEDIATE")
    assert program.ask(ALICE), "who only changes things locks no reader out"
    begun = time.monotonic()
    complaints = program.fails("setpass:alice:example.com:hunter2-t0p")
    assert 1.0 < time.monotonic() - begun < 3.8, "waits for a short lock, but ends before the bridge gives up"
    assert complaints == [f"extauth-sqlite: cannot use the database '{database}': database is locked"]
    other.execute("ROLLBACK")
    other.close()
    program = start(database, QUICK)
    assert program.ask("setpass:alice:example.com:hunter2-t0p")
    assert program.ask("auth:alice:example.com:hunter2-t0p")
    assert program.end() == []


@pytest.mark.slow
def test_a_lock_on_everything(database: Path, start: Start) -> None:
    other = connect(database)
    other.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
    other.execute("BEGIN EXCLUSIVE")
    (complaint,) = start(database).fails(ALICE)
    assert complaint.endswith("database is locked")
    other.execute("ROLLBACK")
    other.close()
    assert start(database).ask(ALICE)


def test_a_lost_database_is_waited_for_and_never_made_anew(database: Path, start: Start, tmp_path: Path) -> None:
    program = start(database)
    assert program.ask(ALICE)
    database.rename(tmp_path / "elsewhere")
    complaint = (
        f"extauth-sqlite: cannot use the database '{database}': No such file or directory; "
        "`extauth-sqlite DATABASE adduser USER@HOST` creates it"
    )
    assert program.fails(ALICE) == [complaint]
    assert start(database).fails() == [complaint], "at once, before anybody waits for it"
    assert start(database).fails("tryregister:bob:example.com:x") == [complaint]
    assert not database.exists()
    (tmp_path / "elsewhere").rename(database)
    assert start(database).ask(ALICE)


def overwrite(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


@pytest.mark.parametrize("put", [os.replace, overwrite], ids=["moved", "overwritten"])
def test_a_replaced_database(database: Path, start: Start, tmp_path: Path, put: Callable[[Path, Path], None]) -> None:
    """The new file is used at once, and nothing of the old one is left, neither users nor passwords."""
    new = make(tmp_path / "new.db", "bob", "builder")
    program = start(database, QUICK)
    assert program.ask("setpass:alice:example.com:other")
    assert program.ask("tryregister:carol:example.com:x")
    put(new, database)
    assert not program.ask("auth:alice:example.com:other")
    assert not program.ask("isuser:carol:example.com")
    assert program.ask("auth:bob:example.com:builder")
    assert program.ask("tryregister:carol:example.com:y")
    assert program.end() == []
    with Users(database) as store:
        assert store.names() == [("bob", "example.com"), ("carol", "example.com")]


@pytest.mark.parametrize("garbage", [b"no database " * 1000, b"SQLite format 3\0" + b"\xff" * 8176, b""])
def test_a_corrupt_database(database: Path, start: Start, tmp_path: Path, garbage: bytes) -> None:
    good = tmp_path / "good.db"
    shutil.copyfile(database, good)
    program = start(database)
    assert program.ask(ALICE)
    database.write_bytes(garbage)
    for complaints in (program.fails(ALICE), start(database).fails()):
        assert len(complaints) == 1
        assert complaints[0].startswith(f"extauth-sqlite: cannot use the database '{database}': ")
    shutil.copyfile(good, database)
    assert start(database).ask(ALICE)


def test_a_broken_hash_refuses_one_user_only(database: Path, start: Start) -> None:
    make(database, "bob", "builder")
    other = connect(database)
    other.execute("UPDATE users SET n = 3, salt = 'no bytes' WHERE user = 'alice'")
    other.close()
    program = start(database)
    assert not program.ask(ALICE)
    assert program.ask("auth:bob:example.com:builder")
    assert program.end() == [f"extauth-sqlite: cannot use a user's hash in the database '{database}': it is broken"]


def test_not_a_secret_on_stderr(database: Path, start: Start) -> None:
    for command in ("auth", "setpass", "tryregister", "removeuser3"):
        program = start(database, QUICK)
        assert program.ask("isuser:alice:example.com")
        kept = database.read_bytes()
        database.write_bytes(b"x" * 5000)
        (complaint,) = program.fails(f"{command}:alice:example.com:hunter2-t0p")
        assert "hunter2-t0p" not in complaint
        assert "alice" not in complaint
        database.write_bytes(kept)


def test_four_processes_share_one_file(tmp_path: Path, start: Start) -> None:
    database = make(tmp_path / "users.db", "alice", "hunter2:land")
    programs = [start(database, [sys.executable, "-c", f"{CODE}; {PATIENT}; exit(sqlite.main())"]) for _ in range(4)]

    def work(number: int) -> int:
        program, won = programs[number], 0
        for count in range(25):
            name = f"user{count}-{number}:example.com"
            assert not program.ask(f"isuser:{name}")
            assert program.ask(f"tryregister:{name}:secret{count}")
            assert program.ask(f"auth:{name}:secret{count}")
            assert not program.ask(f"auth:{name}:secret")
            won += program.ask(f"tryregister:everybody{count}:example.com:{number}")
        return won

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(work, range(4))) == 25, "one of them only may register each name"
    assert [program.end() for program in programs] == [[]] * 4
    with Users(database) as store:
        assert len(store.names("example.com")) == 4 * 25 + 25 + 1
    assert os.listdir(tmp_path) == ["users.db"], "nothing is left over"


@pytest.mark.parametrize("umask", [0, 0o377])
def test_all_files_are_private(tmp_path: Path, start: Start, umask: int) -> None:
    before = os.umask(umask)
    try:
        make(tmp_path / "users.db", "alice", "x")
        program = start(tmp_path / "users.db", QUICK)
    finally:
        os.umask(before)
    assert program.ask("tryregister:bob:example.com:x")
    assert program.ask("isuser:alice:example.com")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"users.db": 0o600, "users.db-wal": 0o600, "users.db-shm": 0o600}


def test_what_a_killed_one_leaves_of_a_new_database_is_removed_by_the_next(tmp_path: Path) -> None:
    """It holds hashes, and no other program would ever use it."""
    database = tmp_path / "users.db"
    others = ["users.db.0123456789abcdef.newer", "users.db.backup.new", "other.db.0123456789abcdef.new"]
    others += ["users.db.2026-11-30_05-06.new", "users.db.0123456789abcdef.new-wal.old"]
    for name in others:
        (tmp_path / name).touch()
    killed = """
        import os, signal, sys
        from bridge.programs.hashes import Scheme, Scram
        from bridge.programs.users import Users

        def found():
            yield "alice", "example.com", Scram.of("x", Scheme("SHA-256", 5))
            os.kill(os.getpid(), signal.SIGKILL)

        Users(sys.argv[1]).take(found(), replace=False)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(killed), database], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert {*os.listdir(tmp_path)} > {*others}
    for end in ("-wal", "-shm"):  # as version 0.2.1 leaves them
        (tmp_path / f"users.db.fedcba9876543210.new{end}").touch()
    make(database, "alice", "hunter2:land")
    assert {*os.listdir(tmp_path)} == {*others, "users.db"}
