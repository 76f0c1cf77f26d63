"""`extauth-sqlite DATABASE` on a disk that is nearly full: whatever there is room for, what it says is what has become
of the database.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support import canary
from support.components import missing
from support.smallfilesystem import small_file_system

from bridge.programs import sqlite, transfer, users
from bridge.programs.hashes import Cost, Scheme, Scram
from bridge.programs.users import Unavailable, Users

SIZE = 2 << 20
MANY = 2000
SECRET = canary.right("alice")
SCRAM = Scram.of(SECRET, Scheme("SHA-256", 5))
PROGRAM = [sys.executable, "-m", "bridge.programs.sqlite"]


class Disk:
    """A small disk, with a ballast on it that leaves some room."""

    def __init__(self, place: Path) -> None:
        self.database = place / "users.db"
        self._place, self._ballast = place, place / "ballast"

    def leave(self, room: int) -> None:
        """Leave so many bytes, beside the database if there is one."""
        self._ballast.unlink(missing_ok=True)
        state = os.statvfs(self._place)
        with open(self._ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - room)

    def clear(self) -> None:
        for path in self._place.iterdir():
            path.unlink()

    def names(self) -> list[str]:
        return sorted({*os.listdir(self._place)} - {"ballast"})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_file_system(tmp_path / "small", SIZE) as place:
        if place is None:
            missing("root, to mount a small file system", "sudo")
        yield Disk(place)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "users.csv"
    path.write_text("user,host,hash\n" + "".join(f"u{number},a.example,{SCRAM.text()}\n" for number in range(MANY)))
    return path


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "COST", Cost(n=2**4, r=8, p=1))


def bring(database: Path, source: Path) -> tuple[int, list[str]]:
    """The exit status of an import, and what it says on stderr."""
    said: list[str] = []
    return transfer.bring(str(database), ["--from", "csv", str(source)], said.append, lambda _: 0), said


def whole(database: Path, elsewhere: Path) -> int:
    """How many users are in the file as it is, which is looked at where there is room."""
    copy = elsewhere / "copy.db"
    shutil.copyfile(database, copy)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        (count,) = connection.execute("SELECT count(*) FROM users").fetchone()
    assert isinstance(count, int)
    return count


def test_an_import_into_a_new_database_is_there_or_leaves_nothing(disk: Disk, source: Path, tmp_path: Path) -> None:
    done: list[bool] = []
    for room in range(0, SIZE, 128 << 10):
        disk.clear()
        disk.leave(room)
        try:
            assert bring(disk.database, source) == (0, [])
        except Unavailable as error:
            assert "database or disk is full" in str(error)
            assert disk.names() == []
            done.append(False)
        else:
            assert disk.names() == ["users.db"]
            assert whole(disk.database, tmp_path) == MANY
            done.append(True)
    assert done == sorted(done)
    assert {*done} == {False, True}


def test_the_first_user_is_there_or_nothing(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An empty database would refuse everybody."""
    monkeypatch.setattr(sqlite, "ask_password", lambda _: SECRET)
    done: list[int] = []
    for room in range(0, 48 << 10, 4 << 10):
        disk.clear()
        disk.leave(room)
        done.append(sqlite.manage([str(disk.database), "adduser", "alice@a.example"]))
        if done[-1]:
            assert disk.names() == []
            assert "disk is full" in capfd.readouterr().err
        else:
            assert disk.names() == ["users.db"]
            assert whole(disk.database, tmp_path) == 1
    assert {*done} == {0, 2}
    assert done == sorted(done, reverse=True)


def test_who_gives_no_password_makes_no_database(tmp_path: Path) -> None:
    words = [*PROGRAM, str(tmp_path / "users.db"), "adduser", "alice@a.example"]
    done = subprocess.run(words, input=b"", capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (2, b"extauth-sqlite: the password is empty\n")
    assert os.listdir(tmp_path) == []


def test_an_import_that_leaves_a_part_in_the_log_says_that_a_copy_is_no_backup(
    disk: Disk, source: Path, tmp_path: Path
) -> None:
    """The users are stored; but the file itself has no room for them."""
    said: list[int] = []
    for room in range(0, SIZE, 128 << 10):
        disk.clear()
        with Users(disk.database) as store:
            store.add("alice", "a.example", SECRET)
        disk.leave(room)
        try:
            status, lines = bring(disk.database, source)
        except Unavailable as error:
            assert "disk" in str(error)
            said.append(-1)
            continue
        assert status == 0
        said.append(len(lines))
        with Users(disk.database) as store:
            assert len(store.names()) == MANY + 1
        if lines:
            part = f"a part is in '{disk.database}-wal' (database or disk is full)"
            assert lines == [f"done, but until the next change a plain copy is no backup: {part}"]
        else:
            assert whole(disk.database, tmp_path) == MANY + 1
    assert {*said} == {-1, 0, 1}


@pytest.mark.parametrize(
    "words", [["adduser", "bob@a.example"], ["passwd", "alice@a.example"], ["deluser", "alice@a.example"]]
)
def test_so_do_changes_while_a_reader_is_in_the_way(tmp_path: Path, words: list[str]) -> None:
    database = tmp_path / "users.db"
    with Users(database) as store:
        store.add("alice", "a.example", SECRET)
    with closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM users").fetchall()
        done = subprocess.run(
            [*PROGRAM, str(database), *words],
            input=f"{SECRET}\n".encode(),
            capture_output=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"extauth-sqlite: done, but until the next change a plain copy is no backup: ")
    assert done.stderr.endswith(b"-wal' (database is locked)\n")


def test_what_was_done_is_not_nothing_because_it_cannot_be_said(tmp_path: Path) -> None:
    database, path = tmp_path / "users.db", tmp_path / "users.csv"
    path.write_text(f"user,host,hash\nalice,a.example,{SCRAM.text()}\n")
    for words, status in (
        (["import", "--from", "csv", "--dry-run", path], 2),
        (["import", "--from", "csv", path], 1),
        (["import", "--from", "csv", path], 2),
        (["export", "--to", "csv", tmp_path / "out.csv"], 1),
        (["export", "--to", "csv", "--host", "b.example", tmp_path / "none.csv"], 1),
    ):
        with open("/dev/full", "wb") as full:
            command = [*PROGRAM, database, *words]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
        assert done.returncode == status, words
        assert b"extauth-sqlite: cannot write: No space left on device\n" in done.stderr
    with Users(database) as store:
        assert store.names() == [("alice", "a.example")]
