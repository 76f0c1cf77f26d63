"""Completion, asked of real shells."""

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest
from support.components import command
from support.process import COMMAND, environment

from bridge.commands.cli import COMMANDS

SHELLS = ("bash", "zsh", "fish")
PATIENCE = 30.0

CASES = [
    ("", {*COMMANDS}),
    ("ser", {"serve"}),
    ("ask ", {"auth", "isuser", "setpass"}),
    ("run --log-l", {"--log-level"}),
    ("run --client ", {"auto", "lockstep", "pipelined"}),
    ("serve --log-verdicts ", {"none", "failed", "all"}),
    ("completion ", {*SHELLS}),
    ("help troub", {"troubleshooting"}),
    ("help pool_s", {"pool_size"}),
]

WITHOUT_TEXT = {"ask", "completion", "help"}
"""Commands whose first word has no explanation of its own."""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        words = [*COMMAND, "completion", shell]
        done = subprocess.run(words, env=environment(), capture_output=True, check=True, timeout=30)
        assert done.stderr == b""
        (folder / f"_extauth-bridge.{shell}").write_bytes(done.stdout)
    return {shell: folder / f"_extauth-bridge.{shell}" for shell in SHELLS}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_of_its_shell(shell: str, scripts: dict[str, Path]) -> None:
    subprocess.run([command(shell, shell), "-n", scripts[shell]], check=True, timeout=30)


BASH = """
source "$1"
complete -p extauth-bridge > /dev/null || exit 1
read -ra COMP_WORDS <<< "extauth-bridge $2"
[[ -z $2 || $2 == *' ' ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_extauth_bridge
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "found"),
    [
        *CASES,
        ("run --client = lock", {"lockstep"}),  # as bash splits --client=lock
        ("run --log-level = ", {"debug", "info", "warning", "error"}),
        ("run -- /bin/cat --log-l", set[str]()),
        ("run auth.to", set[str]()),  # bash completes files by itself then
    ],
)
def test_bash(line: str, found: set[str], scripts: dict[str, Path]) -> None:
    words = [command("bash", "bash"), "--norc", "-c", BASH, "bash", scripts["bash"], line]
    done = subprocess.run(words, capture_output=True, check=True, text=True, timeout=30)
    assert done.stderr == ""
    assert {*done.stdout.split()} - {"--help", "--version"} == found


@pytest.mark.parametrize(("line", "found"), CASES)
def test_fish(line: str, found: set[str], scripts: dict[str, Path], tmp_path: Path) -> None:
    asked = f"source {scripts['fish']}; complete -C 'extauth-bridge {line}'"
    words = [command("fish", "fish"), "--no-config", "-c", asked]
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, check=True, text=True, timeout=30, cwd=tmp_path, env=home)
    assert done.stderr == ""
    assert {row.partition("\t")[0] for row in done.stdout.splitlines()} >= found
    assert all("\t" in row for row in done.stdout.splitlines()) or "--" in line or line.split()[0] in WITHOUT_TEXT


def test_zsh(scripts: dict[str, Path], tmp_path: Path) -> None:
    """Found as zsh finds it, in a directory of functions, and listed at a terminal."""
    functions = tmp_path / "functions"
    functions.mkdir()
    (functions / "_extauth-bridge").write_text(scripts["zsh"].read_text())
    zsh = command("zsh", "zsh")  # before the fork: a child that is told to skip this test would go on with all others
    pid, terminal = pty.fork()
    if pid == 0:
        env = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(tmp_path), "COLUMNS": "200", "LINES": "100"}
        os.execve(zsh, ["zsh", "-f", "-i", "-V"], env)
    try:
        begin = f"fpath=({functions} $fpath); autoload -U compinit; compinit -u -D; unsetopt beep; PS1='READY> '"
        type_in(terminal, begin + "\n", "READY> ")
        for line, found in CASES:
            shown = type_in(terminal, f"extauth-bridge {line}\t", " ", found if len(found) > 1 else {*found})
            assert all(word in shown for word in found), shown
            type_in(terminal, "\x15\n", "READY> ")  # ^U: a new line
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def type_in(terminal: int, text: str, until: str, words: set[str] | None = None) -> str:
    """Type at a terminal; returns what is shown, once `until` and `words` are."""
    os.write(terminal, text.encode())
    shown, deadline = "", time.monotonic() + PATIENCE
    while not (until in shown and all(word in plain(shown) for word in words or ())):
        left = deadline - time.monotonic()
        assert left > 0, f"{until!r} and {words} do not come: {shown!r}"
        if select.select([terminal], [], [], left)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    return plain(shown)


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|.\x08", "", shown)
