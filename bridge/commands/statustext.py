"""A daemon's page for people: short and aligned.  What is zero is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.commands.health import NAMES, duration, health
from bridge.log.text import escaped

_SHOWN = 3
"""Problems on the first line: monitoring shows no more of it."""

_COUNTERS = {
    "timeouts": "not answered in time",
    "overload": "refused for want of time",
    "suspected": "not asked, as they had done harm",
    "suspects": "under suspicion now",
    "retries": "asked again, as a program ended",
    "late": "replies too late",
}


def headline(page: Mapping[str, Any]) -> str:
    """One line, as monitoring plugins have it."""
    state, problems = health(dict(page))
    told = "; ".join(problems[:_SHOWN]) + (f"; and {len(problems) - _SHOWN} more" if problems[_SHOWN:] else "")
    pools = page["pools"].values()
    up = sum(min(pool["usable"], pool["pool_size"]) for pool in pools)
    wanted = sum(pool["pool_size"] for pool in pools)
    answered = sum(pool["granted"] + pool["denied"] for pool in pools)
    all_well = f"{up} of {wanted} programs up, {answered} questions answered"
    return escaped(f"{NAMES[state]}: {told or all_well}")


def text(page: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """The whole page.

    Args:
      before: that of a moment ago, to tell how many questions there are a second.
    """
    lines = [headline(page), "", *_daemon(page)]
    seconds = page["time"] - before["time"] if before else 0.0
    for name, pool in page["pools"].items():
        earlier = before["pools"].get(name) if before else None
        rate = (_asked(pool) - _asked(earlier)) / seconds if earlier and seconds > 0 else None
        lines += ["", *_pool(name, pool, rate)]
    return "".join(f"{escaped(line)}\n" for line in lines)


def _daemon(page: Mapping[str, Any]) -> list[str]:
    configuration, clients = page["configuration"], page["clients"]
    since = duration(page["time"] - page["started"])
    loaded = f"{configuration['file'] or 'none'}, in force for {duration(configuration['age'])}"
    reason = page["reloads"]["reason"]
    proving = ["reload         new programs are being proven"] if page["reloads"]["proving"] else []
    refused = [f"               a newer one was refused: {reason}"] if reason else []
    connected = f"{clients['connected']} connected, {clients['accepted']} so far, {clients['refused']} refused"
    lines = ", ".join(f"{count} {reason}" for reason, count in page["lines_refused"].items())
    return [
        f"extauth-bridge {page['software']}, pid {page['pid']}, up for {since}, {_size(page['memory'])}",
        f"configuration  {loaded}",
        *refused,
        *proving,
        f"clients        {connected}",
        *([f"lines refused  {lines}"] if lines else []),
    ]


def _pool(name: str, pool: Mapping[str, Any], rate: float | None) -> list[str]:
    wait = f" (the oldest for {_time(pool['longest_wait'])})" if pool["waiting"] else ""
    speed = f", {rate:.1f} questions a second" if rate is not None else ""
    lines = [
        f"pool {name}: {_up(pool['usable'], pool['pool_size'])}, {pool['waiting']} waiting{wait}{speed}",
        f"  program  {pool['program']}",
    ]
    if pool["down"]:
        lines.append(f"  DOWN     {pool['down']}")
    elif pool["last_error"] and pool["failure_age"] is not None:
        lines.append(f"  error    {duration(pool['failure_age'])} ago: {pool['last_error']}")
    counters = [f"{pool[counter]} {what}" for counter, what in _COUNTERS.items() if pool[counter]]
    lines += [f"  besides  {', '.join(counters)}"] if counters else []
    restarts = ", ".join(f"{count} {cause}" for cause, count in pool["restarts"].items())
    lines += [f"  restarts {restarts}"] if restarts else []
    verdicts = ("granted", "denied", "unavailable")
    rows = [[command, *(str(counts[one]) for one in verdicts)] for command, counts in pool["queries"].items()]
    rows.append(["all", *(str(pool[one]) for one in verdicts)])
    lines += _table(["questions", *verdicts], rows)
    times = [[name, *(_time(row[share]) for share in ("p50", "p95", "p99"))] for name, row in _answered(pool)]
    lines += _table(["answers in", "p50", "p95", "p99"], times)
    programs = _table(["pid", "state", "age", "served", "memory", "busy for"], [*map(_program, pool["programs"])])
    return [*lines, *_with_errors(programs, pool["programs"])]


def _with_errors(table: Sequence[str], programs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of programs, with why those are leaving that failed: they are not for long, and few."""
    if not any(program["error"] for program in programs):
        return [*table]
    errors = ("last error", *(program["error"] for program in programs))
    width = max(map(len, table))
    return [f"{line:{width}}  {error}".rstrip() for line, error in zip(table, errors, strict=True)]


def _up(usable: int, size: int) -> str:
    """While programs are replaced, or stuck, there are more than usual."""
    more = f" and {usable - size} more" if usable > size else ""
    return f"{min(usable, size)} of {size} programs up{more}"


def _program(program: Mapping[str, Any]) -> list[str]:
    age, busy = duration(program["age"]), program["busy"]
    served, memory = str(program["served"]), _size(program["memory"])
    return [str(program["pid"]), program["state"], age, served, memory, "" if busy is None else _time(busy)]


def _answered(pool: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(f"last {name}", row) for name, row in pool["latency"].items() if row["answers"]]


def _asked(pool: Mapping[str, Any]) -> float:
    return float(pool["granted"]) + float(pool["denied"]) + float(pool["unavailable"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns, the first one to the left; nothing without rows."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    told: list[str] = []
    for first, *others in (head, *rows):
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        told.append("  ".join(["", f"{first:<{widths[0]}}", *cells]).rstrip())
    return told


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _size(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.1f} MB"
