"""Logs what a bridge is doing, a line for each pool: for SIGUSR1, where there is no status socket to ask."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from bridge import __version__
from bridge.clients.page import pools
from bridge.log.events import event, log

if TYPE_CHECKING:
    from bridge.pool.poolset import PoolSet

_MOST = 20
"""Lines: the pools that were asked most; nobody wants to read thousands."""

_TOLD = ("pool_size", "usable", "ready", "stuck", "waiting", "longest_wait", "granted", "denied", "unavailable")
_IF_ANY = (
    *("timeouts", "overload", "suspected", "suspects", "retries", "late", "failures", "restarts", "queries"),
    *("down", "last_error", "failure_age"),
)


def log_status(poolset: PoolSet) -> None:
    """Log it, at whatever level is shown: somebody has asked for it."""
    level = max(logging.INFO, log.getEffectiveLevel())
    told = pools(poolset)
    seconds = round(poolset.clock() - poolset.began)
    refused = {f"refused_{refusal.name.lower()}": count for refusal, count in poolset.router.refused.items()}
    log.log(
        level, event("status", version=__version__, pid=os.getpid(), up_seconds=seconds, pools=len(told), **refused)
    )
    for name in sorted(told, key=lambda name: -told[name]["granted"] - told[name]["denied"])[:_MOST]:
        log.log(level, event("status of a pool", pool=name, **_fields(told[name])))


def _fields(pool: dict[str, Any]) -> dict[str, Any]:
    """What is worth a place on the line; of commands and causes one word each."""
    fields = {name: pool[name] for name in _TOLD} | {name: pool[name] for name in _IF_ANY if pool[name]}
    for command, counts in fields.pop("queries", {}).items():
        fields[command] = "/".join(map(str, counts.values()))
    for cause, count in fields.pop("restarts", {}).items():
        fields[f"restarts_{cause.replace(' ', '_')}"] = count
    for window, times in pool["latency"].items():
        if times["answers"]:
            fields |= {f"{share}_{window}": times[share] for share in ("p50", "p95", "p99")}
    fields["programs"] = " ".join(f"{one['pid']}:{one['state']}:{one['served']}" for one in pool["programs"][:_MOST])
    return fields
