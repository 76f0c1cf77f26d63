"""How it ends: at the end of its input, at SIGTERM, and what it leaves behind."""

from __future__ import annotations

import signal
import time

from bridge.checking.content import secret
from bridge.checking.driver import Program, seconds_of_cpu, session
from bridge.checking.findings import Finding, deviates, note, ok
from bridge.checking.lab import Lab, duration
from bridge.log.events import ending

_CLOSED = 0.5
"""Seconds after its end by which its output is closed, unless something that it started keeps it open."""

_BUSY = 0.1
"""The share of a CPU from which on it is called busy: on a busy machine it gets no more."""

_LONGER = 1.0
"""Seconds beyond `shutdown_grace`, for a machine that does several trials at a time."""


def end_of_input(lab: Lab) -> list[Finding]:
    """It leaves when its input ends."""
    trial = "end of input"
    with lab.ready() as program:
        lab.ask(program, lab.auth(secret()))  # what it holds back for stderr comes out with this
        before = len(program.stderr)
        program.close_input()
        begun = time.monotonic()
        patience = lab.settings.shutdown_grace + _LONGER
        if program.ends_within(patience):
            took = time.monotonic() - begun
            return _left(lab, trial, program, took, program.stderr[before:])
        busy = _is_busy(program)
    meaning = "none: the bridge sends SIGTERM, and SIGKILL, after shutdown_grace; elsewhere such programs pile up"
    advice = "have it leave when a read returns nothing"
    seen = f"it stays {patience:.2g} s after the end of its input"
    if busy:
        return [deviates(trial, f"{seen}, and keeps a CPU busy: it loops without looking for the end", meaning, advice)]
    return [deviates(trial, seen, meaning, advice)]


def _is_busy(program: Program) -> bool:
    before, begun = seconds_of_cpu(program.pid), time.monotonic()
    program.ends_within(_CLOSED)
    return seconds_of_cpu(program.pid) - before > _BUSY * (time.monotonic() - begun)


def _left(lab: Lab, trial: str, program: Program, took: float, words: bytearray) -> list[Finding]:
    assert program.exit is not None
    found = _left_behind(program)
    lines = [line for line in bytes(words).splitlines() if line.strip()]
    if lines:
        traceback = "a traceback" if b"Traceback" in words else f"{len(lines)} line{'s' * (len(lines) > 1)}"
        seen = f"it ends with {traceback} on stderr ({ending(program.exit)}): {lab.shown(lines[-1])}"
        found.append(note(trial, seen, "none: it is no trouble, but may be taken for one", "look for the end of input"))
    return found or [ok(trial, f"it ends after {duration(took)} ({ending(program.exit)})")]


def _left_behind(program: Program) -> list[Finding]:
    until = time.monotonic() + _CLOSED
    while (left := session(program.pid) or program.output_is_open) and time.monotonic() < until:
        time.sleep(_CLOSED / 10)
    if not left:
        return []
    seen = "it ends, but something that it has started goes on"
    meaning = "none; the bridge kills what is in its process group, but not what left that"
    return [deviates("left behind", seen, meaning, "have it end its children, and wait for them")]


def terminated(lab: Lab) -> list[Finding]:
    """SIGTERM ends it."""
    trial = "SIGTERM"
    with lab.ready() as program:
        if not program.signal(signal.SIGTERM):
            return [_may_not(trial)]
        patience = lab.settings.shutdown_grace + _LONGER
        if program.ends_within(patience):
            assert program.exit is not None
            return [ok(trial, f"it ends ({ending(program.exit)})")]
        if not program.signal(signal.SIGKILL):
            return [_may_not(trial)]
    return [
        deviates(
            trial,
            f"it does not end within {patience:.2g} s of SIGTERM",
            "none: the bridge sends SIGKILL then; stops and reloads take longer",
            "leave SIGTERM's default action in place, or end in the handler",
        )
    ]


def _may_not(trial: str) -> Finding:
    return deviates(
        trial,
        "it has changed its user, and may not be sent signals",
        "a program that hangs cannot be ended: after pool_max of them nobody can log in",
        "have it keep its user, or have a daemon with the privilege do the work",
    )
