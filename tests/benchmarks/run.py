"""Measures the bridge beside a floor in C, programs without a bridge, and peers. By hand; needs gcc, Linux.

    python tests/benchmarks/run.py [--rounds 5] [--seconds 2] [--quick] [--json FILE] [only...]
    python tests/benchmarks/run.py --table FILE
    python tests/benchmarks/run.py --publish FILE

`only` is the start of cases' names: `pool slow4` runs pool4, pool8 and slow4; `growth` everything that grows. --goals
leaves out everybody about whom there is no goal. --beside-python measures the same bridge under another Python too.
Each round runs every case once, everybody in it right after each other, so a ratio is never between two moods
of the machine. Every single answer is checked. Exit status: 0; 1 if something measured gave a wrong answer or
failed. A goal that does not hold is only printed. --table prints what a run wrote with --json in Markdown, --publish
puts that and its pictures into the README beside this.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import compiling
import markdown
import pictures
import report
import steps
from cases import Case, Run, all_cases
from commands import HELPER_MUX, HERE, RATE, SOCKET, Commands, ejabberd_modules
from daemon import Failed, last_words, serving
from goals import GOALS
from growth import Sweep, all_sweeps

CHECKOUT = HERE.parent.parent


@dataclass
class Results:
    samples: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    errors: dict[str, dict[str, str]] = field(default_factory=dict)


def ask(argv: Sequence[str], checkout: Path) -> dict[str, float]:
    """What one command says it measured. Raises Failed."""
    # `python -m bridge` finds the package of the directory it runs in.
    done = subprocess.run(argv, cwd=checkout, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(last_words(done.stderr, done.returncode))
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def figures_of(run: Run, checkout: Path, rate: float) -> dict[str, float]:
    """One run's figures, with its daemon's life around it if it has one. Raises Failed."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        path = f"{directory}/socket"
        known = {SOCKET: path, RATE: f"{rate:.0f}"}
        argv = [known.get(word, word) for word in run.argv]
        if run.daemon:
            with serving([known.get(word, word) for word in run.daemon], path, checkout):
                figures = ask(argv, checkout)
        else:
            figures = ask(argv, checkout)
    if "p99_us" in figures:
        figures["spread_ms"] = (figures["p99_us"] - figures["p50_us"]) / 1000
    if run.ideal:
        figures["of_ideal"] = figures["rate"] / run.ideal
    return figures


def in_order(case: Case, *, backwards: bool) -> list[Run]:
    """Those that set others' pace come first."""
    runs = list(reversed(case.runs)) if backwards else list(case.runs)
    return sorted(runs, key=lambda run: bool(run.paced_by)) * case.repeats


def run_case(case: Case, results: Results, checkout: Path, *, backwards: bool) -> None:
    """One round of a case. Who has failed once is not asked again."""
    samples = results.samples.setdefault(case.name, {})
    errors = results.errors.setdefault(case.name, {})
    for run in in_order(case, backwards=backwards):
        if run.who in errors:
            continue
        try:
            if run.paced_by in errors:
                raise Failed(f"no rate was measured for {run.paced_by}")
            rate = samples[run.paced_by][-1]["rate"] * run.share if run.paced_by else 0.0
            samples.setdefault(run.who, []).append(figures_of(run, checkout, rate))
        except Failed as error:
            errors[run.who] = str(error)


def measure(cases: Sequence[Case], rounds: int, checkout: Path) -> Results:
    """All rounds. Every other one goes through a case backwards: nobody always has the same one before it."""
    results, began = Results(), time.monotonic()
    for number in range(rounds):
        for index, case in enumerate(cases):
            tell(number, rounds, case.name, number + index / len(cases), time.monotonic() - began)
            run_case(case, results, checkout, backwards=number % 2 == 1)
    took = (time.monotonic() - began) / 60
    print(f"\r{f'measured in {took:.0f} minutes':<70}", file=sys.stderr)
    return results


def tell(number: int, rounds: int, name: str, done: float, took: float) -> None:
    """What is measured, and how long it all takes after `done` rounds: again and again on a terminal, else by round."""
    left = f", {took / done * (rounds - done) / 60:.0f} minutes left" if done >= 1 else ""
    said = f"round {number + 1} of {rounds}{left}"
    if sys.stderr.isatty():
        print(f"\r{f'{said}: {name}':<70}", end="", file=sys.stderr, flush=True)
    elif done == number:
        print(said, file=sys.stderr, flush=True)


def chosen(cases: Iterable[Case], only: Sequence[str]) -> list[Case]:
    return [case for case in cases if not only or any(case.name.startswith(start) for start in only)]


def of_goals(cases: Iterable[Case]) -> list[Case]:
    """Those about which there is a goal, with nobody in them about whom there is none."""
    wanted = {(goal.case, who) for goal in GOALS for who in (goal.who, goal.against)}
    narrowed = [replace(case, runs=[run for run in case.runs if (case.name, run.who) in wanted]) for case in cases]
    return [case for case in narrowed if case.runs]


def with_other_python(cases: Iterable[Case], others: Iterable[Case], label: str) -> list[Case]:
    """The cases in which Pythons are compared also have the bridge of `others`, the same cases under another one."""
    runs = {case.name: {run.who: run for run in case.runs} for case in others}

    def beside(case: Case) -> list[Run]:
        names = markdown.PYTHONS.get(case.name, ())
        return [replace(runs[case.name][who], who=f"{who}, {label}") for who in names if who in runs[case.name]]

    return [replace(case, runs=[*case.runs, *beside(case)]) for case in cases]


def judge(cases: Sequence[Case], sweeps: Sequence[Sweep], results: Results) -> list[dict[str, Any]]:
    """Every goal whose case was asked for and whose peer is installed."""
    who = {case.name: {run.who for run in case.runs} for case in cases}
    goals = [one for one in GOALS if one.case in who and {one.who, one.against or one.who} <= who[one.case]]
    judged = [report.judge(goal, results.samples) for goal in goals]
    return judged + [steps.judge(sweep, results.samples) for sweep in sweeps if len(sweep.steps) > 1]


def print_report(cases: Sequence[Case], sweeps: Sequence[Sweep], results: Results) -> None:
    for case in cases:
        if not case.name.startswith("growth-"):
            print(f"\n{case.name}: {case.title}")
            print(report.table(report.case_rows(case, results.samples[case.name], results.errors[case.name])))
    for sweep in sweeps:
        print(f"\ngrowth-{sweep.name}: {sweep.title}")
        print(report.table(steps.rows(sweep, results.samples, results.errors)))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("only", nargs="*", help="start of the names of the cases to run (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="time of one measurement (default: 2)")
    parser.add_argument("--quick", action="store_true", help="one round of 0.3 s: does everything run?")
    parser.add_argument("--json", metavar="FILE", help="write every sample there too")
    parser.add_argument("--table", metavar="FILE", help="measure nothing: print what --json wrote, in Markdown")
    parser.add_argument("--publish", metavar="FILE", help="measure nothing: put that and pictures into the README")
    parser.add_argument("--goals", action="store_true", help="only what there are goals for, without what grows")
    parser.add_argument("--beside-python", metavar="FILE", help="another Python that has trio, to be measured too")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="the bridge to measure (default: this)")
    parser.add_argument("--helper-mux", default=HELPER_MUX, metavar="FILE", help=f"default: {HELPER_MUX}")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 0.3
    return options


def peers(options: argparse.Namespace) -> tuple[str | None, str | None]:
    """helper-mux and ejabberd's modules, where they are; says what is skipped."""
    helper_mux = options.helper_mux if Path(options.helper_mux).exists() else None
    ejabberd = ejabberd_modules()
    if helper_mux is None:
        print(f"skipped: helper-mux (no {options.helper_mux}: apt-get install squid, or --helper-mux FILE)")
    if ejabberd is None:
        print("skipped: ejabberd (apt-get install ejabberd)")
    return helper_mux, ejabberd


def version_of(python: str) -> str:
    """What a Python calls itself. Ends if it has no trio."""
    asked = [python, "-c", "import platform, trio; print('Python', platform.python_version())"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{python}: {last_words(done.stderr, done.returncode)}")
    return done.stdout.strip()


def wanted_cases(options: argparse.Namespace, commands: Commands, label: str) -> tuple[list[Case], list[Sweep]]:
    """All cases to be measured, and what grows in some of them. Ends if there are none."""
    sweeps = [] if options.goals else all_sweeps(commands)
    cases = of_goals(all_cases(commands)) if options.goals else all_cases(commands)
    if options.beside_python:
        cases = with_other_python(cases, all_cases(replace(commands, python=options.beside_python)), label)
    cases = chosen([*cases, *(case for sweep in sweeps for _, case in sweep.steps)], options.only)
    if not cases:
        sys.exit(f"no case's name begins with {' or '.join(options.only)}")
    return cases, [narrowed for sweep in sweeps if (narrowed := sweep.only(cases)).steps]


def main() -> int:
    options = parse()
    if options.table or options.publish:
        kept = json.loads(Path(options.table or options.publish).read_text())
        print(markdown.page(kept))
        if options.publish:
            pictures.write(kept, HERE / markdown.PICTURES)
            markdown.publish(kept, HERE / "README.md")
        return 0
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the bridge is compiled once, as an installation is
    machine = report.machine()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    label = version_of(options.beside_python) if options.beside_python else ""
    build = compiling.build(HERE / "build")
    commands = Commands(build, sys.executable, options.seconds, *peers(options))
    cases, sweeps = wanted_cases(options, commands, label)
    if machine["load"] > report.BUSY:
        print("others are at work on this machine: only ratios mean something, and not much")
    print(f"rounds: {options.rounds}, of {options.seconds:g} s; medians, of the rounds' own ratios too")

    results = measure(cases, options.rounds, options.checkout.resolve())
    judged = judge(cases, sweeps, results)
    print_report(cases, sweeps, results)
    if judged:
        print("\ngoals")
        print(report.table(report.goal_rows(judged), left=2))
    kept = {
        "machine": machine,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "beside": label,
        "samples": results.samples,
        "errors": results.errors,
        "goals": judged,
    }
    if label:
        print(f"\n{markdown.pythons(kept)}")
    if options.json:
        Path(options.json).write_text(json.dumps(kept, indent=1) + "\n")
    return 1 if any(results.errors.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
