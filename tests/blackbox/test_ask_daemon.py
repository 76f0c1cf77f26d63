"""`ask` with the socket of a running daemon, or with a relay's configuration."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.daemon.serving import Daemon, until
from support.daemon.serving import ask as over_socket
from support.process import COMMAND, ROOT, environment
from support.relay.daemon import LineDaemon

USUAL, DAEMONS = 4.5, 4.0
"""Seconds: how long it waits for an answer unless told otherwise, and how long a daemon has for one."""


def ask(*arguments: object, password: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run `ask` with the password on stdin, which is not a terminal."""
    done = subprocess.run(
        [*COMMAND, "ask", *map(os.fspath, map(str, arguments))],
        check=False,
        input=password,
        capture_output=True,
        timeout=20,
        env=environment(),
        cwd=ROOT,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[LineDaemon]:
    there = LineDaemon(tmp_path / "auth.sock")
    yield there
    there.stop()


def relay_file(folder: Path, **settings: object) -> Path:
    file = folder / "relay.toml"
    settings = {"connect": str(folder / "auth.sock"), **settings}
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    return file


@pytest.mark.parametrize(
    ("question", "password", "said", "status"),
    [
        (["auth", "u@h"], b"pw-u\n", "granted", 0),
        (["auth", "u@h"], b"wrong\n", "denied", 1),
        (["auth", "u@h"], b"pw-u\nsetpass:u:h:x\n", "granted", 0),
        (["isuser", "u@h"], b"", "granted", 0),
        (["isuser", "no@h"], b"", "denied", 1),
        (["setpass", "u@h"], b"new:one", "granted", 0),
    ],
)
def test_the_running_daemon_answers(
    serve: Callable[..., Daemon], question: list[str], password: bytes, said: str, status: int
) -> None:
    daemon = serve("--pool-size", 1)
    until(daemon.path.exists, "it listens")
    done = ask(*question, daemon.path, password=password)
    assert (done.stdout, done.returncode, done.stderr) == (f"{said}\n", status, "")


def test_it_asks_its_one_question_and_no_other(daemon: LineDaemon, tmp_path: Path) -> None:
    for where in (daemon.path, relay_file(tmp_path)):
        done = ask("auth", "alice@example.com", where, password=b"pass-alice\nauth:bob:example.com:pass-bob\n")
        assert (done.stdout, done.returncode) == ("granted\n", 0)
    assert daemon.asked == [b"auth:alice:example.com:pass-alice"] * 2


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("alice@example.com", b"a\0b", "control"),
        ("alice@example.com", b"a\x1bb", "control"),
        ("alice@example.com", b"\xff", "UTF-8"),
        ("alice@example.com", b"x" * 40_000, "longer"),
        ("ali\nce@example.com", b"x", "control"),
        ("alice@exam\nisuser:x:y", b"x", "colon"),
        ("a:b@example.com", b"x", "colon"),
        ("alice@example.com:x", b"x", "colon"),
    ],
)
def test_what_no_line_can_carry_is_not_sent(daemon: LineDaemon, name: str, password: bytes, reason: str) -> None:
    done = ask("auth", name, daemon.path, password=password)
    assert done.returncode == (2 if reason == "colon" else 1)
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert daemon.connections == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("pause", "in time"),
        ("twice", "nobody asked for"),
        ("garbage", "nobody asked for"),
        ("long", "nobody asked for"),
        ("bare", "in time"),
        ("half", "closed the connection"),
        ("close", "closed the connection"),
    ],
)
def test_a_daemon_with_bad_manners_says_nothing(daemon: LineDaemon, user: str, reason: str) -> None:
    begun, seconds = time.monotonic(), "0.5" if reason == "in time" else "20"
    words = ("auth", f"{user}@example.com", daemon.path, "--answer-timeout", seconds)
    done = ask(*words, password=f"pass-{user}".encode())
    assert (done.stdout, done.returncode) == ("unavailable\n", 1)
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert time.monotonic() - begun < USUAL, "it waits no longer than told, and for nothing that cannot come"
    daemon.go()


def test_the_relays_own_limits_count(daemon: LineDaemon, tmp_path: Path) -> None:
    file = relay_file(tmp_path, answer_timeout=0.3, max_line=40)
    begun = time.monotonic()
    assert ask("auth", "pause@example.com", file, password=b"pass-pause").stdout == "unavailable\n"
    assert time.monotonic() - begun < USUAL
    assert "longer" in ask("auth", "alice@example.com", file, password=b"x" * 20).stderr
    assert daemon.asked == [b"auth:pause:example.com:pass-pause"]
    daemon.go()


@pytest.mark.slow
def test_its_own_time_is_longer_than_the_daemons(daemon: LineDaemon) -> None:
    words = [*COMMAND, "ask", "auth", "pause@example.com", str(daemon.path)]
    begun = time.monotonic()
    with subprocess.Popen(words, env=environment(), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"x\n")
        process.stdin.close()
        daemon.until_asked(b"auth:pause:example.com:x")
        asked = time.monotonic()  # its start may take its time
        assert process.stdout.read() == b"unavailable\n"
    assert time.monotonic() - begun >= USUAL > DAEMONS
    assert time.monotonic() - asked < USUAL + 2.5
    daemon.go()


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(tmp_path / "auth.sock"))
    for where in (tmp_path / "auth.sock", relay_file(tmp_path)):
        done = ask("isuser", "u@h", where)
        assert (done.stdout, done.returncode) == ("unavailable\n", 1)
        assert "ECONNREFUSED" in done.stderr


def test_a_daemon_that_is_starting_is_waited_for(serve: Callable[..., Daemon], tmp_path: Path) -> None:
    """Its socket is systemd's, and holds the question until it is there."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(tmp_path / "handed.sock"))
        listening.listen()
        words = [*COMMAND, "ask", "isuser", "u@h", str(tmp_path / "handed.sock")]
        with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment(), cwd=ROOT) as process:
            serve("--pool-size", 1, handed=listening)
            assert process.communicate(timeout=20)[0] == b"granted\n"


@pytest.mark.parametrize(
    "more", [("--pool-size", "2"), ("--", "/bin/cat"), ("--answer-timeout", "never"), ("--answer-timeout", "0")]
)
def test_what_is_the_daemons_is_not_to_be_given(daemon: LineDaemon, tmp_path: Path, more: tuple[str, ...]) -> None:
    for where in (daemon.path, relay_file(tmp_path)):
        done = ask("isuser", "alice@example.com", where, *more)
        assert (done.returncode, done.stdout) == (2, "")
        assert more[0] in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert daemon.connections == 0


def test_a_broken_relay_file_is_one_line(tmp_path: Path) -> None:
    done = ask("isuser", "u@h", relay_file(tmp_path, pool_size=4))
    assert done.returncode == 2
    assert "pool_size" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_interrupted_it_says_nothing_and_no_yes(daemon: LineDaemon) -> None:
    words = [*COMMAND, "ask", "auth", "pause@example.com", str(daemon.path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, env=environment(), cwd=ROOT, **pipes) as process:
        assert process.stdin is not None
        process.stdin.write(b"pass-pause\n")
        process.stdin.close()
        daemon.until_asked(b"auth:pause:example.com:pass-pause")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) not in (0, 1)
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read() == b""
        assert b"Traceback" not in process.stderr.read()
    daemon.go()


def test_a_question_by_hand_disturbs_no_client(serve: Callable[..., Daemon]) -> None:
    daemon = serve("--pool-size", 1)
    client = daemon.connect()
    for _ in range(3):
        assert over_socket(client, b"isuser:no:h") == b"0\n"
        assert ask("isuser", "u@h", daemon.path).stdout == "granted\n"
    assert over_socket(client, b"isuser:u:h") == b"1\n"


@pytest.mark.parametrize("client", ["auto", "lockstep"])
def test_no_program_is_not_the_answer_no(serve: Callable[..., Daemon], tmp_path: Path, client: str) -> None:
    file = tmp_path / "auth.toml"
    file.write_text('program = "/bin/false"\n')
    daemon = serve("--client", client, file=file)
    until(daemon.path.exists, "it listens")
    done = ask("auth", "alice@example.com", daemon.path, password=b"pw-alice\n")
    assert (done.stdout, done.returncode) == ("unavailable\n", 1)
    assert "no program" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("knows", "user", "said", "reason"),
    [
        (True, "unknown", "unavailable", "no program"),
        (True, "alice", "granted", ""),
        (True, "bob", "denied", ""),
        (False, "unknown", "unavailable", "nobody asked for"),
        (False, "alice", "granted", ""),
        (False, "bob", "denied", ""),
    ],
)
def test_an_old_daemon_has_two_answers(daemon: LineDaemon, knows: bool, user: str, said: str, reason: str) -> None:
    daemon.knows = knows
    done = ask("auth", f"{user}@example.com", daemon.path, password=b"pass-alice")
    assert (done.stdout, done.returncode) == (f"{said}\n", 0 if said == "granted" else 1)
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == bool(reason)
    assert (daemon.wishes, daemon.connections) == (1, 1)
