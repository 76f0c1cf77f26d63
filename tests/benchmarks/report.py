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

BUSY = 0.5  # load average above which others disturb the figures

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
    limit: float
    how: str | None = None
    against: str | None = None
    scale: float = 1.0  # figure / scale has the limit's unit


def paired(samples: Samples, case: str, figure: str, who: str, how: str, against: str) -> list[float]:
    """`who` compared with `against` in each round both were measured in."""
    ours, theirs = samples[case].get(who, ()), samples[case].get(against, ())
    return [HOW[how](one[figure], other[figure]) for one, other in zip(ours, theirs, strict=False)]


def reached(goal: Goal, samples: Samples) -> list[float]:
    """What the goal is about, once for each round in which it was measured."""
    if goal.how and goal.against:
        values = paired(samples, goal.case, goal.figure, goal.who, goal.how, goal.against)
    else:
        values = [one[goal.figure] for one in samples[goal.case].get(goal.who, ())]
    return values if goal.how == "times" else [value / goal.scale for value in values]


def judge(goal: Goal, samples: Samples) -> dict[str, Any]:
    """What a goal's line says. What was not measured does not hold; `samples` has its case."""
    return verdict(goal.text, reached(goal, samples), goal.bound, goal.limit) | {
        "ours": middle(samples, goal.case, goal.figure, goal.who),
        "theirs": middle(samples, goal.case, goal.figure, goal.against or ""),
        "figure": goal.figure,
        "against": goal.against,
    }


def verdict(text: str, values: Sequence[float], bound: str, limit: float) -> dict[str, Any]:
    """The median, and whether it is what it has to be; `values` of the rounds."""
    value = statistics.median(values) if values else None
    return {
        "goal": text,
        "value": value,
        "min": min(values, default=None),
        "max": max(values, default=None),
        "bound": bound,
        "limit": limit,
        "holds": value is not None and HOLDS[bound](value, limit),
    }


def middle(samples: Samples, case: str, figure: str, who: str) -> float | None:
    """The median of somebody's figure, None if it was not measured."""
    values = [one[figure] for one in samples.get(case, {}).get(who, ()) if figure in one]
    return statistics.median(values) if values else None


def goal_rows(judged: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = [["", "goal", "measured", "min", "max", "limit"]]
    for one in judged:
        shown = ["nothing", "", ""]
        if one["value"] is not None:
            shown = [f"{one[key]:.3g}" for key in ("value", "min", "max")]
        limit = f"{one['bound']} {one['limit']:g}"
        rows.append(["holds" if one["holds"] else "FAILS", one["goal"], *shown, limit])
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
        values = [one[column.key] for one in samples[who] if column.key in one]
        return f"{pick(values) / column.scale:.{column.digits}f}" if values else "-"

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
