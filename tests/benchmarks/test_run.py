"""The whole benchmark runs, a little of everything in it, and prints what its README shows."""

import json
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import bytecodes
import compiling
import instructions
import pytest
import stepped
from support.components import command

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
PATIENCE = 120  # s; a bound for what hangs
SOME = ("pool4", "pty", "slow4", "shared", "tagged1", "open", "idle", "memory", "growth-line")


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


def test_instructions_are_counted_twice_alike(build: Path) -> None:
    """Everybody outside is played in step, so a thousandth is a difference; and all of a line's are counted."""
    command("valgrind", "valgrind")
    library = compiling.library(build, "stepped.c", command("gcc", "gcc"))
    scenario = stepped.Scenario("some", pool=2, in_flight=8)
    once, again = (instructions.count(scenario, instructions.CHECKOUT, library, 160, warm_up=0) for _ in range(2))
    assert once == pytest.approx(again, rel=0.001)
    assert 10_000 < once < 100_000


def test_bytecodes_are_counted_by_function(build: Path) -> None:
    library = compiling.library(build, "stepped.c", command("gcc", "gcc"))
    counted = bytecodes.count(stepped.SCENARIOS[0], instructions.CHECKOUT, library, 640)
    calls = {name: (calls, codes) for name, calls, codes in counted}
    assert calls["worker.py Worker.hand_over"][0] == pytest.approx(1, abs=0.05)
    assert 10 < calls["worker.py Worker.hand_over"][1] < 1000


@pytest.mark.parametrize("scenario", stepped.SCENARIOS, ids=attrgetter("name"))
def test_every_scenario_can_be_played(build: Path, tmp_path: Path, scenario: stepped.Scenario) -> None:
    library = compiling.library(build, "stepped.c", command("gcc", "gcc"))
    path = str(tmp_path / "socket")
    argv = stepped.command(scenario, sys.executable, path)
    with stepped.playing(scenario, argv, library, instructions.CHECKOUT, path, instructions.TICK) as outside:
        outside.run_until(1000)
        assert 1000 <= outside.answered < 1000 + max(1, scenario.clients) * scenario.in_flight
        outside.tell("steady")


def test_logins_are_counted(build: Path) -> None:
    del build
    command("prosody", "prosody")
    said = python("logins.py", "--rounds", "1", "--logins", "20")
    assert "The module's rate is" in said
