"""User instructions the bridge spends on a line, counted by valgrind: for comparing two checkouts.

    python tests/benchmarks/instructions.py [--checkout DIRECTORY] [--lines 4000] [--in-flight 64] [--pool 4]

Runs twice, with LINES more and with three times as many more than the bridge needs to believe that its programs write
whole replies, and takes the difference: starting and ending cancel out.
The programs are not traced; every answer is checked. Under valgrind the bridge is some fifty times slower while
the programs are not, so it always finds all of them ready, as it does under full load; and its clock is one that
counts how often it is looked at. On the real one the times of the reactor would be over after a few lines, how few
would depend on what else the machine does, and the same code would cost 21 or 37 thousand instructions a line. What
the kernel does is not counted: see the benchmark's CPU column for that. Needs valgrind and gcc; takes about a minute.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import compiling

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
WARM_UP = 11_000
WAIT = "300"  # s; far from what starting takes under valgrind

TICK = 1e-5
"""Seconds that pass at each look at the clock: a line takes a few, and some 25 µs under full load.  With a tenth
of it a line costs 1 % less, with ten times as much 6 % more."""

# valgrind (3.19, for one) may lack pidfd_open: a pipe that a thread hangs up when the process ends looks the same
# to who waits for it. The threads sleep all the time that is measured.
BRIDGE = f"""
import itertools, os, runpy, threading, time
time.monotonic = itertools.count(1000.0, {TICK}).__next__
def pidfd_open(pid, flags=0):
    reader, writer = os.pipe()
    def wait():
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.close(writer)
    threading.Thread(target=wait, daemon=True).start()
    return reader
os.pidfd_open = pidfd_open
runpy.run_module("bridge", run_name="__main__", alter_sys=True)
"""


def count(options: argparse.Namespace, build: Path, lines: int) -> tuple[int, int]:
    """Answers and instructions of one run. Ends with what was said if it fails."""
    with tempfile.TemporaryDirectory() as directory:
        profile = Path(directory) / "%p"  # each child that has yet to become a program would write its own
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", "--log-file=/dev/null"]
        bridge = [sys.executable, "-c", BRIDGE, "run", "--pool-size", str(options.pool)]
        bridge += ["--answer-timeout", WAIT, "--max-requests", "0", "--log-level", "warning"]
        command = [*valgrind, *bridge, "--", str(build / "program")]
        load = [str(build / "load"), "pipe", "-k", str(options.in_flight), "-s", WAIT, "-n", str(lines)]
        same = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [*load, *command], cwd=options.checkout, env=same, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            sys.exit(done.stderr)
        totals = [total(path) for path in Path(directory).iterdir()]
    return json.loads(done.stdout)["checked"], max(totals)


def total(profile: Path) -> int:
    """The instructions a profile says were run; 0 if it is of a process that ended before it could say so."""
    found = re.search(r"^(?:totals|summary): (\d+)", profile.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def per_line(few: tuple[int, int], many: tuple[int, int]) -> float:
    """What a line costs, from the answers and the instructions of a short run and a long one."""
    return (many[1] - few[1]) / (many[0] - few[0])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="the bridge to look at (default: this)")
    parser.add_argument("--lines", type=int, default=4000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--pool", type=int, default=4)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    build = compiling.build(HERE / "build")
    few, many = (count(options, build, WARM_UP + lines) for lines in (options.lines, 3 * options.lines))
    figures = {"instructions_per_line": round(per_line(few, many)), "lines": many[0] - few[0]}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
