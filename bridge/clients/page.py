"""What a bridge is doing, as one JSON object: the status socket sends it, and SIGUSR1 logs a part of it.

`FIELDS` says what every field is.  The page tells of no question, and of a program's command only the program.  What a
program wrote may be part of a reason; secrets are masked there, as in the log.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from bridge import __version__
from bridge.loop.timer import FOREVER
from bridge.pool.figures import Figures
from bridge.pool.record import Record, Standing

if TYPE_CHECKING:
    from bridge.clients.server import Server
    from bridge.pool.pool import Pool
    from bridge.pool.poolset import PoolSet
    from bridge.worker.worker import Worker

VERSION = 1

# fmt: off
FIELDS = (
    ("version", "1: of this format; it changes when a field goes or gets another meaning, not with new ones"),
    ("software", "version of extauth-bridge"),
    ("pid", "process id of the bridge"),
    ("time", "when this was written, in seconds since 1970"),
    ("started", "when the bridge was started, in seconds since 1970"),
    ("memory", "bytes that the bridge itself has in memory, without its programs"),
    ("configuration.file", "path of the configuration file, or null if there is none"),
    ("configuration.age", "seconds since it was put in force, at the start or by a reload"),
    ("reloads.in_force", "reloads since the start that were put in force"),
    ("reloads.refused", "reloads since the start that were refused"),
    ("reloads.reason", "why the last reload was refused; empty if it is in force, or there was none"),
    ("reloads.proving", "true while new programs are being proven"),
    ("clients.connected", "clients that are connected"),
    ("clients.accepted", "clients since the start"),
    ("clients.refused", "connections refused since the start: not allowed, or too many"),
    ("lines_refused.REASON", "lines answered 0 without asking a program, for each reason that has occurred: command "
        "(not allowed), fields (wrong number), empty (a field), control (a control character), encoding (not UTF-8), "
        "length, host (not served), injection (more than one line in a burst on a terminal)"),
    ("pools.POOL", "by name: the host it serves, or default.  Its counters go on after a reload"),
    ("pools.POOL.program", "path of the program, without its arguments"),
    ("pools.POOL.down", "why no program can answer; empty if one can, or may soon"),
    ("pools.POOL.pool_size", "programs that are to run all the time"),
    ("pools.POOL.pool_max", "programs that may run in all"),
    ("pools.POOL.usable", "programs that may be asked, now or after the question they have"),
    ("pools.POOL.ready", "those of them that have answered before"),
    ("pools.POOL.stuck", "those that have had a question for far longer than usual"),
    ("pools.POOL.programs[].pid", "process id"),
    ("pools.POOL.programs[].state", "starting (it has not answered yet), ready, stuck (it has had its question for far "
        "longer than usual), worn (it has served max_requests, and is asked last), leaving"),
    ("pools.POOL.programs[].age", "seconds since it was started"),
    ("pools.POOL.programs[].served", "replies it has given"),
    ("pools.POOL.programs[].busy", "seconds for which it has had its question, to a tenth of a second; null if it has "
        "none, or has it only just"),
    ("pools.POOL.programs[].memory", "bytes it has in memory; null if that cannot be read, and for all but the first "
        "256 programs"),
    ("pools.POOL.programs[].error", "why it failed; empty if it did not.  A program that failed is soon gone"),
    ("pools.POOL.in_flight", "questions that wait or are with a program"),
    ("pools.POOL.waiting", "questions that no program has yet"),
    ("pools.POOL.longest_wait", "seconds for which the oldest of those has waited"),
    ("pools.POOL.granted", "questions answered yes"),
    ("pools.POOL.denied", "questions answered no"),
    ("pools.POOL.unavailable", "questions answered 0 because no program gave a good reply in time"),
    ("pools.POOL.queries.COMMAND.granted", "the same for each command that was asked; removeuser3 is with removeuser"),
    ("pools.POOL.queries.COMMAND.denied", "the same"),
    ("pools.POOL.queries.COMMAND.unavailable", "the same"),
    ("pools.POOL.timeouts", "of those unavailable: time ran out"),
    ("pools.POOL.overload", "of those unavailable: refused since no program could have answered in time"),
    ("pools.POOL.suspected", "of those unavailable: not asked, as the same question did harm a short while before"),
    ("pools.POOL.retries", "questions asked once more, as their program had ended"),
    ("pools.POOL.late", "good replies that came too late"),
    ("pools.POOL.overloads", "times at which questions began to be refused for want of time"),
    ("pools.POOL.overload_age", "seconds since the last such refusal, or null"),
    ("pools.POOL.suspects", "questions that did harm to programs, not long ago"),
    ("pools.POOL.starts", "programs started"),
    ("pools.POOL.failures", "programs that failed, or could not be started"),
    ("pools.POOL.failure_age", "seconds since the last of them, or null"),
    ("pools.POOL.last_error", "why a program failed or could not be started, the last time since this pool's programs "
        "were last changed by a reload; empty if none did"),
    ("pools.POOL.restarts.CAUSE", "programs that had to be replaced, for each cause that has occurred: renewed "
        "(max_requests or max_age), not started (it cannot be), ended (by itself), output (something that is no reply, "
        "or one that nobody had asked for), input (it does not read its stdin), start (no first reply within "
        "start_timeout), time (no reply in time), stderr (a flood), internal (an error of the bridge)"),
    ("pools.POOL.latency.WINDOW.p50", "seconds within which half of the answers of the last minute (1m) or quarter of "
        "an hour (15m) came, from the line's arrival to the verdict, to 5 %; null if there were none.  Only answers "
        "in time count.  Where there are more than 50 a second, one of about 128 is timed and counted as 128, and each "
        "for which a program took 0.2 seconds or more"),
    ("pools.POOL.latency.WINDOW.p95", "the same for 95 of a hundred"),
    ("pools.POOL.latency.WINDOW.p99", "the same for 99 of a hundred"),
    ("pools.POOL.latency.WINDOW.answers", "about how many answers these are"),
)
# fmt: on
"""Every field: its path, and what it holds.  What is in capitals stands for a name, `[]` for each of a list."""

WINDOWS = {"1m": 60.0, "15m": 900.0}
SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

_MEMORIES = 256
"""Programs whose memory is looked up: 10 microseconds each, in which nobody is answered."""

_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class Reloads(Protocol):
    """What the page needs of a reloader."""

    loaded: int
    loaded_at: float
    refused: int
    reason: str
    is_proving: bool


def page(poolset: PoolSet, server: Server, reloads: Reloads, file: str | None) -> dict[str, Any]:
    """The page by now, as `FIELDS` says.

    Args:
      file: the path of the configuration.
    """
    now, wall = poolset.clock(), time.time()
    return {
        "version": VERSION,
        "software": __version__,
        "pid": os.getpid(),
        "time": round(wall, 3),
        "started": round(wall - (now - poolset.began), 3),
        "memory": _memory(os.getpid()),
        "configuration": {"file": file, "age": round(now - reloads.loaded_at, 1)},
        "reloads": {
            "in_force": reloads.loaded,
            "refused": reloads.refused,
            "reason": reloads.reason,
            "proving": reloads.is_proving,
        },
        "clients": {"connected": len(server.sessions), "accepted": server.accepted, "refused": server.refused},
        "lines_refused": {refusal.name.lower(): count for refusal, count in poolset.router.refused.items()},
        "pools": pools(poolset),
    }


def pools(poolset: PoolSet) -> dict[str, Any]:
    """The part of the page about pools."""
    sums, memories = poolset.figures(), iter(range(_MEMORIES))
    return {pool.name: _pool(pool, sums[pool.name], memories) for pool in poolset.pools.values()}


def _pool(pool: Pool, figures: Figures, memories: Iterator[int]) -> dict[str, Any]:
    now = pool.clock()
    first = min(pool.waiting.first_deadline(), pool.probation.first_deadline())
    programs = [_program(worker, record, now, memories) for worker, record in pool.workers.items()]
    return {
        "program": pool.program.argv[0],
        "down": pool.why_down(),
        "pool_size": pool.program.pool_size,
        "pool_max": pool.program.pool_max,
        "usable": pool.staff.usable,
        "ready": pool.staff.ready,
        "stuck": sum(program["state"] == Standing.STUCK.value for program in programs),
        "programs": programs,
        "in_flight": pool.in_flight,
        "waiting": len(pool.waiting) + pool.probation.waiting,
        "longest_wait": round(max(0.0, pool.settings.answer_timeout - (first - now)), 3),
        "granted": figures.granted,
        "denied": figures.denied,
        "unavailable": figures.unavailable,
        "queries": figures.by_command,
        "timeouts": figures.timeouts,
        "overload": figures.overload,
        "suspected": figures.suspected,
        "retries": figures.retries,
        "late": figures.late,
        "overloads": figures.overloads,
        "overload_age": _age(figures.overloaded_at, now),
        "suspects": pool.probation.suspects,
        "starts": figures.starts,
        "failures": figures.failures,
        "failure_age": _age(figures.failed_at, now),
        "last_error": pool.last_failure,
        "restarts": dict(figures.restarts),
        "latency": {name: _latency(figures, now, seconds) for name, seconds in WINDOWS.items()},
    }


def _program(worker: Worker, record: Record, now: float, memories: Iterator[int]) -> dict[str, Any]:
    holds = record.long and worker.query is record.seen and record.seen is not None
    return {
        "pid": worker.pid,
        "state": record.standing.value,
        "age": round(now - record.born, 1),
        "served": worker.served,
        "busy": round(now - record.since, 1) if holds else None,
        "memory": _memory(worker.pid) if next(memories, None) is not None else None,
        "error": record.reason,
    }


def _latency(figures: Figures, now: float, seconds: float) -> dict[str, float | None]:
    answers, times = figures.latency.over(now, seconds, SHARES.values())
    return {**dict(zip(SHARES, times, strict=True)), "answers": answers}


def _age(at: float, now: float) -> float | None:
    return round(now - at, 1) if at > -FOREVER else None


def _memory(pid: int) -> int | None:
    """Bytes that a process has in memory; `None` if it is gone, or hidden."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_SIZE
    except (OSError, IndexError, ValueError):
        return None
