"""From samples to what is printed: medians, ranges, shares, and whether each goal holds.

Samples are the figures of single runs, by case and by who was measured: samples[case][who] is a list, one
dictionary a run, in the order of the rounds. Shares and differences are taken within each round, between runs
that followed each other, and the median is of those: the machine's mood changes from round to round.
"""

import operator
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

Figures = Mapping[str, float]
Samples = Mapping[str, Mapping[str, Sequence[Figures]]]

HOW: Mapping[str, Callable[[float, float], float]] = {"times": operator.truediv, "more than": operator.sub}
HOLDS: Mapping[str, Callable[[float, float], bool]] = {"at most": operator.le, "at least": operator.ge}


@dataclass(frozen=True)
class Goal:
    """`figure` of `who` in `case` is `bound` (at most, at least) `limit`.

    With `how` (times, more than) it is compared with the figure of `against` in the same round.
    """

    text: str
    case: str
    figure: str
    who: str
    bound: str
    limit: float | None  # None: there is only a later one
    how: str | None = None
    against: str | None = None
    later: float | None = None  # the limit to be reached some day
    scale: float = 1.0  # figure / scale has the limit's unit


def paired(samples: Samples, case: str, figure: str, who: str, how: str, against: str) -> list[float]:
    """`who` compared with `against` in each round both were measured in."""
    ours, theirs = samples[case].get(who, ()), samples[case].get(against, ())
    return [HOW[how](one[figure], other[figure]) for one, other in zip(ours, theirs, strict=False)]


def reached(goal: Goal, samples: Samples) -> float | None:
    """The median of what the goal is about; None if it was not measured."""
    if goal.case not in samples:
        return None
    if goal.how and goal.against:
        values = paired(samples, goal.case, goal.figure, goal.who, goal.how, goal.against)
    else:
        values = [one[goal.figure] for one in samples[goal.case].get(goal.who, ())]
    if not values:
        return None
    median = statistics.median(values)
    return median if goal.how == "times" else median / goal.scale


def judge(goal: Goal, samples: Samples) -> dict[str, Any] | None:
    """What a goal's line says; None if its case was not asked for. `holds` is None without a limit."""
    if goal.case not in samples:
        return None
    value = reached(goal, samples)

    def holds(limit: float | None) -> bool | None:
        return None if limit is None else value is not None and HOLDS[goal.bound](value, limit)

    return {
        "goal": goal.text,
        "value": value,
        "bound": goal.bound,
        "limit": goal.limit,
        "holds": holds(goal.limit),
        "later": goal.later,
        "later_holds": holds(goal.later),
    }


def goal_rows(judged: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    words = {True: "holds", False: "FAILS", None: ""}
    rows = [["", "goal", "measured", "limit", "later limit"]]
    for one in judged:
        value = "nothing" if one["value"] is None else f"{one['value']:.3g}"
        limit = "" if one["limit"] is None else f"{one['bound']} {one['limit']:g}"
        later = ""
        if one["later"] is not None:
            later = f"{one['bound']} {one['later']:g}: {'holds' if one['later_holds'] else 'not yet'}"
        rows.append([words[one["holds"]], one["goal"], value, limit, later])
    return rows


def case_rows(case: Any, samples: Mapping[str, Sequence[Figures]], errors: Mapping[str, str]) -> list[list[str]]:
    """A case's table, head first. `case` is a cases.Case."""
    first = case.columns[0]
    head = ["", first.head, "min", "max", *(column.head for column in case.columns[1:])]
    if case.reference:
        head.append(f"of {case.reference}")
    rows = [head]
    for run in case.runs:
        if run.who in errors:
            rows.append([run.who, f"failed: {errors[run.who]}"])
        elif samples.get(run.who):
            rows.append([run.who, *cells(case, run.who, samples)])
    return rows


def cells(case: Any, who: str, samples: Mapping[str, Sequence[Figures]]) -> list[str]:
    def shown(column: Any, pick: Callable[[list[float]], float]) -> str:
        value = pick([one[column.key] for one in samples[who]])
        return f"{value / column.scale:.{column.digits}f}"

    first = case.columns[0]
    row = [shown(first, pick) for pick in (statistics.median, min, max)]
    row += [shown(column, statistics.median) for column in case.columns[1:]]
    if case.reference:
        shares = paired({case.name: samples}, case.name, first.key, who, "times", case.reference)
        row.append(f"{statistics.median(shares):.2f}" if shares else "-")
    return row


def table(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Rows as aligned text, the first of them the head: `left` columns to the left, the others to the right.

    A row shorter than the head ends in a remark, which takes no part in the widths.
    """
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        padded = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        if len(row) < len(rows[0]):
            padded[-1] = row[-1]
        lines.append("  " + "  ".join(padded).rstrip())
    return "\n".join(lines)


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def processor() -> str:
    """The CPU's name as the kernel has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine() -> dict[str, Any]:
    """Where this was measured. `load` is the minute's average before: not near 0, and others were at work."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "trio": version("trio"),
        "load": round(os.getloadavg()[0], 2),
    }
