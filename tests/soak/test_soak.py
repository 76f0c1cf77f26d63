"""The soak in its short form: nothing wrong, nothing grows; and what would be wrong or grow is noticed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from soak import hurried, report
from soak.measure import Pace, Size
from support.components import command

HERE = Path(__file__).resolve().parent

SIZE = Size(30000, 20000, 55, 18, 7, 1, 13000, 20)

EXACT = {"descriptors", "sockets", "processes", "threads", "relay_descriptors"}
MEMORY = 0.2
"""By which it may grow: 50 000 questions are hardly more than warm-up."""


def soaked(tmp_path: Path, *options: object) -> tuple[int, dict[str, Any]]:
    command("gcc", "gcc")
    kept = tmp_path / "kept.json"
    argv = [sys.executable, str(HERE / "run.py"), "--json", str(kept), *map(str, options)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert kept.exists(), done.stderr
    return done.returncode, json.loads(kept.read_text())


@pytest.mark.slow
def test_nothing_is_wrong_and_nothing_grows(tmp_path: Path) -> None:
    _, told = soaked(tmp_path, "--queries", 50_000, "--rounds", 0)
    assert told["faults"] == {}
    assert told["tally"]["answered"] > 30_000
    assert told["tally"]["granted"] > 10_000
    assert told["reloads"]["in force"] >= 2
    assert told["reloads"]["refused"] >= 1
    changes = {row["name"]: row["end"] / row["begin"] - 1 for row in told["rows"]}
    assert {name: change for name, change in changes.items() if name in EXACT and change > 0} == {}
    assert changes["private"] < MEMORY
    assert changes["relay_private"] < MEMORY


@pytest.mark.slow
def test_a_lie_is_noticed(tmp_path: Path) -> None:
    status, told = soaked(tmp_path, "--queries", 10_000, "--rounds", 0, "--lie")
    assert status == 1
    for wrong in ("granted what must be denied", "denied what must be granted"):
        assert sum(count for what, count in told["faults"].items() if wrong in what) > 0


def test_what_grows_is_noticed_after_warm_up() -> None:
    warm = [replace(SIZE, rss=10000 + 4000 * number) for number in range(5)]
    level = [SIZE] * 20
    assert all(row.holds for row in report.rows_of_sizes(warm + level, 0.05))
    leaking = [replace(SIZE, rss=30000 + 200 * number, descriptors=55 + number // 4) for number in range(20)]
    broken = [row.name for row in report.rows_of_sizes(warm + leaking, 0.05) if not row.holds]
    assert broken == ["rss", "descriptors"]


def test_what_gets_slower_is_noticed() -> None:
    rows = report.rows_of_paces(Pace(100.0, 200.0, 50.0), Pace(104.0, 211.0, 40.0), 0.05)
    assert [row.name for row in rows if not row.holds] == ["p99"]
    assert report.table(rows, ("fresh", "old")).count("more than 5%") == 1


def test_every_time_that_is_shortened_still_exists() -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "hurried.py"), "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert hurried.HASTE > 1
