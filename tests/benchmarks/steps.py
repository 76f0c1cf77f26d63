"""How a rate changes while one thing grows."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import report
from goals import CLIFF, growth_goal
from growth import Sweep


def steps(sweep: Sweep, samples: report.Samples, who: str) -> list[list[float]]:
    """For every step but the first its rate as a share of the rate before, once for each round."""
    rates = [[one[sweep.column.key] for one in samples.get(case.name, {}).get(who, ())] for _, case in sweep.steps]
    pairs = itertools.pairwise(rates)
    return [[after / before for before, after in zip(one, two, strict=False)] for one, two in pairs]


def judge(sweep: Sweep, samples: report.Samples) -> dict[str, Any]:
    """Whether no step leads down by more than a tenth: the goal's line, about the step with the worst median.

    Where one was not measured nothing is known of the whole, and it does not hold.
    """
    measured = steps(sweep, samples, "bridge")
    worst = min(measured, key=statistics.median) if all(measured) else []
    return report.verdict(growth_goal(sweep), worst, "at least", CLIFF)


def rows(sweep: Sweep, samples: report.Samples, errors: Mapping[str, Mapping[str, str]]) -> list[list[str]]:
    """The sweep's table, head first."""
    head = sweep.column.head
    table = [[sweep.unit, f"floor {head}", f"bridge {head}", "min", "max", "of floor", "floor's step", "bridge's step"]]
    theirs, ours = ([[], *steps(sweep, samples, who)] for who in ("floor", "bridge"))
    for (size, case), their_step, our_step in zip(sweep.steps, theirs, ours, strict=True):
        failed = errors.get(case.name)
        if failed:
            table.append([str(size), "failed: " + "; ".join(f"{who}: {why}" for who, why in failed.items())])
            continue
        key, scale, digits = sweep.column.key, sweep.column.scale, sweep.column.digits
        bridge = [one[key] / scale for one in samples[case.name]["bridge"]]
        floor = [one[key] / scale for one in samples[case.name]["floor"]]
        share = report.paired(samples, case.name, key, "bridge", "times", "floor")
        figures = [statistics.median(floor), statistics.median(bridge), min(bridge), max(bridge)]
        cells = [f"{figure:.{digits}f}" for figure in figures]
        table.append([str(size), *cells, f"{statistics.median(share):.2f}", change(their_step), change(our_step)])
    return table


def change(step: Sequence[float]) -> str:
    """In per cent, flagged where it is a cliff."""
    if not step:
        return ""
    median = statistics.median(step)
    return f"{'CLIFF ' if median < CLIFF else ''}{(median - 1) * 100:+.0f} %"
