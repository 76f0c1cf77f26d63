"""`extauth-sql URL`: the program and its commands, on SQLite through the code that serves all databases."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import canary
from support.components import extra
from support.process import environment
from support.programs.bundled import DEADLINE, Running

extra("sql", "sqlalchemy")

from bridge.programs import sql  # noqa: E402
from bridge.programs.hashes import Scheme, Scram, parse  # noqa: E402

PROGRAM = [sys.executable, "-m", "bridge.programs.sql"]
CHEAP = ["--scrypt", "4,8,1"]
SECRET = canary.CANARY
HOST = "example.com"


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Running] = []

    def start(*words: str) -> Running:
        running.append(Running([*PROGRAM, *words]))
        return running[-1]

    yield start
    for one in running:
        one.close()


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def manage(path: Path, *words: str, password: str = "") -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one command without a terminal."""
    done = subprocess.run(
        [*PROGRAM, *CHEAP, url(path), *words], input=password.encode(), capture_output=True, timeout=DEADLINE,
        check=False, env=environment(),
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def rows(path: Path, query: str, *values: object) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(query, values).fetchall()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Our own table, with alice."""
    path = tmp_path / "users.db"
    assert manage(path, "adduser", f"Alice@{HOST}", password=f"{SECRET}\n") == (0, "", "")
    return path


def test_it_answers_every_question(own: Path, start: Start) -> None:
    program = start(*CHEAP, url(own))
    assert program.ask(f"auth:alice:{HOST}:{SECRET}")
    assert not program.ask(f"auth:alice:{HOST}:{SECRET}2")
    assert not program.ask(f"auth:Alice:{HOST}:{SECRET}")
    assert not program.ask(f"auth:alice:example.org:{SECRET}")
    assert program.ask(f"isuser:alice:{HOST}")
    assert not program.ask(f"isuser:bob:{HOST}")
    assert not program.ask(f"setpass:bob:{HOST}:{SECRET}")
    assert program.ask(f"tryregister:bob:{HOST}:{SECRET}")
    assert not program.ask(f"tryregister:bob:{HOST}:{SECRET}3")
    assert program.ask(f"setpass:bob:{HOST}:{SECRET}:4")
    assert not program.ask(f"auth:bob:{HOST}:{SECRET}")
    assert program.ask(f"auth:bob:{HOST}:{SECRET}:4")
    assert not program.ask(f"removeuser3:bob:{HOST}:{SECRET}")
    assert program.ask(f"removeuser3:bob:{HOST}:{SECRET}:4")
    assert program.ask(f"removeuser:alice:{HOST}")
    assert not program.ask(f"removeuser:alice:{HOST}")
    assert not program.ask("nonsense")
    assert program.end() == []


def test_the_administrators_commands(own: Path) -> None:
    assert manage(own, "adduser", f"bob@{HOST}", password=f"{SECRET}\n") == (0, "", "")
    assert manage(own, "adduser", f"bob@{HOST}", password=f"{SECRET}\n")[0] == 1
    assert manage(own, "passwd", f"bob@{HOST}", password=f"{SECRET}2\n") == (0, "", "")
    assert manage(own, "adduser", "carol@a.example", password=f"{SECRET}\n") == (0, "", "")
    assert manage(own, "listusers") == (0, f"carol@a.example\nalice@{HOST}\nbob@{HOST}\n", "")
    assert manage(own, "listusers", HOST) == (0, f"alice@{HOST}\nbob@{HOST}\n", "")
    assert manage(own, "deluser", f"bob@{HOST}") == (0, "", "")
    assert manage(own, "deluser", f"bob@{HOST}") == (1, "", f"extauth-sql: bob@{HOST} does not exist\n")
    assert manage(own, "createtable") == (0, "", "")
    assert own.stat().st_mode & 0o777 == 0o600


def test_the_administrators_commands_on_another_servers_table(tmp_path: Path) -> None:
    path = tmp_path / "server.db"
    canary.knows(path, "servers may store passwords as they are")
    columns = ", ".join(f'"{name}" TEXT' for name in ("host", "user", "store", "key", "type", "value"))
    rows(path, f"CREATE TABLE prosody ({columns})")
    rows(path, "INSERT INTO prosody VALUES (?, 'alice', 'accounts', 'password', 'string', ?)", HOST, SECRET)
    words = ("--table", "prosody", "--write")
    assert manage(path, *words, "adduser", f"bob@{HOST}", password=f"{SECRET}2\n") == (0, "", "")
    assert rows(path, "SELECT key, value FROM prosody WHERE user = 'bob'") == [("password", f"{SECRET}2")]
    assert manage(path, *words, "passwd", f"bob@{HOST}", password=f"{SECRET}3\n") == (0, "", "")
    assert manage(path, *words[:2], "listusers", HOST) == (0, f"alice@{HOST}\nbob@{HOST}\n", "")
    assert manage(path, *words, "deluser", f"bob@{HOST}") == (0, "", "")
    assert rows(path, "SELECT user FROM prosody") == [("alice",)]


def test_the_costs_option_holds_for_new_hashes(own: Path) -> None:
    [(text,)] = rows(own, "SELECT hash FROM extauth_users")
    assert str(text).startswith("$scrypt$ln=4,r=8,p=1$")


def test_a_scram_hash_becomes_scrypt_at_the_next_good_login(own: Path, start: Start) -> None:
    taken = Scram.of(SECRET, Scheme("SHA-256", 4096)).text()
    rows(own, "UPDATE extauth_users SET hash = ?", taken)
    program = start(*CHEAP, url(own))
    assert not program.ask(f"auth:alice:{HOST}:{SECRET}2")
    assert rows(own, "SELECT hash FROM extauth_users") == [(taken,)]
    assert program.ask(f"auth:alice:{HOST}:{SECRET}")
    [(text,)] = rows(own, "SELECT hash FROM extauth_users")
    assert str(text).startswith("$scrypt$ln=4,r=8,p=1$")
    assert parse(str(text)).matches(SECRET)
    assert program.ask(f"auth:alice:{HOST}:{SECRET}")


def test_a_broken_hash_is_its_users_trouble_only(own: Path, start: Start) -> None:
    rows(own, "INSERT INTO extauth_users VALUES ('bob', ?, 'x')", HOST)
    program = start(*CHEAP, url(own))
    assert not program.ask(f"auth:bob:{HOST}:{SECRET}")
    assert not program.ask(f"auth:bob:{HOST}:{SECRET}")
    assert program.ask(f"auth:alice:{HOST}:{SECRET}")
    [line] = program.end()
    assert "broken" in line


def test_without_its_table_it_ends(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "users.db"
    sqlite3.connect(path).close()
    said = "no such table there: another database, another --table, or createtable: OperationalError (SQLITE_ERROR)"
    assert start(url(path)).fails() == [f"extauth-sql: {said}"]
    assert start("--table", "prosody", url(path)).fails() == [f"extauth-sql: {said}"]


def test_a_missing_file_is_not_created(tmp_path: Path, start: Start) -> None:
    (line,) = start(url(tmp_path / "users.db")).fails()
    assert "SQLITE_CANTOPEN" in line
    assert manage(tmp_path / "users.db", "passwd", f"alice@{HOST}", password=SECRET)[0] == 2
    assert not [*tmp_path.iterdir()]


def test_when_the_database_is_gone_it_ends_without_a_reply(own: Path, start: Start) -> None:
    program = start(*CHEAP, url(own))
    assert program.ask(f"isuser:alice:{HOST}")
    own.unlink()
    (line,) = program.fails(f"auth:alice:{HOST}:{SECRET}")
    assert "SQLITE_CANTOPEN" in line


def test_a_locked_database_is_no_wrong_password(own: Path, start: Start) -> None:
    program = start(*CHEAP, url(own))
    assert program.ask(f"isuser:alice:{HOST}")
    with contextlib.closing(sqlite3.connect(own, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        (line,) = program.fails(f"auth:alice:{HOST}:{SECRET}")
        assert "SQLITE_BUSY" in line


def test_a_hash_is_not_renewed_where_nothing_can_be_written(own: Path, start: Start) -> None:
    taken = Scram.of(SECRET, Scheme("SHA-1", 4096)).text()
    rows(own, "UPDATE extauth_users SET hash = ?", taken)
    program = start(*CHEAP, url(own))
    with contextlib.closing(sqlite3.connect(own, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert program.ask(f"auth:alice:{HOST}:{SECRET}")
    assert rows(own, "SELECT hash FROM extauth_users") == [(taken,)]
    assert program.end() == []


def test_on_a_terminal_it_says_what_to_do(own: Path) -> None:
    ours, theirs = os.openpty()
    try:
        done = subprocess.run(
            [*PROGRAM, url(own)], stdin=theirs, capture_output=True, timeout=DEADLINE, check=False, env=environment()
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert b"start it from extauth-bridge" in done.stderr


def test_the_password_can_be_in_a_file(tmp_path: Path) -> None:
    """Of a user's database, that is; here it is only read, as SQLite has none."""
    path = tmp_path / "password"
    canary.knows(path, "it is the file with the password")
    path.write_text(f"{SECRET}\n")
    path.chmod(0o644)
    with pytest.raises(sql.BadURL, match="chmod o="):
        sql.address("postgresql://xmpp@db/xmpp", str(path))
    path.chmod(0o640)
    where = sql.address("postgresql://xmpp@db/xmpp", str(path))
    assert (where.password, where.exposed) == (SECRET, False)
    assert SECRET not in repr(where)
    path.write_text("")
    with pytest.raises(sql.BadURL, match="empty"):
        sql.address("mysql://xmpp@db/xmpp", str(path))


@pytest.mark.parametrize(
    ("text", "exposed"),
    [
        ("postgresql://xmpp@db/xmpp", False),
        ("postgresql://xmpp@a:5432,b:5432/xmpp?target_session_attrs=read-write", False),
        ("postgresql:///xmpp?host=/run/postgresql", False),
        (f"postgresql://xmpp:{SECRET}@db/xmpp", True),
        (f"postgres+psycopg://xmpp:{SECRET}@db/xmpp", True),
        (f"postgresql://xmpp@db/xmpp?password={SECRET}", True),
        (f"mysql+pymysql://xmpp:{SECRET}@db/xmpp", True),
        (f"mysql://xmpp@db/xmpp?passwd={SECRET}", True),
        ("mariadb://xmpp@db/xmpp", False),
    ],
)
def test_a_password_in_the_url_is_noticed(text: str, exposed: bool) -> None:
    assert sql.address(text).exposed == exposed
    assert sql.address(text).password == (SECRET if exposed else None)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://xmpp:a@{SECRET}@db/xmpp",
        f"postgresql://xmpp:a/{SECRET}@db/xmpp",
        f"postgresql://xmpp:a#{SECRET}@db/xmpp",
        f"postgresql://xmpp:a?{SECRET}@db/xmpp",
        f"mysql://xmpp:a?{SECRET}@db/xmpp",
        f"mysql://xmpp:a?b/{SECRET}@db/xmpp",
        f"mysql://xmpp:a@b?{SECRET}@db/xmpp",
        f"mysql://xmpp:\udcff{SECRET}@db/xmpp",
        f"postgresql+psycopg2://xmpp:{SECRET}@db/xmpp",
        f"oracle://xmpp:{SECRET}@db/xmpp",
        SECRET,
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_a_url_that_cannot_be_used_is_not_shown(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert sql.main([text, "listusers"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("extauth-sql: ")
    assert "error" not in line.lower(), "it says what is wrong with the URL, before any driver does"
    assert SECRET not in line


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--unknown", "sqlite:///x"],
        ["--table", "other", "sqlite:///x"],
        ["--format", "md5", "sqlite:///x"],
        ["--format", "plain", "sqlite:///x"],
        ["--table", "prosody", "--format", "scram-sha-512", "sqlite:///x"],
        ["--scrypt", "14,8", "sqlite:///x"],
        ["--scrypt", "20,8,5", "sqlite:///x"],
        ["--host", "a b", "sqlite:///x"],
        ["sqlite:///x", SECRET],
        ["--table", "prosody", "sqlite:///x", "adduser", f"alice@{HOST}"],
        ["--table", "prosody", "--write", "sqlite:///x", "createtable"],
    ],
)
def test_wrong_usage(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert sql.main(words) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_a_cost_that_scrypt_does_not_take(capfd: pytest.CaptureFixture[str]) -> None:
    assert sql.main(["--scrypt", "16,1,1", "sqlite:///x"]) == 2
    assert capfd.readouterr().err == "extauth-sql: --scrypt takes an LN below 16 * R\n"


def test_what_cannot_be_written_is_its_own_trouble(own: Path) -> None:
    for words in ([url(own), "listusers"], ["--help"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*PROGRAM, *words], stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE, check=False,
                env=environment(), stdin=subprocess.DEVNULL,
            )  # fmt: skip
        assert (done.returncode, done.stderr) == (2, b"extauth-sql: cannot write: No space left on device\n")


def test_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert sql.main(["--help"]) == 0
    assert capfd.readouterr().out == sql.HELP


def test_without_sqlalchemy_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['sqlalchemy'] = None; from bridge.programs import sql; exit(sql.main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "sqlite:////nowhere/x"], capture_output=True, timeout=DEADLINE, check=False,
        env=environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"extauth-sql: {sql.INSTALL}\n"
