"""`extauth-sqlite DATABASE` as ejabberd sees it: a real process, real frames, a real database."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import canary

from bridge.programs import sqlite, users

DEADLINE = 30.0
"""Seconds; only a broken program needs as long."""

TRUE, FALSE = b"\0\2\0\1", b"\0\2\0\0"
CHEAP = users.Cost(n=2**4, r=8, p=1)
PROGRAM = [sys.executable, "-m", "bridge.programs.sqlite"]


def frame(body: str | bytes) -> bytes:
    data = body.encode() if isinstance(body, str) else body
    return len(data).to_bytes(2, "big") + data


class Running:
    """A serving `extauth-sqlite`, and what a test does with it."""

    def __init__(self, database: Path) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, str(database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        assert self.process.stdin.write(data) == len(data)

    def reply(self) -> bytes:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], DEADLINE)[0], "no reply"
        return self.process.stdout.read(100) or b""

    def ask(self, body: str | bytes) -> bool:
        self.send(frame(body))
        answer = self.reply()
        assert answer in (TRUE, FALSE)
        return answer == TRUE

    def complaint(self) -> str:
        """One line of its standard error."""
        assert self.process.stderr is not None
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([self.process.stderr], [], [], DEADLINE)[0], f"no complaint but {line!r}"
            line += (more := self.process.stderr.read(1) or b"")
            assert more, f"end of standard error after {line!r}"
        return line.decode()

    def end(self) -> tuple[int, bytes, bytes]:
        """End its input; returns exit status and what was left on stdout and stderr."""
        out, err = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, out, err


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with alice, whose hash is cheap to check, as its parameters are stored with it."""
    monkeypatch.setattr(users, "COST", CHEAP)
    path = tmp_path / "users.db"
    with users.Users(path) as store:
        assert store.add("alice", "example.com", "hunter2:land")
    return path


@pytest.fixture
def start(database: Path) -> Iterator[Callable[[], Running]]:
    """Starts programs, and leaves none behind."""
    started: list[Running] = []

    def starter() -> Running:
        started.append(Running(database))
        return started[-1]

    yield starter
    for running in started:
        running.process.kill()
        running.process.communicate()


@pytest.fixture
def program(start: Callable[[], Running]) -> Running:
    return start()


def run(database: Path, data: bytes) -> subprocess.CompletedProcess[bytes]:
    """Send all of `data` at once, then end of input."""
    return subprocess.run([*PROGRAM, str(database)], input=data, capture_output=True, timeout=DEADLINE, check=False)


def test_every_command(program: Running) -> None:
    assert program.ask("auth:alice:example.com:hunter2:land")
    assert not program.ask("auth:alice:example.com:hunter2")
    assert not program.ask("auth:bob:example.com:hunter2:land")
    assert not program.ask("auth:alice:other.example:hunter2:land")
    assert program.ask("isuser:alice:example.com")
    assert not program.ask("isuser:bob:example.com")

    assert not program.ask("setpass:bob:example.com:new")
    assert not program.ask("isuser:bob:example.com"), "setpass must not make a user"
    assert program.ask("setpass:alice:example.com:new:one")
    assert not program.ask("auth:alice:example.com:hunter2:land")
    assert program.ask("auth:alice:example.com:new:one")

    assert not program.ask("tryregister:alice:example.com:stolen")
    assert program.ask("auth:alice:example.com:new:one"), "tryregister must not change a password"
    assert program.ask("tryregister:bob:example.com:builder")
    assert program.ask("auth:bob:example.com:builder")

    assert not program.ask("removeuser3:bob:example.com:wrong")
    assert not program.ask("removeuser3:carol:example.com:builder")
    assert program.ask("isuser:bob:example.com")
    assert program.ask("removeuser3:bob:example.com:builder")
    assert not program.ask("isuser:bob:example.com")
    assert program.ask("removeuser:alice:example.com")
    assert not program.ask("removeuser:alice:example.com")
    assert not program.ask("auth:alice:example.com:new:one")
    assert program.end() == (0, b"", b"")


def test_one_byte_at_a_time(program: Running) -> None:
    for byte in frame("auth:alice:example.com:hunter2:land"):
        program.send(bytes([byte]))
    assert program.reply() == TRUE
    for byte in frame("isuser:bob:example.com"):
        program.send(bytes([byte]))
    assert program.reply() == FALSE
    assert program.end() == (0, b"", b"")


def test_several_frames_in_one_write(database: Path) -> None:
    questions = ["isuser:alice:example.com", "isuser:bob:example.com", "auth:alice:example.com:hunter2:land"]
    done = run(database, b"".join(map(frame, questions)) * 3)
    assert (done.returncode, done.stdout, done.stderr) == (0, (TRUE + FALSE + TRUE) * 3, b"")


@pytest.mark.parametrize(
    "secret",
    ["::", "a:b:c:", " ", "pässwörd", "пароль", "🔑" * 20, "x" * 4000, "é" * 2000],
)
def test_secrets(program: Running, secret: str) -> None:
    """The secret is the whole rest, in bytes, and all of it counts."""
    assert program.ask(f"setpass:alice:example.com:{secret}")
    assert program.ask(f"auth:alice:example.com:{secret}")
    assert not program.ask(f"auth:alice:example.com:{secret}x")
    assert not program.ask(f"auth:alice:example.com:{secret[:-1] or '~'}~")


def test_the_longest_frame(program: Running) -> None:
    head = "auth:alice:example.com:"
    assert not program.ask(head + "x" * (65535 - len(head)))
    assert program.ask("isuser:alice:example.com")


def test_names_beyond_ascii(program: Running) -> None:
    assert program.ask("tryregister:zoë:bücher.example:x")
    assert program.ask("isuser:zoë:bücher.example")
    assert not program.ask("isuser:zoe:bücher.example")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b":",
        b":::",
        b"auth",
        b"auth:",
        b"auth:alice",
        b"auth:alice:example.com",
        b"auth:alice:example.com:",
        b"auth::example.com:hunter2:land",
        b"auth:alice::hunter2:land",
        b"isuser:alice",
        b"isuser:alice:",
        b"isuser::example.com",
        b"isuser:alice:example.com:",
        b"isuser:alice:example.com:x",
        b"removeuser:alice:example.com:x",
        b"setpass:alice:example.com:",
        b"tryregister:bob:example.com:",
        b"tryregister:b\nob:example.com:x",
        b"tryregister:bob:exam\x7fple.com:x",
        b"removeuser3:alice:example.com:",
        b"AUTH:alice:example.com:hunter2:land",
        b" auth:alice:example.com:hunter2:land",
        b"certauth:alice:example.com:x",
        b"quit",
        b"auth:alice:example.com:hunter2:land\n",
        b"auth:alice:example.com:hunter2:land\0",
        b"setpass:alice:example.com:x\xc2\x85",
        b"auth:alice:example.com:hunter2:lan\xff",
        b"isuser:ali\xe9:example.com",
        b"\xff\xfe",
        b"\0",
    ],
)
def test_what_is_no_question_is_false_and_the_stream_stays_in_step(database: Path, body: bytes) -> None:
    alice = frame("isuser:alice:example.com")
    done = run(database, alice + frame(body) + alice)
    assert (done.returncode, done.stdout, done.stderr) == (0, TRUE + FALSE + TRUE, b"")


@given(st.one_of(st.binary(max_size=80), st.text(":\0aé", max_size=40).map(lambda rest: f"auth:{rest}".encode())))
def test_what_is_taken_for_a_question_is_exactly_what_came(body: bytes) -> None:
    fields = sqlite.parse(body)
    if fields is not None:
        assert ":".join(fields).encode() == body
        assert all(fields)
        assert len(fields) == sqlite.FIELDS[fields[0]]


@pytest.mark.parametrize("cut", [1, 2, 3, 20])
def test_input_that_ends_inside_a_frame(database: Path, cut: int) -> None:
    done = run(database, frame("isuser:alice:example.com") + frame("auth:alice:example.com:hunter2:land")[:cut])
    assert (done.returncode, done.stdout) == (1, TRUE)
    assert done.stderr == b"extauth-sqlite: the input ended in the middle of a frame\n"


def test_no_input_at_all(tmp_path: Path) -> None:
    assert sqlite.main([str(tmp_path / "users.db"), "listusers"]) == 2
    assert list(tmp_path.iterdir()) == [], "it is not made by looking"
    with users.Users(tmp_path / "users.db") as store:
        store.add("a", "b", "x")
    done = run(tmp_path / "users.db", b"")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_each_reply_is_one_write(database: Path) -> None:
    """A packet socket keeps writes separate."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        ours.settimeout(DEADLINE)
        done = subprocess.run(
            [*PROGRAM, str(database)],
            input=frame("isuser:alice:example.com") + frame("isuser:bob:example.com"),
            stdout=its.fileno(),
            timeout=DEADLINE,
            check=True,
        )
        its.close()
        assert done.returncode == 0
        assert [ours.recv(100) for _ in range(3)] == [TRUE, FALSE, b""]


def test_lost_output_is_a_quiet_end_and_nothing_is_read_ahead(database: Path, tmp_path: Path) -> None:
    first = frame("isuser:alice:example.com")
    (tmp_path / "frames").write_bytes(first * 3)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with (tmp_path / "frames").open("rb") as frames, os.fdopen(write_end, "wb") as output:
        done = subprocess.run(
            [*PROGRAM, str(database)],
            stdin=frames,
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=DEADLINE,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert os.lseek(frames.fileno(), 0, os.SEEK_CUR) == len(first)


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [("<&-", "Bad file descriptor"), (">&-", "Bad file descriptor"), (">/dev/full", "No space")],
)
def test_broken_descriptors_are_one_line(database: Path, redirection: str, reason: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, str(database)],
        input=frame("isuser:alice:example.com"),
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert reason in done.stderr.decode()


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_nobody_to_complain_to(tmp_path: Path, stderr: str) -> None:
    """No part of the complaint appears on standard output."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {stderr}', "sh", *PROGRAM, str(tmp_path / "missing" / "users.db")],
        input=frame("isuser:alice:example.com") * 2,
        stdout=subprocess.PIPE,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_signals_end_it_quietly(program: Running, number: signal.Signals, status: int) -> None:
    assert program.ask("isuser:alice:example.com")
    program.process.send_signal(number)
    assert program.process.wait(DEADLINE) == status
    assert program.end() == (status, b"", b"")


def test_no_core_file_could_hold_a_password(program: Running) -> None:
    assert program.ask("isuser:alice:example.com")
    limits = Path(f"/proc/{program.process.pid}/limits").read_text()
    line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]


def test_on_a_terminal_it_says_what_it_is(database: Path) -> None:
    """Instead of waiting for bytes that nobody can type."""
    ours, theirs = os.openpty()
    try:
        done = subprocess.run(
            [*PROGRAM, str(database)], stdin=theirs, capture_output=True, timeout=DEADLINE, check=False, text=True
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stdout) == (2, "")
    assert "start it from extauth-bridge" in done.stderr
    assert max(map(len, done.stderr.splitlines())) <= 80
    assert "adduser alice@example.com" in done.stderr
    assert "extauth-bridge ask auth" in done.stderr


@pytest.mark.parametrize("content", [None, b"no database"])
def test_a_database_that_cannot_be_used_is_unavailable_and_no_wrong_password(
    tmp_path: Path, content: bytes | None
) -> None:
    """As the bridge tells whoever asks."""
    if content is not None:
        (tmp_path / "users.db").write_bytes(content)
    words = [sys.executable, "-m", "bridge", "ask", "auth", "alice@example.com", "--", *PROGRAM, tmp_path / "users.db"]
    secret = f"{canary.right('alice')}\n".encode()  # of a shorter one, letters would be masked in the message
    done = subprocess.run(words, input=secret, capture_output=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stdout) == (1, b"unavailable\n")
    assert b"cannot use the database" in done.stderr
