"""Whether a daemon is well, in the terms of monitoring plugins, from its page."""

from __future__ import annotations

from typing import Any

OK, WARNING, CRITICAL, UNKNOWN = range(4)
"""Exit statuses, as monitoring plugins have them."""

NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

_LATELY = 300.0
"""Seconds: what happened since then is told, as monitoring may ask every five minutes only."""


def health(page: dict[str, Any]) -> tuple[int, list[str]]:
    """How well the daemon is, and why it is not, what is worst first."""
    critical = [
        f"pool {name} cannot answer: {pool['program']}: {pool['down']}"
        for name, pool in page["pools"].items()
        if pool["down"]
    ]
    warnings = [f"configuration refused: {reason}"] if (reason := page["reloads"]["reason"]) else []
    for name, pool in page["pools"].items():
        if not pool["down"]:
            warnings += _warnings(name, pool)
    return (CRITICAL if critical else WARNING if warnings else OK), [*critical, *warnings]


def _warnings(name: str, pool: dict[str, Any]) -> list[str]:
    """What is not well with a pool that answers."""
    failed = _lately(pool["failure_age"])
    because = f": {pool['last_error']}" if failed and pool["last_error"] else ""
    told: list[str] = []
    if (up := pool["usable"] - pool["stuck"]) < pool["pool_size"]:
        told.append(f"pool {name}: {up} of {pool['pool_size']} programs are up{because}")
    elif failed:
        told.append(f"pool {name}: a program failed {duration(pool['failure_age'])} ago{because}")
    if _lately(pool["overload_age"]):
        told.append(f"pool {name}: more questions than it can answer, {duration(pool['overload_age'])} ago")
    return told


def _lately(age: float | None) -> bool:
    return age is not None and age < _LATELY


def duration(seconds: float) -> str:
    """A time for people: two units at most."""
    whole = int(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole} s"
