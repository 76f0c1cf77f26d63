"""Measures the bridge beside a floor in C, programs without a bridge, and a peer. By hand; needs gcc, Linux.

    python tests/benchmarks/run.py [--rounds 5] [--seconds 2] [--quick] [--json FILE] [only...]

`only` is the start of cases' names: `pool slow4` runs pool4, pool8 and slow4. Each round runs every case
once, everybody in it right after each other, so a ratio is never between two moods of the machine. Every
single answer is checked. Exit status: 0; 1 if something measured gave a wrong answer or failed. A goal that
does not hold is only printed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import compiling
import report
from cases import Case, Commands, Run, all_cases
from report import Goal

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
BUSY = 0.5  # load average above which others disturb the figures
HELPER_MUX = "/usr/lib/squid/helper-mux"  # where Debian's package has it

AT_LEAST, AT_MOST = "at least", "at most"
FLOOR, PYTHON = {"how": "times", "against": "floor"}, {"how": "times", "against": "direct, Python"}
TRIO, BARE = {"how": "times", "against": "import trio"}, {"how": "more than", "against": "bare Python"}
PIPE = {"how": "more than", "against": "bridge, pipe"}

# What it is about; case, figure and whose; the limit, and against whom.
GOALS = (
    Goal("64 in flight, share of the floor", "pool4", "rate", "bridge", AT_LEAST, 0.45, **FLOOR, later=0.70),
    Goal("one by one, round trips of direct Python", "single", "p50_us", "bridge", AT_MOST, 3, **PYTHON),
    Goal("one by one, share of the floor", "single", "rate", "bridge", AT_LEAST, None, **FLOOR, later=0.85),
    Goal("pty, µs more than a pipe", "pty", "p50_us", "bridge, pty", AT_MOST, 60, **PIPE),
    Goal("4 programs of 20 ms, share of the ideal", "slow4", "of_ideal", "bridge", AT_LEAST, 0.98),
    Goal("16 programs of 20 ms, share of the ideal", "slow16", "of_ideal", "bridge", AT_LEAST, 0.98),
    Goal("64 programs of 20 ms, share of the ideal", "slow64", "of_ideal", "bridge", AT_LEAST, 0.98),
    Goal("to the first answer, times import trio", "start", "ms", "bridge", AT_MOST, 1.5, **TRIO),
    Goal("to a raw terminal, ms more than bare Python", "raw", "ms", "bridge", AT_MOST, 25, **BARE),
    Goal("resident memory, MB", "memory", "rss_kb", "bridge", AT_MOST, 30, scale=1024),
    Goal("memory of a line in flight, bytes", "held", "bytes_per_query", "bridge", AT_MOST, 1024),
)


class Failed(Exception):
    """A run ended with an error; str() is its last words."""


@dataclass
class Results:
    samples: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    errors: dict[str, dict[str, str]] = field(default_factory=dict)


def figures_of(run: Run, checkout: Path) -> dict[str, float]:
    """One run's figures. Raises Failed."""
    # `python -m bridge` finds the package of the directory it runs in.
    done = subprocess.run(run.argv, cwd=checkout, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Failed(" / ".join(words[-2:]))
    figures: dict[str, float] = json.loads(done.stdout)
    if "p99_us" in figures:
        figures["spread_ms"] = (figures["p99_us"] - figures["p50_us"]) / 1000
    if run.ideal:
        figures["of_ideal"] = figures["rate"] / run.ideal
    return figures


def run_case(case: Case, results: Results, checkout: Path, *, backwards: bool) -> None:
    """One round of a case. Who has failed once is not asked again."""
    samples = results.samples.setdefault(case.name, {})
    errors = results.errors.setdefault(case.name, {})
    for run in (list(reversed(case.runs)) if backwards else list(case.runs)) * case.repeats:
        if run.who in errors:
            continue
        try:
            samples.setdefault(run.who, []).append(figures_of(run, checkout))
        except Failed as error:
            errors[run.who] = str(error)


def measure(cases: Sequence[Case], rounds: int, checkout: Path) -> Results:
    """All rounds. Every other one goes through a case backwards: nobody always has the same one before it."""
    results = Results()
    for number in range(rounds):
        for case in cases:
            print(f"\rround {number + 1} of {rounds}: {case.name:<8}", end="", file=sys.stderr, flush=True)
            run_case(case, results, checkout, backwards=number % 2 == 1)
    print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
    return results


def chosen(cases: Iterable[Case], only: Sequence[str]) -> list[Case]:
    return [case for case in cases if not only or any(case.name.startswith(start) for start in only)]


def print_report(cases: Sequence[Case], results: Results, judged: Sequence[Mapping[str, Any]]) -> None:
    for case in cases:
        print(f"\n{case.name}: {case.title}")
        print(report.table(report.case_rows(case, results.samples[case.name], results.errors[case.name])))
    if judged:
        print("\ngoals")
        print(report.table(report.goal_rows(judged), left=2))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("only", nargs="*", help="start of the names of the cases to run (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="time of one measurement (default: 2)")
    parser.add_argument("--quick", action="store_true", help="one round of 0.3 s: does everything run?")
    parser.add_argument("--json", metavar="FILE", help="write every sample there too")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="the bridge to measure (default: this)")
    parser.add_argument("--helper-mux", default=HELPER_MUX, metavar="FILE", help=f"default: {HELPER_MUX}")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 0.3
    return options


def main() -> int:
    options = parse()
    machine = report.machine()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    build = compiling.build(HERE / "build")
    commands = Commands(build, sys.executable, options.helper_mux, options.seconds)
    cases = chosen(all_cases(commands), options.only)
    if not cases:
        sys.exit(f"no case's name begins with {' or '.join(options.only)}")
    if not Path(options.helper_mux).exists():
        print(f"skipped: mux8, mux64 (no {options.helper_mux}: apt-get install squid, or --helper-mux FILE)")
    if machine["load"] > BUSY:
        print("others are at work on this machine: only ratios mean something, and not much")
    print(f"rounds: {options.rounds}, of {options.seconds:g} s; medians, of the rounds' own ratios too")

    results = measure(cases, options.rounds, options.checkout.resolve())
    judged = [one for goal in GOALS if (one := report.judge(goal, results.samples)) is not None]
    print_report(cases, results, judged)
    if options.json:
        kept = {"machine": machine, "samples": results.samples, "errors": results.errors, "goals": judged}
        Path(options.json).write_text(json.dumps(kept, indent=1) + "\n")
    return 1 if any(results.errors.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
