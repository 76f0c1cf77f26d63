"""The configuration as its reader meets it: errors in one clear line, files, options, and the `#!` line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import procfs
from support.configfile import toml
from support.process import COMMAND, ROOT, environment
from support.programs.bad import CHAMELEON, Journal, habit

from .conftest import Start

pytestmark = pytest.mark.slow

GOOD = b"isuser:alice:example.com"

# settings, then what the error must name: the key, and what is allowed where that is a short list or a number
WRONG: dict[str, tuple[dict[str, object], list[str]]] = {
    "unknown key": ({"pool_sizes": 4}, ["pool_sizes"]),
    "key with a hyphen": ({"pool-size": 4}, ["pool-size"]),
    "unknown key of the log": ({"log": {"levels": "info"}}, ["levels"]),
    "unknown key of a host": ({"hosts": {"a.example": {"window": 3}}}, ["window", "a.example"]),
    "pool_size as text": ({"pool_size": "4"}, ["pool_size"]),
    "pool_size as a fraction": ({"pool_size": 1.5}, ["pool_size"]),
    "pool_size as a truth": ({"pool_size": True}, ["pool_size"]),
    "no program at all in the pool": ({"pool_size": 0}, ["pool_size", "1"]),
    "answer_timeout zero": ({"answer_timeout": 0}, ["answer_timeout"]),
    "answer_timeout negative": ({"answer_timeout": -1.0}, ["answer_timeout"]),
    "answer_timeout as text": ({"answer_timeout": "4s"}, ["answer_timeout"]),
    "max_requests negative": ({"max_requests": -1}, ["max_requests"]),
    "max_age negative": ({"max_age": -0.1}, ["max_age"]),
    "max_line too long for a signed short": ({"max_line": 32768}, ["max_line", "32767"]),
    "max_line zero": ({"max_line": 0}, ["max_line"]),
    "window zero": ({"window": 0}, ["window"]),
    "shutdown_grace negative": ({"shutdown_grace": -1}, ["shutdown_grace"]),
    "unknown kind of client": ({"client": "duplex"}, ["client", "lockstep", "pipelined"]),
    "truth as a number": ({"allow_empty_password": 1}, ["allow_empty_password"]),
    "unknown level": ({"log": {"level": "loud"}}, ["level", "info"]),
    "unknown target": ({"log": {"target": "printer"}}, ["target", "journal", "syslog"]),
    "commands as text": ({"commands": "auth"}, ["commands"]),
    "unknown command": ({"commands": ["auth", "AUTH"]}, ["commands"]),
    "program as a number": ({"program": 7}, ["program"]),
    "program without a word": ({"program": []}, ["program"]),
    "program as an empty text": ({"program": ""}, ["program"]),
    "program with an open quote": ({"program": "/bin/sh 'x"}, ["program"]),
    "program with a number in it": ({"program": ["/bin/sleep", 1000]}, ["program"]),
    "cwd as a number": ({"cwd": 1}, ["cwd"]),
    "env as a list": ({"env": ["A=b"]}, ["env"]),
    "log as text": ({"log": "info"}, ["log"]),
    "a host as text": ({"hosts": {"a.example": "/bin/cat"}}, ["a.example"]),
    "no program for a host": (
        {"program": None, "hosts": {"a.example": {"pool_size": 1}}},
        ["a.example", "program"],
    ),
    "two spellings of one host": (
        {"hosts": {"a.example": {"program": "/bin/cat"}, "A.example": {"program": "/bin/cat"}}},
        ["a.example"],
    ),
    "neither program nor hosts": ({"program": None}, ["program"]),
}


def refused(*arguments: object) -> str:
    """Run the command, which must exit with 2 and one line on stderr; that line."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        check=False,
        input=GOOD + b"\n",
        capture_output=True,
        timeout=20,
        env=environment(),
        cwd=ROOT,
    )
    assert done.returncode == 2, done
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert "Traceback" not in line
    return line


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str) -> None:
    """File, key, and what is allowed."""
    changes, named = WRONG[name]
    settings = {"program": list(CHAMELEON)} | changes
    file = tmp_path / "auth.toml"
    file.write_text(toml({key: value for key, value in settings.items() if value is not None}))
    line = refused("run", file)
    for word in (str(file), *named):
        assert word in line, line


def test_values_of_env_are_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "auth.toml"
    for wrong in ('{ DB_PASSWORD = ["hunter2"] }', '{ DB_PASSWORD = { a = "hunter2" } }'):
        file.write_text(f'program = "/bin/cat"\nenv = {wrong}\n')
        line = refused("run", file)
        assert "DB_PASSWORD" in line
        assert "hunter2" not in line


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('program = "/bin/cat"\npool_size = = 3\n', "line 2"),
        ('program = "/bin/cat"\n\n\nwindow = 3 4\n', "line 4"),
        ("#!/usr/bin/env extauth-bridge\nprogram = [\n", ""),
        ("window = 1\nwindow = 2\n", "line 2"),
        ("program = '/bin/cat'\nenv = { A = 'x' \n", ""),
    ],
)
def test_broken_toml_is_shown_with_its_line(tmp_path: Path, text: str, where: str) -> None:
    file = tmp_path / "auth.toml"
    file.write_text(text)
    line = refused("run", file)
    assert str(file) in line
    assert where in line


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\0program")
    for path in (tmp_path / "missing.toml", tmp_path, binary):
        assert str(path) in refused("run", path)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--pool-sizes", "3", "--", "/bin/cat"], "--pool-sizes"),
        (["run", "--pool-size", "many", "--", "/bin/cat"], "pool-size"),
        (["run", "--pool-size", "0", "--", "/bin/cat"], "pool"),
        (["run", "--pool-size"], "--pool-size"),
        (["run", "--client", "duplex", "--", "/bin/cat"], "client"),
        (["run", "--max-line", "32768", "--", "/bin/cat"], "max"),
        (["run", "--answer-timeout", "nan", "--", "/bin/cat"], "answer"),
        (["run", "--answer-timeout", "inf", "--", "/bin/cat"], "answer"),
        (["run"], "program"),
        (["run", "--"], "program"),
        (["run", "one.toml", "two.toml"], "two.toml"),
        (["frobnicate"], "frobnicate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_too(arguments: list[str], named: str) -> None:
    assert named in refused(*arguments)


def test_help_goes_to_stdout() -> None:
    for arguments in (["--help"], ["run", "--help"], ["ask", "--help"]):
        done = subprocess.run(
            [*COMMAND, *arguments], check=True, capture_output=True, timeout=20, env=environment(), cwd=ROOT
        )
        assert done.stderr == b""
        assert b"usage" in done.stdout.lower()


def test_every_key_is_an_option(start: Start, tmp_path: Path, journal: Journal) -> None:
    """All at once, each with another value than its default."""
    bridge = start(
        *("run", "--pool-size", 3, "--answer-timeout", 2.5, "--max-requests", 7, "--max-age", 60.5),
        *("--max-line", 512, "--window", 5, "--client", "pipelined", "--allow-empty-password"),
        *("--shutdown-grace", 1.5, "--cwd", tmp_path, "--log-level", "debug", "--log-target", "stderr"),
        *("--", *CHAMELEON),
        env=journal.environment,
    )
    assert bridge.ask(b"setpass:alice:example.com:").verdict == "1"
    assert bridge.ask(b"isuser:alice:".ljust(512, b"h")).verdict == "1"
    assert bridge.ask(b"isuser:alice:".ljust(513, b"h")).verdict == "0"
    bridge.wait_for_programs(3)
    bridge.finish()


def test_options_win_over_the_file(start: Start, configure) -> None:
    file = configure(program=habit("denies"), pool_size=5, max_line=100, answer_timeout=9.0)
    bridge = start("run", file, "--pool-size", 2, "--max-line", 200, "--", *CHAMELEON)
    assert bridge.ask(GOOD).verdict == "1"
    assert bridge.ask(b"isuser:alice:".ljust(150, b"h")).verdict == "1"
    bridge.wait_for_programs(2)
    bridge.finish()


def test_a_file_alone_is_run(start: Start, configure) -> None:
    bridge = start(configure(program=CHAMELEON, pool_size=3))
    assert bridge.ask(GOOD).verdict == "1"
    bridge.wait_for_programs(3)
    bridge.finish()


@pytest.mark.parametrize("name", ["run", "ask", "auth.toml", "with space.toml", "-dash.toml"])
def test_a_file_with_the_name_of_a_command(start: Start, tmp_path: Path, name: str) -> None:
    """A path with a slash is a file, whatever its last part is."""
    file = tmp_path / name
    file.write_text(toml({"program": CHAMELEON, "pool_size": 1}))
    bridge = start(file)
    assert bridge.ask(GOOD).verdict == "1"
    bridge.finish()


def test_an_executable_configuration_file(start: Start, tmp_path: Path, journal: Journal) -> None:
    """As Prosody starts it: no arguments, only the file's own path."""
    wrapper = tmp_path / "extauth-bridge"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m bridge "$@"\n')
    wrapper.chmod(0o755)
    file = tmp_path / "auth.toml"
    settings = toml({"program": CHAMELEON, "pool_size": 2, "env": journal.environment})
    file.write_text(f"#!{wrapper}\n# settings of our server\n{settings}")
    file.chmod(0o755)
    bridge = start(command=[str(file)], cwd=tmp_path)
    assert bridge.ask(GOOD).verdict == "1"
    bridge.wait_for_programs(2)
    bridge.finish()
    assert journal.frames() == [GOOD]


def test_the_pools_default_size(start: Start) -> None:
    bridge = start("run", "--", *CHAMELEON)
    assert bridge.ask(GOOD).verdict == "1"
    bridge.wait_for_programs(max(2, len(os.sched_getaffinity(0))))
    bridge.finish()


def test_a_relative_program_name_is_looked_up(start: Start, tmp_path: Path) -> None:
    """Through PATH, as execvp(3) does; with the directory `cwd`, not the caller's."""
    bridge = start("run", "--pool-size", 1, "--shutdown-grace", 0.2, "--", "sleep", "1000")
    (pid,) = bridge.wait_for_programs(1)
    assert procfs.arguments(pid) == ["sleep", "1000"]
    bridge.finish()
