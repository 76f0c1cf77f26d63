"""What a run wrote with --json, as its README shows it: Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import report
from cases import Case, all_cases
from commands import HERE, Commands
from growth import Sweep, all_sweeps

UNITS = {
    "rate": (1000, "thousand/s"),
    "p50_us": (1, "µs"),
    "ms": (1, "ms"),
    "of_ideal": (1, ""),
    "spread_ms": (1, "ms"),
    "rest_wakeups": (1, ""),
    "rest_cpu": (0.01, "%"),
    "rss_kb": (1024, "MB"),
    "bytes_per_query": (1, "bytes"),
}
SIDE_BY_SIDE = ("floor", "bridge", "ejabberd", "helper-mux")
PICTURES = "pictures"  # the directory, beside the README
BEGINS, ENDS = "<!-- performance: what --publish wrote -->", "<!-- the end of what --publish wrote -->"
PYTHONS = {  # who is measured under another Python too
    "pool4": ("bridge",),
    "pool8": ("bridge",),
    "single": ("bridge",),
    "pty": ("bridge, pty", "connect, pty"),
    "shared": ("bridge",),
    "tagged32": ("tagged",),
    "start": ("bridge", "import trio"),
    "raw": ("bridge",),
    "memory": ("bridge",),
}
THROUGHPUT = ("pool4", "pool8", "mux8", "mux64", "single", "shared")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of them the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def three(number: float) -> str:
    """Three digits that count, never as a power of ten."""
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def page(kept: Mapping[str, Any]) -> str:
    """Everything that was measured; parts whose cases were not asked for are left out."""
    samples: report.Samples = kept["samples"]
    commands = Commands(HERE / "build", "python", kept["seconds"], None, None)
    parts = [where(kept), throughput(all_cases(commands), samples), pythons(kept), goals(kept["goals"])]
    for sweep in all_sweeps(commands):
        parts += [picture(sweep.name, sweep.title) if sweep.steps[0][1].name in samples else "", grown(sweep, samples)]
    parts += [picture("latency", "latency by load") if "open" in samples else "", latencies(samples)]
    return "\n\n".join(part for part in parts if part)


def publish(kept: Mapping[str, Any], readme: Path) -> None:
    """Replace what stands between the two marks."""
    before, begins, rest = readme.read_text().partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not (begins and ends):
        raise SystemExit(f"{readme}: the lines {BEGINS} and {ENDS} are missing")
    readme.write_text(f"{before}{begins}\n{page(kept)}\n\n{ends}{after}")


def picture(name: str, what: str) -> str:
    return f"![{what}]({PICTURES}/{name}.svg)"


def pythons(kept: Mapping[str, Any]) -> str:
    """The same bridge under two Pythons; empty if only one was measured."""
    label, samples = kept.get("beside"), kept["samples"]
    if not label:
        return ""
    columns = {case.name: case.columns[0] for case in all_cases(Commands(HERE / "build", "", 1, None, None))}
    rows = [["", "", f"Python {kept['machine']['python']}", label, "times"]]
    for name, who in ((name, who) for name, people in PYTHONS.items() for who in people):
        other = f"{who}, {label}"
        if name in samples and (ratios := report.paired(samples, name, columns[name].key, other, "times", who)):
            found = ([one[columns[name].key] for one in samples[name][one]] for one in (who, other))
            shown = [ranged(figures, columns[name].scale) for figures in found]
            rows.append([f"{name}: {who}", columns[name].head, *shown, three(statistics.median(ratios))])
    return table(rows)


def where(kept: Mapping[str, Any]) -> str:
    machine = kept["machine"]
    place = f"{machine['cores']} cores ({machine['processor']}, Linux {machine['kernel']})"
    busy = f" Others were at work too (load average {machine['load']})." if machine["load"] > report.BUSY else ""
    versions = f"Python {machine['python']}, trio {machine['trio']}"
    return (
        f"{place}, {versions}. {kept['rounds']} rounds of {kept['seconds']:g} s, everything in each of them; "
        f"medians, in brackets the least and the most.{busy}"
    )


def ranged(values: Sequence[float], scale: float) -> str:
    low, middle, high = (three(pick(values) / scale) for pick in (min, statistics.median, max))
    return f"{middle} ({low} to {high})"


def throughput(cases: Sequence[Case], samples: report.Samples) -> str:
    rows = [["thousand lines/s", *SIDE_BY_SIDE]]
    for case in cases:
        if case.name not in THROUGHPUT or case.name not in samples:
            continue
        found = ([one["rate"] for one in samples[case.name].get(who, ())] for who in SIDE_BY_SIDE)
        rows.append([case.title, *(ranged(rates, 1000) if rates else "" for rates in found)])
    return table(rows) if len(rows) > 1 else ""


def with_unit(value: float | None, figure: str) -> str:
    if value is None:
        return ""
    scale, unit = UNITS[figure]
    return f"{three(value / scale)} {unit}".rstrip()


def goals(judged: Sequence[Mapping[str, Any]]) -> str:
    rows = [["goal", "bridge", "beside it", "measured", "wanted", ""]]
    for one in judged:
        ours = with_unit(one.get("ours"), one.get("figure", ""))
        theirs = with_unit(one.get("theirs"), one.get("figure", ""))
        beside = f"{one['against']}: {theirs}" if theirs else ""
        measured = "nothing"
        if one["value"] is not None:
            measured = f"{three(one['value'])} ({three(one['min'])} to {three(one['max'])})"
        wanted = f"{one['bound']} {one['limit']:g}"
        rows.append([one["goal"], ours, beside, measured, wanted, "holds" if one["holds"] else "**fails**"])
    return f"<details><summary>Every goal</summary>\n\n{table(rows)}\n\n</details>" if judged else ""


def grown(sweep: Sweep, samples: report.Samples) -> str:
    """One sweep, its steps from left to right."""
    names = {size: case.name for size, case in sweep.steps if case.name in samples}
    key, scale = sweep.column.key, sweep.column.scale

    def row(head: str, value: Any) -> list[str]:
        return [head, *("" if (found := value(name)) is None else three(found) for name in names.values())]

    def rate(who: str) -> Any:
        return lambda name: None if (found := report.middle(samples, name, key, who)) is None else found / scale

    def share(name: str) -> float | None:
        shares = report.paired(samples, name, key, "bridge", "times", "floor")
        return statistics.median(shares) if shares else None

    if not names:
        return ""
    head = [sweep.title, *map(str, names)]
    unit = sweep.column.head
    return table(
        [head, row(f"bridge, {unit}", rate("bridge")), row(f"floor, {unit}", rate("floor")), row("share", share)]
    )


def latencies(samples: report.Samples) -> str:
    """The open loop's, from when each line was due."""
    if "open" not in samples:
        return ""
    shown = [(who, key) for who in ("bridge", "floor") for key in ("p50", "p99", "max")]
    rows = [["load, of the closed loop's rate", *(f"{who} {key}, µs" for who, key in shown)]]
    for share in ("50%", "80%", "95%"):
        found = (report.middle(samples, "open", f"{key}_us", f"{who}, {share}") for who, key in shown)
        rows.append([share, *("" if value is None else three(value) for value in found)])
    return table(rows)
