"""The command line to a person: what is mistyped, what cannot be printed, what is missing."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.process import COMMAND, environment
from support.programs.bad import CHAMELEON, Journal
from support.terminal import at_a_terminal, read_until

PRINTS = [["--help"], ["--version"], ["run", "--help"], ["run", "--help-all"], ["ask", "-h"], ["connect", "--help"]]
PRINTS += [["completion", "bash"]]


def run(*words: object, **how: object) -> subprocess.CompletedProcess[str]:
    options = {"capture_output": True, "stdin": subprocess.DEVNULL, **how}
    command = [*COMMAND, *map(str, words)]
    return subprocess.run(command, env=environment(), text=True, timeout=30, check=False, **options)  # type: ignore[call-overload, no-any-return]


# --- what is mistyped ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sevre"], "sevre is neither a command nor a file; did you mean serve?"),
        (["relaod"], "did you mean reload?"),
        (["xyzzy"], "xyzzy is neither a command nor a file (see extauth-bridge --help)"),
        (["run", "--pol-size", "3"], "did you mean --pool-size?"),
        (["serve", "--pool_size=3"], "did you mean --pool-size?"),
        (["--answer-timout", "3"], "did you mean --answer-timeout?"),
        (["run", "--halp"], "did you mean --help?"),
        (["ask", "atuh", "a@b"], "did you mean auth?"),
        (["ask", "auth", "alice"], "'alice' is not of the form USER@HOST"),
        (["ask", "alice@example.com"], "invalid choice: 'alice@example.com' (choose from"),
        (["ask", "auth", "a@b"], "whom to ask? Give the daemon's socket, such as /run/extauth-bridge/auth.sock"),
        (["completion", "fsh"], "did you mean fish?"),
    ],
)
def test_the_nearest_that_exists_is_suggested(words: Sequence[str], told: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert told in done.stderr


def test_a_file_of_any_name_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "sevre").write_text('program = "/bin/cat"\nbroken = 1\n')
    assert "unknown key broken" in run("sevre", cwd=tmp_path).stderr
    assert "cannot be read" in run("no-such.toml").stderr


# --- help ------------------------------------------------------------------------------------------------


def test_help_is_short_and_all_of_it_is_there_if_wanted() -> None:
    short, long = run("run", "--help").stdout, run("run", "--help-all").stdout
    assert short.count("\n") < 25
    assert "--help-all" in short
    assert "--max-requests" not in short
    assert "--max-requests" in long
    assert "--log-verdicts" in long


def test_the_commands_are_in_groups() -> None:
    lines = run("--help").stdout.splitlines()
    assert len(lines) < 30
    for title in ("to serve Prosody:", "to see what it does:", "to install it:"):
        assert title in lines
        assert lines[lines.index(title) + 1].startswith("  ")


@pytest.mark.parametrize("command", ["", "run", "setup", "completion"])
def test_help_fits_a_usual_terminal_and_breaks_no_word(command: str) -> None:
    lines = run(*command.split(), "--help").stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith("usage:")) <= 80
    assert not any(line.endswith("-") for line in lines)


@pytest.mark.parametrize("words", PRINTS, ids=" ".join)
def test_a_full_disk_is_told_in_one_line(words: Sequence[str]) -> None:
    with open("/dev/full", "w") as full:
        done = run(*words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (2, "extauth-bridge: cannot write: No space left on device\n")


@pytest.mark.parametrize("words", PRINTS, ids=" ".join)
def test_a_reader_that_is_gone_is_no_error(words: Sequence[str]) -> None:
    unread, output = os.pipe()
    os.close(unread)
    try:
        done = run(*words, capture_output=False, stdout=output, stderr=subprocess.PIPE)
    finally:
        os.close(output)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_output_at_all() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "--help"],
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in done.stderr


def test_a_verdict_that_cannot_be_written() -> None:
    with open("/dev/full", "w") as full:
        words = ["ask", "isuser", "alice@example.com", "--", *CHAMELEON]
        done = run(*words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (2, "extauth-bridge: cannot write: No space left on device\n")


# --- at a terminal ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("again", "status"), [(b"n\xc3\xa4w:one", 0), (b"other", 2)])
def test_a_new_password_is_asked_for_twice(journal: Journal, again: bytes, status: int) -> None:
    words = ["ask", "setpass", "alice@example.com", "--", *CHAMELEON]
    with at_a_terminal(*words, **journal.environment) as (terminal, statuses):
        shown = read_until(terminal, b"New password of alice@example.com: ", 20)
        os.write(terminal, b"n\xc3\xa4w:one\n")
        shown += read_until(terminal, b"again: ", 20)
        os.write(terminal, again + b"\n")
        shown += read_until(terminal, None, 20)
    assert statuses == [status], shown
    assert b"one" not in shown
    assert journal.frames() == [b"setpass:alice:example.com:n\xc3\xa4w:one"] * (status == 0)
    assert (b"differ" in shown) == (status == 2)


def test_no_password_at_all() -> None:
    with at_a_terminal("ask", "auth", "alice@example.com", "--", *CHAMELEON) as (terminal, statuses):
        read_until(terminal, b"Password of alice@example.com: ", 20)
        os.write(terminal, b"\x04")
        shown = read_until(terminal, None, 20)
    assert statuses == [2]
    assert b"no password was given" in shown


def test_connect_to_nothing_says_what_to_start(tmp_path: Path) -> None:
    with at_a_terminal("connect", tmp_path / "auth.sock") as (terminal, statuses):
        shown = read_until(terminal, b"systemctl start extauth-bridge.socket", 20)
        os.write(terminal, b"\x04")
        shown += read_until(terminal, None, 20)
    assert statuses == [0]
    assert f"no daemon at {tmp_path}/auth.sock: No such file or directory".encode() in shown


def test_connect_to_nothing_says_so_in_the_log(tmp_path: Path) -> None:
    done = run("connect", tmp_path / "auth.sock", stdin=None, input="isuser:a:b\n")
    assert done.stdout == "0\n"
    assert f"daemon cannot be reached error=ENOENT socket={tmp_path}/auth.sock hint=" in done.stderr
    assert "extauth-bridge serve" in done.stderr
