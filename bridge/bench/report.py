"""What was measured, as a table for people and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from bridge.bench.phases import Sized
from bridge.bench.sizing import Advice, Stop
from bridge.bench.tally import REASONS, Measured

VERSION = 1
"""Of the JSON: it counts up when a name changes its meaning or goes."""

_WIDTHS = {
    "programs": 8,
    "ready in": 8,
    "load": 8,
    "queries/s": 9,
    "p50 ms": 6,
    "p95 ms": 6,
    "p99 ms": 6,
    "max ms": 6,
    "failed": 6,
    "memory": 8,
}
"""Columns: without the load they fit into the 80 of a usual terminal."""


def heading(with_rate: bool) -> str:
    """The table's first line."""
    return _row({name: name for name in _WIDTHS}, with_rate)


def rows(sized: Sized, rate: float) -> Iterator[str]:
    """The lines of one number of programs, and below them what went wrong; `rate` is the open loop's, or 0."""
    first = {"programs": str(sized.programs), "ready in": _seconds(sized.startup), "memory": memory(sized.memory)}
    yield _row({**first, "load": "closed", **_measured(sized.closed)}, bool(rate))
    yield from _notes(sized.closed)
    if sized.at_rate is not None:
        yield _row({"load": f"{rate:g}/s", **_measured(sized.at_rate)}, True)
        yield from _notes(sized.at_rate)


def as_json(
    about: dict[str, Any], measured: Sequence[Sized], stop: Stop, trouble: str, advice: Advice | None
) -> dict[str, Any]:
    """Everything, in bytes and seconds."""
    return {
        "version": VERSION,
        **about,
        "sizes": [_size(sized) for sized in measured],
        "stopped": stop.value,
        "trouble": trouble or None,
        "advice": None
        if advice is None
        else {"pool_size": advice.pool_size, "enough": advice.enough, "reason": " ".join(advice.sentences)},
    }


def memory(size: int) -> str:
    """Bytes, for people."""
    mebibytes = size / 2**20
    if mebibytes >= 1000:
        return f"{mebibytes / 1024:.1f} GiB"
    return f"{mebibytes:.1f} MiB" if mebibytes < 100 else f"{mebibytes:.0f} MiB"


def _row(cells: dict[str, str], with_rate: bool) -> str:
    columns = [name for name in _WIDTHS if with_rate or name != "load"]
    return "  ".join(f"{cells.get(name, ''):>{_WIDTHS[name]}}" for name in columns).rstrip()


def _measured(measured: Measured) -> dict[str, str]:
    return {
        "queries/s": _number(measured.rate),
        "p50 ms": _number(measured.p50 * 1000),
        "p95 ms": _number(measured.p95 * 1000),
        "p99 ms": _number(measured.p99 * 1000),
        "max ms": _number(measured.longest * 1000),
        "failed": str(measured.failed),
    }


def _notes(measured: Measured) -> Iterator[str]:
    for name, count in measured.failures.items():
        yield f"{'':8}  {count} failed: {REASONS[name]}"
    if measured.programs_failed:
        yield f"{'':8}  programs that failed, and were replaced: {measured.programs_failed}"
    if not measured.complete:
        yield f"{'':8}  interrupted after {measured.seconds:.1f} s"


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _size(sized: Sized) -> dict[str, Any]:
    return {
        "programs": sized.programs,
        "ready_seconds": sized.startup,
        "memory_bytes": sized.memory,
        "cpu_used": sized.cpu,
        "cpu_used_by_all": sized.cpu_of_all,
        "closed": _loop(sized.closed),
        "at_rate": _loop(sized.at_rate) if sized.at_rate is not None else None,
    }


def _loop(measured: Measured) -> dict[str, Any]:
    own = attrs.asdict(measured)
    return {
        "seconds": own["seconds"],
        "queries_per_second": own["rate"],
        "answers": own["answers"],
        "granted": own["granted"],
        "p50_seconds": own["p50"],
        "p95_seconds": own["p95"],
        "p99_seconds": own["p99"],
        "max_seconds": own["longest"],
        "failures": own["failures"],
        "programs_failed": own["programs_failed"],
        "complete": own["complete"],
    }
