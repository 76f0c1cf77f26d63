"""User instructions the bridge spends on a line, counted by valgrind: for comparing two checkouts.

    python tests/benchmarks/instructions.py [--checkout DIRECTORY]... [--lines 6400] [scenario...]

Scenarios: pool4 (64 lines in flight on 4 programs, the goal's), pool8, mux64, single, shared (a daemon with 32 clients,
4 lines each), tagged (the same clients with tags). The same figure comes out each time, as `stepped` plays everybody
outside step by step and the clock counts how often it is looked at, so a difference of ten instructions is one. Every
answer is checked. What the kernel does is not counted: see the benchmark's CPU column for that. With several checkouts,
the last column is the last one's share of the first. Needs valgrind and gcc; takes some 20 seconds each.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import compiling
import report
import stepped
from stepped import SCENARIOS, Scenario

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent

WARM_UP = 11_000
"""Lines; the bridge believes that its programs write whole replies after some ten thousand."""

SETTLE = 2000
"""Lines after that, until the clock that then goes as usual has shown how quick programs are."""

TICK = 4000
"""Nanoseconds that pass at each look at the clock: with it, a line takes 6 µs of that clock under full load, as it does
by day."""


def count(scenario: Scenario, checkout: Path, library: Path, lines: int, warm_up: int = WARM_UP) -> float:
    """Instructions per line. Raises stepped.Wrong."""
    with tempfile.TemporaryDirectory() as directory:
        profile = Path(directory) / "profile"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", "--log-file=/dev/null"]
        argv = stepped.command(scenario, sys.executable, f"{directory}/socket")
        argv = [*valgrind, "--instr-atstart=no", *argv]
        with stepped.playing(scenario, argv, library, checkout, f"{directory}/socket", TICK) as outside:
            outside.run_until(warm_up)
            outside.tell("steady")
            outside.run_until(warm_up + SETTLE)
            before = outside.answered
            outside.tell("count")
            outside.run_until(before + lines)
            outside.tell("dump")
        return total(Path(f"{profile}.1")) / (outside.answered - before)


def total(profile: Path) -> int:
    """The instructions a profile says were run."""
    found = re.search(r"^(?:totals|summary): (\d+)", profile.read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def rows(
    scenarios: Sequence[Scenario], counted: Sequence[Sequence[float]], checkouts: Sequence[Path]
) -> list[list[str]]:
    table = [["instructions a line", *(path.name for path in checkouts)]]
    for scenario, figures in zip(scenarios, counted, strict=True):
        table.append([scenario.name, *(f"{figure:.0f}" for figure in figures)])
    if len(checkouts) > 1:
        table[0].append("share")
        for row, figures in zip(table[1:], counted, strict=True):
            row.append(f"{figures[-1] / figures[0]:.4f}")
    return table


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("only", nargs="*", metavar="scenario", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--checkout", type=Path, action="append", help="a bridge to look at (default: this)")
    parser.add_argument("--lines", type=int, default=6400)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if unknown := {*options.only} - {*names}:
        parser.error(f"no such scenario: {' '.join(sorted(unknown))}")
    options.scenarios = [one for one in SCENARIOS if not options.only or one.name in options.only]
    options.checkouts = [path.resolve() for path in options.checkout or [CHECKOUT]]
    return options


def main() -> None:
    options = parse()
    library = compiling.library(HERE / "build", "stepped.c")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        running = [
            [pool.submit(count, scenario, path, library, options.lines) for path in options.checkouts]
            for scenario in options.scenarios
        ]
        counted = [[one.result() for one in figures] for figures in running]
    if options.json:
        print(json.dumps({one.name: figures for one, figures in zip(options.scenarios, counted, strict=True)}))
    else:
        print(report.table(rows(options.scenarios, counted, options.checkouts)))


if __name__ == "__main__":
    main()
