"""`ask`: one question by hand; and `run --demo`."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.process import COMMAND, ROOT, environment
from support.programs.bad import CHAMELEON, Journal, habit
from support.terminal import at_a_terminal, read_until

from .conftest import Start


def ask(
    *arguments: object, password: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `ask` with the password on stdin, which is not a terminal."""
    return subprocess.run(
        [*COMMAND, "ask", *map(str, arguments)],
        check=False,
        input=password,
        capture_output=True,
        timeout=20,
        env=environment(env),
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    ("question", "password", "status"),
    [
        (["auth", "alice@example.com"], b"pw-alice\n", 0),
        (["auth", "alice@example.com"], b"pw-alice", 0),
        (["auth", "alice@example.com"], b"pw-alice\r\n", 0),
        (["auth", "alice@example.com"], b"wrong\n", 1),
        (["auth", "noalice@example.com"], b"pw-noalice\n", 1),
        (["auth", "alice@example.com"], b"pw-alice:more\n", 1),
        (["isuser", "alice@example.com"], b"", 0),
        (["isuser", "nobody@example.com"], b"", 1),
        (["setpass", "alice@example.com"], b"new:pass word\n", 0),
        (["setpass", "nobody@example.com"], b"new\n", 1),
    ],
)
def test_the_exit_status_is_the_answer(question: Sequence[str], password: bytes, status: int) -> None:
    done = ask(*question, "--", *CHAMELEON, password=password)
    assert done.returncode == status, done
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_the_password_arrives_as_typed(journal: Journal) -> None:
    for password in ("wonder:land", " spaces ", "größer", 'quo"te\\n', ":", "-x"):
        ask("auth", "alice@example.com", "--", *CHAMELEON, password=password.encode(), env=journal.environment)
        assert journal.frames()[-1] == f"auth:alice:example.com:{password}".encode()


def test_only_the_first_line_is_the_password(journal: Journal) -> None:
    """What follows is neither part of it nor another question."""
    password = b"pw-alice\nsetpass:alice:example.com:x\n"
    done = ask("auth", "alice@example.com", "--", *CHAMELEON, password=password, env=journal.environment)
    assert journal.frames() in ([b"auth:alice:example.com:pw-alice"], [])
    assert done.returncode in ((0,) if journal.frames() else (1, 2))


@pytest.mark.parametrize("way", ["die", "hang", "garbage0", "twice", "partial"])
def test_a_program_that_does_not_answer_is_no_yes(configure, way: str) -> None:
    file = configure(program=CHAMELEON, pool_size=1, answer_timeout=0.5, shutdown_grace=0.2)
    begun = time.monotonic()
    done = ask("auth", f"{way}-alice@example.com", file, password=f"pw-{way}-alice".encode())
    assert done.returncode == 1, done
    assert time.monotonic() - begun < 5
    assert b"Traceback" not in done.stderr


def test_a_program_that_cannot_start() -> None:
    done = ask("isuser", "alice@example.com", "--", "/nonexistent/program")
    assert done.returncode in (1, 2)
    assert b"/nonexistent/program" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_programs_of_a_file(configure, journal: Journal) -> None:
    """The host's program, if it has one; and only allowed commands."""
    file = configure(
        program=habit("denies"),
        hosts={"other.example": {"program": CHAMELEON, "env": journal.environment, "commands": ["auth"]}},
    )
    assert ask("auth", "alice@example.com", file, password=b"pw-alice").returncode == 1
    assert ask("auth", "alice@other.example", file, password=b"pw-alice").returncode == 0
    assert journal.frames() == [b"auth:alice:other.example:pw-alice"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["auth"],
        ["auth", "alice@example.com"],
        ["auth", "alice", "--", "/bin/cat"],
        ["auth", "@example.com", "--", "/bin/cat"],
        ["auth", "alice@", "--", "/bin/cat"],
        ["bogus", "alice@example.com", "--", "/bin/cat"],
        ["auth", "alice@example.com", "secret", "--", "/bin/cat"],
        ["isuser", "alice@example.com", "--"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line(arguments: list[str]) -> None:
    done = ask(*arguments, password=b"pw-alice\n")
    assert done.returncode == 2, done
    assert len(done.stderr.splitlines()) == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (["/nonexistent/auth"], "/nonexistent/auth: it cannot be started: No such file or directory"),
        (habit("stillborn", 3), ", with status 3"),  # it ended, before or while it was given the question
        (habit("silent"), "start included: `extauth-bridge check` finds out more"),
    ],
)
def test_the_last_line_says_why_there_is_no_answer(program: Sequence[str], why: str) -> None:
    done = ask("isuser", "alice@example.com", "--answer-timeout", "1", "--", *program)
    assert (done.returncode, done.stdout) == (1, b"unavailable\n")
    assert why in done.stderr.decode().splitlines()[-1]


def test_the_password_is_prompted_for_on_a_terminal(journal: Journal) -> None:
    """And not shown: neither echoed nor printed."""
    with at_a_terminal("ask", "auth", "alice@example.com", "--", *CHAMELEON, **journal.environment) as (
        terminal,
        statuses,
    ):
        shown = read_until(terminal, b"assword", 20)
        # Sent only when the echo is off; a prompt before that moment is a prompt too early.
        os.write(terminal, b"pw-alice\n")
        shown += read_until(terminal, None, 20)
    assert statuses == [0], shown
    assert (b"pw-alice" in shown) is False, "the password is shown"
    assert journal.frames() == [b"auth:alice:example.com:pw-alice"]


@pytest.mark.slow
def test_ask_leaves_nothing_behind(start: Start, journal: Journal) -> None:
    """Run as a bridge is, to find its processes; its program stays through end of input and SIGTERM."""
    with open(os.devnull, "wb") as null:
        bridge = start(
            *("ask", "isuser", "alice@example.com", "--", *habit("ignores_both")),
            env=journal.environment,
            stdout=null.fileno(),
        )
    assert bridge.wait(15) == 0
    bridge.check_nothing_left()
    assert journal.frames() == [b"isuser:alice:example.com"]


def test_the_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "run", "--demo", "--answer-timeout", "20"],
        check=False,
        input=b"auth:alice:example.com:wonder:land\nauth:alice:example.com:hunter2\nisuser:alice:example.com\nbogus\n",
        capture_output=True,
        timeout=30,
        env=environment({"TMPDIR": str(tmp_path)}),
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (0, b"1\n0\n1\n0\n"), done
    assert b"wonder" not in done.stderr
    assert not list(tmp_path.iterdir()), "the demo's database is left behind"


@pytest.mark.slow
def test_the_demo_forgets(start: Start) -> None:
    """A change in one demo is not there in the next."""
    for _ in range(2):
        bridge = start("run", "--demo", "--answer-timeout", 20)
        assert bridge.ask(b"auth:alice:example.com:wonder:land").verdict == "1"
        assert bridge.ask(b"setpass:alice:example.com:new:one").verdict == "1"
        assert bridge.ask(b"auth:alice:example.com:wonder:land").verdict == "0"
        assert bridge.ask(b"auth:alice:example.com:new:one").verdict == "1"
        bridge.finish()
