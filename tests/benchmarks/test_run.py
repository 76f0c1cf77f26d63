"""The whole benchmark runs, a little of everything in it, and prints what its README shows."""

import json
import subprocess
import sys
from pathlib import Path

import instructions
import pytest
from support.components import command

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
PATIENCE = 120  # s; a bound for what hangs
SOME = ("pool4", "pty", "slow4", "shared", "open", "idle", "memory", "growth-line")


def python(script: str, *argv: str) -> str:
    whole = [sys.executable, str(HERE / script), *argv]
    done = subprocess.run(whole, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_kind_of_case_runs(build: Path, tmp_path: Path) -> None:
    del build  # skips where there is no compiler
    kept = tmp_path / "kept.json"
    said = python("run.py", "--rounds", "1", "--seconds", "0.05", "--json", str(kept), *SOME)
    found = json.loads(kept.read_text())
    assert not any(found["errors"].values()), found["errors"]
    steps = {f"growth-line-{size}" for size in (20, 100, 1000, 4000)}
    assert found["samples"].keys() == {*SOME[:-1]} | steps
    for goal in found["goals"]:
        assert goal["value"] is not None
        assert goal["goal"] in said
    assert "| 4 programs, 64 lines in flight |" in python("run.py", "--table", str(kept))


def test_instructions_are_counted(build: Path) -> None:
    """Those of the bridge and its start: some hundred million. The programs' alone would be a few thousand."""
    command("valgrind", "valgrind")
    answers, instructed = instructions.count(instructions.parse(["--in-flight", "8"]), build, 40)
    assert answers >= 40
    assert 100_000_000 < instructed < 10_000_000_000


def test_the_difference_of_two_runs_is_that_of_their_lines() -> None:
    assert instructions.per_line((100, 5_000_000), (300, 5_400_000)) == 2000


def test_logins_are_counted(build: Path) -> None:
    del build
    command("prosody", "prosody")
    said = python("logins.py", "--rounds", "1", "--logins", "20")
    assert "The module's rate is" in said
