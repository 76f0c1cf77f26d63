"""Where a line's work is: Python's bytecodes and calls of each function for a line, the same figures each time.

    python tests/benchmarks/bytecodes.py [--checkout DIRECTORY] [--lines 3200] [--top 40] [scenario]

Scenarios are those of `instructions`, pool4 if none is named. Played twice: once to learn at which looks at epoll the
counting begins and ends, and once with a tracing function in between. A bytecode is some 25 instructions, those of the
C functions it calls included. Needs gcc.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import compiling
import instructions
import report
import stepped
from stepped import SCENARIOS, Scenario

# What is put before the bridge's own first line. `select.epoll` cannot be a base class.
COUNTING = """
import collections, json, select, sys
begin, end, file = {begin}, {end}, {file!r}
calls, codes, epoll, looks = collections.Counter(), collections.Counter(), select.epoll, 0
def trace(frame, event, argument):
    name = frame.f_code.co_filename.rpartition("/")[2] + " " + frame.f_code.co_qualname
    if event == "call":
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        calls[name] += 1
    elif event == "opcode":
        codes[name] += 1
    return trace
class Epoll:
    def __init__(self, *arguments):
        self._epoll = epoll(*arguments)
    def __getattr__(self, name):
        return getattr(self._epoll, name)
    def poll(self, *arguments):
        global looks
        looks += 1
        if looks == begin:
            frame = sys._getframe(1)
            while frame:
                frame.f_trace, frame.f_trace_opcodes, frame.f_trace_lines = trace, True, False
                frame = frame.f_back
            sys.settrace(trace)
        elif looks == end:
            sys.settrace(None)
            with open(file, "w") as into:
                json.dump([calls, codes], into)
        return self._epoll.poll(*arguments)
select.epoll = Epoll
"""


@dataclass(frozen=True)
class Part:
    """The looks at which it begins and ends, and the answers in it."""

    begin: int
    end: int
    answers: int


def play(scenario: Scenario, checkout: Path, library: Path, lines: int, prelude: str) -> Part:
    """Play what `instructions` counts. Raises stepped.Wrong."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/socket"
        argv = stepped.command(scenario, sys.executable, path, prelude)
        with stepped.playing(scenario, argv, library, checkout, path, instructions.TICK) as outside:
            outside.run_until(instructions.WARM_UP)
            outside.tell("steady")
            outside.run_until(instructions.WARM_UP + instructions.SETTLE)
            begin, before = outside.looks, outside.answered
            outside.run_until(before + lines)
            part = Part(begin, outside.looks, outside.answered - before)
            outside.run_until(outside.answered + 1)  # the look at which it ends goes on
    return part


def count(scenario: Scenario, checkout: Path, library: Path, lines: int) -> list[tuple[str, float, float]]:
    """Each function with its calls and its bytecodes for a line, most bytecodes first."""
    never = COUNTING.format(begin=0, end=0, file="")  # with the same imports, so that the clock agrees
    part = play(scenario, checkout, library, lines, never)
    with tempfile.NamedTemporaryFile("r") as found:
        # The reactor has just looked when it stands still, so counting begins at its next look.
        prelude = COUNTING.format(begin=part.begin + 1, end=part.end + 1, file=found.name)
        if play(scenario, checkout, library, lines, prelude) != part:
            raise stepped.Wrong("the two runs were not alike")
        calls, codes = (Counter(counted) for counted in json.load(found))
    return [(name, calls[name] / part.answers, number / part.answers) for name, number in codes.most_common()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scenario", nargs="?", default="pool4", choices=[one.name for one in SCENARIOS])
    parser.add_argument("--checkout", type=Path, default=instructions.CHECKOUT, help="a bridge to look at")
    parser.add_argument("--lines", type=int, default=3200)
    parser.add_argument("--top", type=int, default=40)
    options = parser.parse_args()
    library = compiling.library(instructions.HERE / "build", "stepped.c")
    scenario = next(one for one in SCENARIOS if one.name == options.scenario)
    counted = count(scenario, options.checkout.resolve(), library, options.lines)
    rows = [["function", "calls a line", "bytecodes a line"]]
    rows += [[name, f"{calls:.3f}", f"{codes:.2f}"] for name, calls, codes in counted[: options.top]]
    rows.append(["all", f"{sum(one[1] for one in counted):.3f}", f"{sum(one[2] for one in counted):.2f}"])
    print(report.table(rows))


if __name__ == "__main__":
    main()
