"""`check`, seen from outside: its exit status, what it prints, and what it never does."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.components import missing
from support.process import COMMAND, ROOT, environment
from support.programs.bad import CHAMELEON, PROGRAMS, Journal, habit
from support.programs.replies import HONEST
from support.terminal import at_a_terminal, read_until

from .conftest import Start

MISTAKES = (sys.executable, "-I", "-S", "-B", str(PROGRAMS / "mistakes.py"))

PATIENCE = 120

OF_A_BUSY_MACHINE = {"start", "speed", "many in a row"}
"""Trials that note how long something took."""

IN = ("C, byte by byte", "Python", "Python, buffered", "Node.js", "Node.js, readSync", "shell")
"""Ways to read of correct programs, besides those of test_styles.py."""


def check(
    *arguments: object, password: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `check` with the password on stdin, which is not a terminal."""
    done = subprocess.run(
        [*COMMAND, "check", *map(str, arguments)],
        check=False,
        input=password,
        capture_output=True,
        timeout=PATIENCE,
        env=environment(env),
        cwd=ROOT,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def levels(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The levels of all findings of the only program."""
    (program,) = json.loads(done.stdout)["programs"]
    return {finding["trial"]: finding["level"] for finding in program["findings"]}


@pytest.mark.slow
def test_nothing_deviates_in_correct_programs_whichever_way_they_read(tmp_path: Path) -> None:
    commands = {name: HONEST[name](tmp_path) for name in IN}
    with ThreadPoolExecutor(len(IN)) as threads:
        done = dict(zip(IN, threads.map(lambda name: check("--json", "--", *commands[name]), IN), strict=True))
    for name, result in done.items():
        assert result.returncode == 0, f"{name}: {result.stdout}{result.stderr}"
        notes = {trial for trial, level in levels(result).items() if level != "ok"}
        assert notes <= {"an account", "unit's sandbox", *OF_A_BUSY_MACHINE}, f"{name}: {result.stdout}"


def test_what_deviates_is_told_to_a_person() -> None:
    done = check("--", *MISTAKES, "line_end")
    assert done.returncode == 1, done
    assert done.stderr == ""
    for words in (
        "deviates  replies",
        "a line end behind the reply",
        "for logins:",
        "to do:",
        "there is no configuration to recommend",
    ):
        assert words in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_where_nothing_can_be_printed(how: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "check", *how, "--", "/nonexistent/program"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            env=environment(),
        )
    assert (done.returncode, done.stderr) == (2, b"extauth-bridge: standard output: No space left on device\n")


def test_a_program_that_does_not_exist() -> None:
    done = check("--", "/nonexistent/program")
    assert done.returncode == 2, done
    assert "error     program" in done.stdout
    assert "/nonexistent/program: No such file" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no program"),
        (["--no-such", "--", "/bin/cat"], "--no-such"),
        (["/nonexistent/auth.toml"], "/nonexistent/auth.toml"),
        (["--account", "alice", "--", "/bin/cat"], "USER@HOST"),
        (["--account", "alice@example.com", "--", "/bin/cat"], "no password of alice@example.com"),
        (["--user", "nosuchuser", "--", "/bin/cat"], "no such user"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], words: str) -> None:
    done = check(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_a_relay_s_file_is_no_program_s(tmp_path: Path) -> None:
    file = tmp_path / "auth.toml"
    file.write_text('connect = "/run/extauth-bridge/auth.sock"\n')
    done = check(file)
    assert done.returncode == 2
    assert "check the daemon's own file" in done.stderr


def test_every_program_of_a_file_is_checked(configure) -> None:
    """And the account's password goes to the program of its host, nowhere else."""
    file = configure(
        program=[*MISTAKES, "line_end"],
        hosts={"other.example": {"program": [*MISTAKES, "words"]}, "third.example": {"program": [*MISTAKES, "words"]}},
        allow_users=["nosuchuser"],
        answer_timeout=1,
    )
    done = check("--json", file)
    read = json.loads(done.stdout)
    assert (done.returncode, read["status"]) == (2, 2)
    assert [one["hosts"] for one in read["programs"]] == [[], ["other.example", "third.example"]]
    assert {finding["trial"]: finding["level"] for finding in read["file"]}["allow_users"] == "error"
    for one in read["programs"]:
        assert "deviates" in {finding["level"] for finding in one["findings"]}


@pytest.mark.slow
def test_an_account_is_tried_and_nothing_is_changed(journal: Journal) -> None:
    done = check(
        *("--json", "--account", "alice@example.com", "--", *CHAMELEON), password=b"pw-alice\n", env=journal.environment
    )
    assert done.returncode == 0, done
    assert levels(done)["auth of the account"] == "ok"
    assert "an account" not in levels(done)
    assert "pw-alice" not in done.stdout + done.stderr
    asked = {frame.split(b":")[0] for frame in journal.frames()}
    assert asked == {b"auth", b"isuser", b"nosuchcommand"}
    users = {frame.split(b":")[1] for frame in journal.frames()} - {b"alice"}
    assert all(user.startswith(b"check-") for user in users)


def test_the_password_is_prompted_for_on_a_terminal(tmp_path: Path) -> None:
    """And neither echoed nor printed; in colour."""
    words = ["check", "--account", "alice@example.com", "--", *MISTAKES, "line_end"]
    with at_a_terminal(*words, TERM="xterm") as (terminal, statuses):
        shown = read_until(terminal, b"assword", 20)
        os.write(terminal, b"pw-alice\n")
        shown += read_until(terminal, None, 60)
    assert statuses == [1], shown
    assert (b"pw-alice" in shown) is False, "the password is shown"
    assert b"\x1b[31mdeviates" in shown


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_check_leaves_nothing(start: Start, journal: Journal, number: signal.Signals) -> None:
    with open(os.devnull, "wb") as null:
        bridge = start("check", "--", *habit("ignores_both"), env=journal.environment, stdout=null.fileno())
    bridge.until(lambda: len(journal.pids("start")) > 2, "trials to begin", 30)
    bridge.child.send_signal(number)
    assert bridge.wait(30) == 128 + number
    bridge.check_nothing_left()


def test_another_user_with_the_environment_of_a_service() -> None:
    if os.geteuid():
        missing("root, to become another user", "sudo")
    script = "import os; os.write(2, repr((os.getuid(), os.getgroups(), os.umask(0), sorted(os.environ))).encode())"
    done = check("--user", "nobody", "--", "/usr/bin/python3", "-c", script, env={"SECRET_OF_ROOT": "x"})
    assert done.returncode == 1, done
    assert "65534, [65534], 63, [" in done.stdout
    assert "SECRET_OF_ROOT" not in done.stdout
