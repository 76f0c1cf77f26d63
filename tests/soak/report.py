"""Beginning and end compared, for a person."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from statistics import median

from soak.measure import Pace, Size

NAMES = {
    "rss": "resident memory, KiB",
    "private": "memory of its own, KiB",
    "descriptors": "open descriptors",
    "sockets": "of them sockets",
    "processes": "processes",
    "threads": "threads",
    "relay_private": "memory of the relays, KiB",
    "relay_descriptors": "descriptors of the relays",
    "p50": "median of a question, µs",
    "p99": "99 of 100 questions, µs",
    "cpu": "CPU of a question, µs",
}


@dataclass(frozen=True)
class Row:
    """`begin` is what it was after warm-up, or what a fresh daemon takes beside the old one; `end` what it is now."""

    name: str
    begin: float
    end: float
    within: float

    @property
    def change(self) -> float:
        return self.end / self.begin - 1 if self.begin else float(self.end > 0)

    @property
    def holds(self) -> bool:
        """Less is no fault."""
        return self.change <= self.within


def rows_of_sizes(sizes: Sequence[Size], within: float) -> list[Row]:
    """The last fifth of all samples against the second: the first one is warm-up."""
    part = max(1, len(sizes) // 5)
    begin, end = sizes[part : 2 * part] or sizes[:1], sizes[-part:]
    return [Row(one.name, _median(begin, one.name), _median(end, one.name), within) for one in fields(Size)]


def rows_of_paces(fresh: Pace, old: Pace, within: float) -> list[Row]:
    names = [one.name for one in fields(Pace)]
    return [Row(*row, within) for row in zip(names, astuple(fresh), astuple(old), strict=True)]


def table(rows: Sequence[Row], headings: Sequence[str]) -> str:
    lines = [f"{'':32}{headings[0]:>12}{headings[1]:>12}{'change':>10}"]
    for row in rows:
        verdict = "" if row.holds else f"  more than {row.within:.0%}"
        lines.append(f"{NAMES[row.name]:32}{row.begin:12.0f}{row.end:12.0f}{row.change:+10.1%}{verdict}")
    return "\n".join(lines)


def _median(sizes: Sequence[Size], name: str) -> float:
    return float(median(getattr(size, name) for size in sizes))
