"""How a program's buffer is flushed, in its language."""

import sys
from pathlib import Path

import pytest

from bridge.checking.languages import flushing


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/usr/bin/perl", "/opt/auth"], "$| = 1;"),
        (["python3.11", "-m", "auth"], "flush=True"),
        ([sys.executable, "auth"], "python3 -u"),
        (["/opt/auth.rb"], "$stdout.sync = true"),
        (["lua5.4", "auth"], 'setvbuf("no")'),
        (["/opt/auth.php"], "flush()"),
        (["bash", "-c", "x"], "stdbuf -oL COMMAND"),
        (["/opt/auth"], "setvbuf(stdout, NULL, _IOLBF, 0)"),
    ],
)
def test_named_by_interpreter_or_suffix(argv: list[str], words: str) -> None:
    assert words in flushing(argv)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("#!/usr/bin/perl -w", "$| = 1;"),
        ("#!/usr/bin/env python3", "python3 -u"),
        ("#!/usr/bin/env -S ruby -w", "$stdout.sync"),
        ("#!", "setvbuf(stdout"),
        ("\x7fELF", "setvbuf(stdout"),
    ],
)
def test_named_by_a_scripts_first_line(tmp_path: Path, first: str, words: str) -> None:
    script = tmp_path / "auth"
    script.write_text(f"{first}\n")
    assert words in flushing([str(script)])
