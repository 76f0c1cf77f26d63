"""`extauth-sqlite DATABASE adduser …`: an administrator at a terminal, and scripts without one."""

import errno
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.programs import users
from bridge.programs.users import Users

DEADLINE = 30.0
PROGRAM = [sys.executable, "-m", "bridge.programs.sqlite"]
SECRET = "hunter2:länd "


def manage(database: Path, *words: str, password: bytes = b"") -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one command without a terminal."""
    done = subprocess.run(
        [*PROGRAM, str(database), *words],
        input=password,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """alice's hash is cheap to check, as its parameters are stored with it."""
    monkeypatch.setattr(users, "COST", users.Cost(n=2**4, r=8, p=1))
    path = tmp_path / "users.db"
    with Users(path) as store:
        assert store.add("alice", "example.com", SECRET)
    return path


def valid(database: Path, user: str, secret: str) -> bool:
    with Users(database, create=False) as store:
        return store.check(user, "example.com", secret)


def cost(database: Path) -> tuple[int, int, int]:
    connection = sqlite3.connect(database)
    try:
        row: tuple[int, int, int] = connection.execute("SELECT n, r, p FROM users").fetchone()
        return row
    finally:
        connection.close()


def test_a_users_life(tmp_path: Path) -> None:
    database = tmp_path / "users.db"
    assert manage(database, "adduser", "Bob@Example.COM", password=b" a:b \r\nrest\n") == (0, "", "")
    assert cost(database) == (2**14, 8, 5)
    assert valid(database, "bob", " a:b "), "only the line's end is stripped"
    assert manage(database, "listusers") == (0, "bob@example.com\n", "")
    status, out, err = manage(database, "adduser", "bob@example.com", password=b"other\n")
    assert (status, out, err) == (1, "", "extauth-sqlite: bob@example.com exists already\n")
    assert valid(database, "bob", " a:b ")
    assert manage(database, "passwd", "BOB@example.com", password="nëw".encode()) == (0, "", "")
    assert valid(database, "bob", "nëw")
    assert manage(database, "deluser", "bob@EXAMPLE.com") == (0, "", "")
    nobody = (1, "", "extauth-sqlite: bob@example.com does not exist\n")
    assert manage(database, "deluser", "bob@example.com") == nobody
    assert manage(database, "passwd", "bob@example.com", password=b"x\n") == nobody
    assert manage(database, "listusers") == (0, "", "")


def test_listusers(database: Path) -> None:
    with Users(database) as store:
        store.add("zoë", "b.example", "x")
        store.add("bob", "b.example", "x")
    assert manage(database, "listusers")[1] == "bob@b.example\nzoë@b.example\nalice@example.com\n"
    assert manage(database, "listusers", "B.Example") == (0, "bob@b.example\nzoë@b.example\n", "")
    assert manage(database, "listusers", "c.example") == (0, "", "")


def test_a_list_nobody_reads_to_its_end(database: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as output:
        done = subprocess.run(
            [*PROGRAM, str(database), "listusers"],
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=DEADLINE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", ["listusers", "--help"])
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_a_list_that_cannot_be_written(database: Path, words: str, redirection: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, str(database), words],
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert done.stderr.startswith(b"extauth-sqlite: cannot write: ")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bob", "no @"),
        ("", "no @"),
        ("@example.com", "USER is empty"),
        ("bob@", "HOST is empty"),
        ("@", "USER is empty"),
        ("bob@x@example.com", "HOST holds"),
        ("b:ob@example.com", "USER holds"),
        ("bob@example.com:5222", "HOST holds"),
        ("bob@example.com/phone", "HOST holds"),
        (" bob@example.com", "USER holds"),
        ("b\nob@example.com", "control character"),
        ("bob@example\x7f.com", "control character"),
        (os.fsdecode(b"b\xffob@example.com"), "not valid UTF-8"),
    ],
)
@pytest.mark.parametrize("command", ["adduser", "passwd", "deluser"])
def test_names_that_cannot_be(tmp_path: Path, command: str, name: str, reason: str) -> None:
    status, out, err = manage(tmp_path / "users.db", command, name, password=b"x\n")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert reason in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        (b"", "the password is empty"),
        (b"\n", "the password is empty"),
        (b"\r\n", "the password is empty"),
        (b"a\tb-hunter2-t0p\n", "control character"),
        (b"hunter2-t0p\0\n", "control character"),
        ("hunter2-t0p\u0080\n".encode(), "control character"),
        (b"hunter2-t0p\xff\n", "not valid UTF-8"),
    ],
)
@pytest.mark.parametrize(("command", "name"), [("adduser", "bob@example.com"), ("passwd", "alice@example.com")])
def test_passwords_that_cannot_be(database: Path, command: str, name: str, password: bytes, reason: str) -> None:
    status, out, err = manage(database, command, name, password=password)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert reason in err
    assert "hunter2-t0p" not in err
    assert valid(database, "alice", SECRET)
    assert manage(database, "listusers")[1] == "alice@example.com\n"


@pytest.mark.parametrize(
    "words",
    [
        ["adduser"],
        ["adduser", "bob@example.com", "hunter2-t0p"],
        ["passwd", "alice@example.com", "hunter2-t0p"],
        ["deluser"],
        ["hunter2-t0p"],
        ["listusers", "example.com", "hunter2-t0p"],
        ["listusers", ""],
        ["listusers", "a:b"],
    ],
)
def test_wrong_usage_is_one_line_that_repeats_nothing(database: Path, words: list[str]) -> None:
    status, out, err = manage(database, *words, password=b"x\n")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("extauth-sqlite: ")
    assert "hunter2-t0p" not in err
    assert manage(database, "listusers")[1] == "alice@example.com\n"


def test_who_forgets_the_database_is_told_all_commands() -> None:
    status, _, err = manage(Path("import"), "--from", "prosody", "/var/lib/prosody")
    usage = "DATABASE [adduser|passwd|deluser USER@HOST | listusers [HOST] | import ... | export ...]"
    assert (status, err) == (2, f"extauth-sqlite: usage: {usage}, see --help\n")


@pytest.mark.parametrize("words", [[], ["--nonsense"], ["-x"]])
def test_no_database_no_service(words: list[str]) -> None:
    done = subprocess.run([*PROGRAM, *words], input=b"", capture_output=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["users.db", "--help"], ["users.db", "adduser", "-h"]])
def test_help(words: list[str]) -> None:
    done = subprocess.run([*PROGRAM, *words], capture_output=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    assert all(word in text for word in ("adduser", "passwd", "deluser", "listusers", "exit status"))
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize("words", [["passwd", "a@b"], ["deluser", "a@b"], ["listusers"]])
def test_only_adduser_makes_a_database(tmp_path: Path, words: list[str]) -> None:
    status, out, err = manage(tmp_path / "users.db", *words, password=b"x\n")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "No such file or directory" in err
    assert os.listdir(tmp_path) == []


class Terminal:
    """One command at a real terminal, which is its controlling one or only its standard input."""

    def __init__(self, controlling: bool, *words: str) -> None:
        self.master, self.slave = pty.openpty()
        claim = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        command = [*PROGRAM, *words]
        self.process = subprocess.Popen(
            [sys.executable, "-c", claim, *command] if controlling else command,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )
        self.shown = b""

    def expect(self, text: str) -> None:
        """Wait until the terminal shows `text`, after what was expected before."""
        while text.encode() not in self.shown:
            assert select.select([self.master], [], [], DEADLINE)[0], f"no {text!r} in {self.shown!r}"
            self.shown += os.read(self.master, 1000)
        self.shown = self.shown.partition(text.encode())[2]

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def end(self) -> tuple[int, str]:
        """Exit status, and what was shown after the last expected text."""
        status = self.process.wait(DEADLINE)
        assert self.echoes(), "the terminal is left as it was"
        os.close(self.slave)
        self.slave = -1
        try:
            while more := os.read(self.master, 1000):
                self.shown += more
        except OSError as error:  # EIO: the last one has closed it
            assert error.errno == errno.EIO
        return status, self.shown.decode().replace("\r\n", "\n").strip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for descriptor in (self.master, self.slave):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture(params=[True, False], ids=["controlling", "stdin-only"])
def at_terminal(request: pytest.FixtureRequest, database: Path) -> Iterator[tuple[Path, "Opener"]]:
    opener = Opener(request.param, database)
    yield database, opener
    for terminal in opener.opened:
        terminal.close()


class Opener:
    def __init__(self, controlling: bool, database: Path) -> None:
        self.controlling, self.database = controlling, database
        self.opened: list[Terminal] = []

    def __call__(self, *words: str) -> Terminal:
        self.opened.append(Terminal(self.controlling, str(self.database), *words))
        return self.opened[-1]


def test_prompts(at_terminal: tuple[Path, Opener]) -> None:
    database, run = at_terminal
    terminal = run("adduser", "Bob@example.com")
    terminal.expect("Password for bob@example.com: ")
    assert not terminal.echoes()
    terminal.type("nëw:pass\n")
    terminal.expect("The same again: ")
    assert not terminal.echoes()
    arguments = Path(f"/proc/{terminal.process.pid}/cmdline").read_bytes()
    assert b"pass\0" not in arguments
    terminal.type("nëw:pass\n")
    assert terminal.end() == (0, "")
    assert valid(database, "bob", "nëw:pass")


@pytest.mark.parametrize(("command", "name"), [("adduser", "bob@example.com"), ("passwd", "alice@example.com")])
def test_two_passwords_that_differ(at_terminal: tuple[Path, Opener], command: str, name: str) -> None:
    database, run = at_terminal
    terminal = run(command, name)
    terminal.expect(": ")
    terminal.type("one\n")
    terminal.expect(": ")
    terminal.type("two\n")
    assert terminal.end() == (2, "extauth-sqlite: the two passwords differ, nothing was changed")
    assert valid(database, "alice", SECRET)
    assert not valid(database, "bob", "one")


def test_the_answer_no_comes_before_the_prompt(at_terminal: tuple[Path, Opener]) -> None:
    _, run = at_terminal
    assert run("adduser", "alice@example.com").end() == (
        1,
        "extauth-sqlite: alice@example.com exists already",
    )
    assert run("passwd", "bob@example.com").end() == (1, "extauth-sqlite: bob@example.com does not exist")


def test_end_of_input_at_the_prompt(at_terminal: tuple[Path, Opener]) -> None:
    database, run = at_terminal
    terminal = run("passwd", "alice@example.com")
    terminal.expect(": ")
    terminal.type("\x04")
    assert terminal.end() == (2, "extauth-sqlite: no password given")
    assert valid(database, "alice", SECRET)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_the_prompt(at_terminal: tuple[Path, Opener], number: signal.Signals) -> None:
    """It ends quietly, with the terminal's echo back on."""
    database, run = at_terminal
    terminal = run("passwd", "alice@example.com")
    terminal.expect(": ")
    if number == signal.SIGINT and run.controlling:
        terminal.type("\x03")
    else:
        terminal.process.send_signal(number)
    assert terminal.end() == (130, "")
    assert valid(database, "alice", SECRET)
