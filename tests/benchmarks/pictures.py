"""What a run wrote with --json as pictures: one SVG for everything that grows, and one for latency by load.

A line is the median of the rounds, the band around it the least and the most. Lines are named where they end. Colours
follow the reader's light or dark mode; the ground is drawn too, as a page may be of the other mode.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import report
from commands import HERE, Commands
from growth import Sweep, all_sweeps

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 590, 76, 346  # of the field; to its right are the lines' names
APART = 17  # from one name to the next
LEGEND = "line: median of the rounds; band: the least and the most"
UNITS = {"thousand/s": "Thousand lines a second", "MB/s": "Megabytes a second"}
STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #57606a }
  .title { font-size: 17px; font-weight: 600; fill: #1f2328 }
  .ground { fill: #ffffff; stroke: #d1d9e0 } .grid { stroke: #e3e8ed } .axis { stroke: #8c959f }
  .line { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round }
  .dashed { stroke-dasharray: 2 6 }
  .band { opacity: 0.16; stroke: none } .name { font-weight: 600 }
  .bridge { stroke: #0969da } .bridge.full { fill: #0969da; stroke: none }
  .floor { stroke: #9a6700 } .floor.full { fill: #9a6700; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 } .title { fill: #f0f6fc }
    .ground { fill: #0d1117; stroke: #3d444d } .grid { stroke: #262c36 } .axis { stroke: #656c76 }
    .band { opacity: 0.22 }
    .bridge { stroke: #4493f8 } .bridge.full { fill: #4493f8 } .floor { stroke: #d29922 } .floor.full { fill: #d29922 }
  }
"""


@dataclass(frozen=True)
class Line:
    """One line, `who` being its colour: for every x its figure in each round."""

    name: str
    who: str
    points: Mapping[float, Sequence[float]]
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """`across` names what grows; `log` is for figures of several orders of magnitude."""

    title: str
    subtitle: str
    across: str
    lines: Sequence[Line]
    log: bool = False
    unit: str = ""  # of the ticks across


def drawn(chart: Chart) -> str:
    """The picture as SVG."""
    xs = sorted({x for line in chart.lines for x in line.points})
    figures = [one for line in chart.lines for rounds in line.points.values() for one in rounds]
    across, ticks = _across(xs, linear=bool(chart.unit)), _ticks(min(figures), max(figures), chart.log)
    up = _up(ticks, chart.log)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(chart.title)}; {escape(chart.subtitle)}</title><style>{STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
        _text(24, 34, chart.title, "title"),
        _text(24, 55, chart.subtitle),
    ]
    for tick in ticks:
        style = "axis" if tick == ticks[0] else "grid"
        parts.append(f'<path class="{style}" d="M{LEFT} {up(tick):.1f}H{RIGHT}"/>')
        parts.append(_text(LEFT - 8, up(tick) + 4, f"{tick:,g}", anchor="end"))
    parts += [_text(across(x), BOTTOM + 20, f"{x:g}{chart.unit}", anchor="middle") for x in xs]
    parts.append(_text((LEFT + RIGHT) / 2, BOTTOM + 41, chart.across, anchor="middle"))
    for line in chart.lines:
        parts += _line(line, across, up)
    parts += _names(chart.lines, up)
    return "\n".join([*parts, "</svg>", ""])


def _across(xs: Sequence[float], *, linear: bool) -> Any:
    """Where an x is: each doubling as wide as the others, unless `linear`."""
    scale = (lambda x: x) if linear else math.log2
    first, span = scale(xs[0]), (scale(xs[-1]) - scale(xs[0])) or 1
    margin = 16
    return lambda x: LEFT + margin + (scale(x) - first) / span * (RIGHT - LEFT - 2 * margin)


def _ticks(least: float, most: float, log: bool) -> list[float]:
    """Round figures from below the least, or 0, to above the most."""
    if log:
        low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
        return [10.0**power for power in range(low, max(high, low + 1) + 1)]
    rough = most / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    return [step * number for number in range(math.ceil(most / step) + 1)]


def _up(ticks: Sequence[float], log: bool) -> Any:
    scale = math.log10 if log else float
    first, span = scale(ticks[0]), scale(ticks[-1]) - scale(ticks[0])
    return lambda figure: BOTTOM - (scale(figure) - first) / span * (BOTTOM - TOP)


def _line(line: Line, across: Any, up: Any) -> list[str]:
    def path(pick: Any, xs: Sequence[float]) -> str:
        return "L".join(f"{across(x):.1f} {up(pick(line.points[x])):.1f}" for x in xs)

    xs = sorted(line.points)
    style = " dashed" if line.dashed else ""
    return [
        f'<path class="band full {line.who}" d="M{path(max, xs)}L{path(min, xs[::-1])}Z"/>',
        f'<path class="line {line.who}{style}" d="M{path(statistics.median, xs)}"/>',
        *(
            f'<circle class="full {line.who}" r="3.5" cx="{across(x):.1f}" '
            f'cy="{up(statistics.median(line.points[x])):.1f}"/>'
            for x in xs
        ),
    ]


def _names(lines: Sequence[Line], up: Any) -> list[str]:
    """Each line's name and last figure where it ends, moved down where two would overlap."""
    last = {line.name: statistics.median(line.points[max(line.points)]) for line in lines}
    parts, free = [], float(TOP - APART)
    for line in sorted(lines, key=lambda line: -last[line.name]):
        free = max(up(last[line.name]) + 4, free + APART)
        shown = f"{last[line.name]:,.0f}" if last[line.name] >= 10 else f"{last[line.name]:.2g}"
        parts.append(_text(RIGHT + 8, free, f"{line.name}  {shown}", f"name full {line.who}"))
    return parts


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'


def of_sweep(sweep: Sweep, samples: report.Samples) -> Chart | None:
    """None if it was not measured."""
    key, scale = sweep.column.key, sweep.column.scale

    def line(who: str) -> Line:
        found = {size: samples.get(case.name, {}).get(who, ()) for size, case in sweep.steps}
        return Line(who, who, {x: [one[key] / scale for one in rounds] for x, rounds in found.items() if rounds})

    lines = [found for who in ("floor", "bridge") if (found := line(who)).points]
    title = f"{UNITS[sweep.column.head]}: {sweep.title}"
    return Chart(title, LEGEND, sweep.unit, lines, sweep.column.head == "MB/s") if lines else None


def of_latency(samples: report.Samples) -> Chart | None:
    """The open loop's. None if it was not measured."""
    shares = (50, 80, 95)

    def line(who: str, key: str) -> Line:
        found = {share: samples.get("open", {}).get(f"{who}, {share}%", ()) for share in shares}
        points = {float(x): [one[f"{key}_us"] / 1000 for one in rounds] for x, rounds in found.items() if rounds}
        return Line(f"{who} {key}", who, points, dashed=key == "p50")

    lines = [found for who in ("floor", "bridge") for key in ("p99", "p50") if (found := line(who, key)).points]
    title = "Milliseconds from when a line was due to its answer, by load"
    return (
        Chart(title, f"4 programs; {LEGEND}", "of the rate in a closed loop", lines, log=True, unit="%")
        if lines
        else None
    )


def write(kept: Mapping[str, Any], directory: Path) -> list[Path]:
    """Write the pictures of all that was measured into `directory`, which is made if need be; their paths."""
    samples: report.Samples = kept["samples"]
    sweeps = all_sweeps(Commands(HERE / "build", "python", kept["seconds"], None, None))
    charts = {sweep.name: of_sweep(sweep, samples) for sweep in sweeps} | {"latency": of_latency(samples)}
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, chart in charts.items():
        if chart is not None:
            written.append(directory / f"{name}.svg")
            written[-1].write_text(drawn(chart))
    return written
