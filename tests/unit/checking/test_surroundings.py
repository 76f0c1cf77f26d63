"""What a file names is looked at before anything is started."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from bridge.checking import surroundings
from bridge.checking.findings import Finding
from bridge.config.load import load
from bridge.config.settings import ProgramSettings, Settings


def settings(**options: object) -> Settings:
    return load(None, options, ["/bin/cat"])


def program(*argv: object, **options: object) -> ProgramSettings:
    made = load(None, options, [*map(str, argv)]).program
    assert made is not None
    return made


def told(findings: Iterable[Finding]) -> str:
    return "\n".join(f"{one.level.value} {one.trial}: {one.seen} | {one.advice}" for one in findings)


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_bytes(text.encode())
    path.chmod(mode)
    return path


def test_what_can_be_started() -> None:
    assert told(surroundings.of_program(program("/bin/cat"))) == "ok program: /bin/cat is executable, and / is there | "
    assert "is executable" in told(surroundings.of_program(program("cat")))


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("#!/bin/sh\n", 0o644, "is not executable"),
        ("#!/nonexistent/php\n", 0o755, "its interpreter /nonexistent/php is missing"),
        ("#!/usr/bin/env nosuchinterpreter\n", 0o755, "its interpreter nosuchinterpreter is not in PATH"),
        ("#!/bin/sh\r\necho\r\n", 0o755, "ends in a carriage return"),
        ("\ufeff#!/bin/sh\n", 0o755, "byte order mark"),
        ("#!\n", 0o755, "names nothing"),
    ],
)
def test_a_script_that_cannot_be_started(tmp_path: Path, text: str, mode: int, words: str) -> None:
    found = told(surroundings.of_program(program(script(tmp_path / "auth.sh", text, mode))))
    assert "error program: " in found
    assert words in found


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/nonexistent/auth"], "error program: /nonexistent/auth: No such file"),
        (["/bin"], "error program: /bin: is not a file"),
        (["nosuchcommand"], "error program: nosuchcommand: not found in PATH | name it by its full path"),
        (["/bin/cat", "/nonexistent/auth.php"], "note program: /nonexistent/auth.php, an argument, does not exist"),
        *(
            (["/bin/cat", word], "note program: no shell reads the command")
            for word in (
                "2>>",
                "2>>/tmp/log",
                "&&",
                "|",
                "$HOME",
                "--db=$HOME/x",
                "${X}/y",
                "~",
                "~/auth.pl",
                ";",
                ">log",
                "2>&1",
            )
        ),
    ],
)
def test_a_command_that_is_not_meant_so(argv: Sequence[str], words: str) -> None:
    assert words in told(surroundings.of_program(program(*argv)))


def test_a_shell_s_own_word_is_no_program_to_be_found_somewhere() -> None:
    found = told(surroundings.of_program(program("cd", "/tmp", "&&", "./auth")))
    assert "error program: no shell reads the command, but it has cd, which is a shell's own word" in found
    assert 'use ["/bin/sh", "-c", "exec ..."]' in found
    assert "full path" not in found
    assert "/cd does not exist" not in found


@pytest.mark.parametrize(
    "argv", [["/bin/sh", "-c", "exec $X 2>/dev/null"], ["/bin/cat", "a=b", "-d", "x:y", "$", "a;b"]]
)
def test_what_only_looks_like_a_shell_s(argv: Sequence[str]) -> None:
    assert "no shell" not in told(surroundings.of_program(program(*argv)))


def test_a_file_that_is_here_but_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "auth.py", "")
    monkeypatch.chdir(tmp_path)
    found = told(surroundings.of_program(program("/bin/cat", "auth.py")))
    assert "error program: auth.py, an argument, is a file here, but not in /" in found
    assert f"{tmp_path}/auth.py" in found


def test_a_directory_to_run_in() -> None:
    assert "error cwd: /nonexistent is no directory" in told(
        surroundings.of_program(program("cat", cwd="/nonexistent"))
    )


@pytest.mark.parametrize(
    ("path", "why"),
    [("/home", "ProtectHome"), ("/root", "ProtectHome"), ("/tmp", "PrivateTmp"), ("/var/tmp", "PrivateTmp")],
)
def test_what_the_unit_hides(path: str, why: str) -> None:
    found = told(surroundings.of_program(program("/bin/cat", cwd=path)))
    assert f"note unit's sandbox: {path} does not exist for the systemd service" in found
    assert why in found


def test_a_setuid_program(tmp_path: Path) -> None:
    path = script(tmp_path / "auth", "", 0o4755)
    assert "setuid" in told(surroundings.of_program(program(path)))


def test_who_else_could_write_the_program(tmp_path: Path) -> None:
    path = script(tmp_path / "auth", "", 0o777)
    assert "can be written by others" in told(surroundings.of_program(program(path)))


def test_what_serves_everybody(tmp_path: Path) -> None:
    made = settings(
        allow_users=["nosuchuser"],
        allow_groups=["nosuchgroup"],
        listen="/nonexistent/auth.sock",
        status_listen=str(tmp_path / "status.sock"),
        **{"log.target": "file:/nonexistent/log"},
    )
    found = told(surroundings.of_file(str(script(tmp_path / "auth.toml", "")), made))
    for words in (
        "is valid, and can be read",
        'error allow_users: there is no user "nosuchuser"',
        "error allow_groups: there is no group",
        "error listen: /nonexistent is no directory",
        "ok status_listen:",
        "error log.target: /nonexistent is no directory",
    ):
        assert words in found


def test_secrets_that_all_can_read(tmp_path: Path) -> None:
    file = script(tmp_path / "auth.toml", "", 0o644)
    made = settings(env=["PASSWORD=geheim"])
    found = told(surroundings.of_file(str(file), made))
    assert "can be read by everybody, and has env" in found
    assert "geheim" not in found
    file.chmod(0o640)
    assert "can be read by everybody" not in told(surroundings.of_file(str(file), made))
    file.chmod(0o660)
    assert "can be written by others" in told(surroundings.of_file(str(file), made))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def may(path: str, mode: int) -> bool:
        return mode != os.R_OK

    file = script(tmp_path / "auth.toml", "")
    monkeypatch.setattr(os, "access", may)
    assert "error file" in told(surroundings.of_file(str(file), settings()))


@pytest.mark.parametrize(
    ("argv", "env", "value", "is_told"),
    [
        (("/bin/cat", "auth.py"), {}, "1", True),
        (("/bin/cat", "auth.py"), {}, "", False),
        (("/bin/cat", "auth.py"), {"PYTHONUNBUFFERED": "1"}, "1", False),
        (("/bin/cat",), {}, "1", False),
    ],
)
def test_what_flushes_only_here_is_told(
    monkeypatch: pytest.MonkeyPatch, argv: Sequence[str], env: dict[str, str], value: str, is_told: bool
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", value)
    found = told(surroundings.of_program(program(*argv, env=env)))
    assert ("note unit's sandbox: PYTHONUNBUFFERED is set here" in found) is is_told
