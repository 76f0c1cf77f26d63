"""Pages in Prometheus' text format (0.0.4), for node_exporter's textfile collector, say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bridge.protocol.query import Refusal
from bridge.worker.state import Fault

Page = Mapping[str, Any]
Sample = tuple[dict[str, str], float | None]

_CAUSES = ("renewed", "not started", *(fault.value for fault in Fault))
_REASONS = tuple(refusal.name.lower() for refusal in Refusal)
_STATES = ("starting", "ready", "stuck", "worn", "leaving")
_VERDICTS = ("granted", "denied", "unavailable")


def exposition(pages: Mapping[str, Page | None]) -> str:
    """All that is known.

    Args:
      pages: by instance, an empty string for the plain unit; `None` for a daemon that does not answer.
    """
    lines = [*_metric("up", "gauge", "Whether the daemon answers.", [({"daemon": name}, float(page is not None))
        for name, page in pages.items()])]  # fmt: skip
    there = {name: page for name, page in pages.items() if page is not None}
    for name, kind, meaning, samples in _METRICS:
        all_samples = [
            ({"daemon": daemon, **labels}, value) for daemon, page in there.items() for labels, value in samples(page)
        ]
        lines += _metric(name, kind, meaning, all_samples)
    return "".join(f"{line}\n" for line in lines)


def _metric(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> list[str]:
    name = f"extauth_bridge_{name}"
    told = [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples if value is not None]
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *told] if told else []


def _number(value: float) -> str:
    """As the format has it; raises an error for what is no number, or too great for any reader."""
    float(value)
    return repr(+value)


def _labels(labels: Mapping[str, str]) -> str:
    """Those that are not empty, which means the same as none."""
    pairs = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items() if text)
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


# --- samples of one page ---------------------------------------------------------------------------------


def _one(value: Callable[[Page], Any]) -> Callable[[Page], list[Sample]]:
    return lambda page: [({}, value(page))]


def _by(label: str, names: Iterable[str], value: Callable[[Page, str], Any]) -> Callable[[Page], list[Sample]]:
    """One for each of these names."""
    return lambda page: [({label: name}, value(page, name)) for name in names]


def _pools(samples: Callable[[Page], list[Sample]]) -> Callable[[Page], list[Sample]]:
    """Those of each pool."""
    return lambda page: [
        ({"pool": name, **labels}, value) for name, pool in page["pools"].items() for labels, value in samples(pool)
    ]


def _field(key: str) -> Callable[[Page], list[Sample]]:
    return _pools(_one(lambda pool: pool[key]))


def _commands(pool: Page) -> list[Sample]:
    return [
        ({"command": command, "verdict": verdict}, counts[verdict])
        for command, counts in pool["queries"].items()
        for verdict in _VERDICTS
    ]


def _times(pool: Page) -> list[Sample]:
    return [
        ({"window": window, "quantile": f"0.{share[1:]}"}, times[share])
        for window, times in pool["latency"].items()
        for share in ("p50", "p95", "p99")
    ]


def _memory(pool: Page) -> int:
    return sum(program["memory"] or 0 for program in pool["programs"])


def _in_state(pool: Page, state: str) -> int:
    return sum(program["state"] == state for program in pool["programs"])


# fmt: off
_METRICS: tuple[tuple[str, str, str, Callable[[Page], list[Sample]]], ...] = (
    ("info", "gauge", "The daemon's version.", lambda page: [({"version": page["software"]}, 1)]),
    ("start_time_seconds", "gauge", "When the daemon was started, since 1970.", _one(lambda page: page["started"])),
    ("memory_bytes", "gauge", "Memory of the daemon, without its programs.", _one(lambda page: page["memory"])),
    ("configuration_time_seconds", "gauge", "When the configuration was put in force, since 1970.",
        _one(lambda page: page["time"] - page["configuration"]["age"])),
    ("configuration_refused", "gauge", "1 if a newer configuration was refused, else 0.",
        _one(lambda page: int(bool(page["reloads"]["reason"])))),
    ("reloads_total", "counter", "Reloads, by what became of them.",
        _by("outcome", ("in_force", "refused"), lambda page, outcome: page["reloads"][outcome])),
    ("clients", "gauge", "Clients that are connected.", _one(lambda page: page["clients"]["connected"])),
    ("clients_accepted_total", "counter", "Clients so far.", _one(lambda page: page["clients"]["accepted"])),
    ("clients_refused_total", "counter", "Connections refused.", _one(lambda page: page["clients"]["refused"])),
    ("lines_refused_total", "counter", "Lines answered 0 without asking a program, by reason.",
        _by("reason", _REASONS, lambda page, reason: page["lines_refused"].get(reason, 0))),
    ("pool_up", "gauge", "0 if no program of the pool can answer, else 1.",
        _pools(_one(lambda pool: int(not pool["down"])))),
    ("programs", "gauge", "Programs, by state.", _pools(_by("state", _STATES, _in_state))),
    ("programs_usable", "gauge", "Programs that may be asked.", _field("usable")),
    ("pool_size", "gauge", "Programs that are to run all the time.", _field("pool_size")),
    ("pool_max", "gauge", "Programs that may run in all.", _field("pool_max")),
    ("programs_memory_bytes", "gauge", "Memory of the programs.", _pools(_one(_memory))),
    ("queries_total", "counter", "Questions, by verdict.",
        _pools(_by("verdict", _VERDICTS, lambda pool, verdict: pool[verdict]))),
    ("queries_by_command_total", "counter", "Questions, by command and verdict.",
        _pools(_commands)),
    ("queries_in_flight", "gauge", "Questions that wait or are with a program.", _field("in_flight")),
    ("queries_waiting", "gauge", "Questions that no program has yet.", _field("waiting")),
    ("longest_wait_seconds", "gauge", "How long the oldest of those has waited.", _field("longest_wait")),
    ("timeouts_total", "counter", "Questions not answered in time.", _field("timeouts")),
    ("overload_refusals_total", "counter", "Questions refused for want of time.", _field("overload")),
    ("overloads_total", "counter", "Times at which that began.", _field("overloads")),
    ("suspected_total", "counter", "Questions not asked, as they had done harm.", _field("suspected")),
    ("suspects", "gauge", "Questions that did harm to programs, not long ago.", _field("suspects")),
    ("retries_total", "counter", "Questions asked again, as their program had ended.", _field("retries")),
    ("late_replies_total", "counter", "Good replies that came too late.", _field("late")),
    ("program_starts_total", "counter", "Programs started.", _field("starts")),
    ("program_failures_total", "counter", "Programs that failed, or could not be started.", _field("failures")),
    ("program_restarts_total", "counter", "Programs that had to be replaced, by cause.",
        _pools(_by("cause", _CAUSES, lambda pool, cause: pool["restarts"].get(cause, 0)))),
    ("answer_time_seconds", "gauge", "What this share of the answers took at most, from a line to its verdict.",
        _pools(_times)),
)
# fmt: on
