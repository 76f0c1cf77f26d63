"""What monitoring is told, and the page for people."""

import copy
from typing import Any

import pytest

from bridge.commands.health import CRITICAL, OK, WARNING, duration, health
from bridge.commands.statustext import headline, text

TIMES = {"p50": 0.002, "p95": 0.01, "p99": 1.25, "answers": 7}

POOL: dict[str, Any] = {
    "program": "/opt/auth.php", "down": "", "pool_size": 2, "pool_max": 8, "usable": 2, "ready": 2, "stuck": 0,
    "programs": [
        {"pid": 77, "state": "ready", "age": 90.0, "served": 5, "busy": None, "memory": 12_300_000, "error": ""},
        {"pid": 12345, "state": "starting", "age": 2.0, "served": 0, "busy": 1.3, "memory": None, "error": ""},
    ],
    "in_flight": 1, "waiting": 3, "longest_wait": 0.25, "granted": 5, "denied": 2, "unavailable": 1,
    "queries": {"auth": {"granted": 5, "denied": 2, "unavailable": 1}},
    "timeouts": 1, "overload": 0, "suspected": 0, "suspects": 0, "retries": 0, "late": 0, "overloads": 0,
    "overload_age": None, "starts": 3, "failures": 0, "failure_age": None, "last_error": "", "restarts": {"renewed": 1},
    "latency": {"1m": TIMES, "15m": {**TIMES, "p50": None, "answers": 0}},
}  # fmt: skip

PAGE: dict[str, Any] = {
    "version": 1, "software": "9.8", "pid": 4711, "time": 10_000.0, "started": 100.0, "memory": 20_000_000,
    "configuration": {"file": "/etc/auth.toml", "age": 7260.0},
    "reloads": {"in_force": 0, "refused": 0, "reason": "", "proving": False},
    "clients": {"connected": 1, "accepted": 2, "refused": 3},
    "lines_refused": {"command": 4}, "pools": {"default": POOL},
}  # fmt: skip


def page(reason: str = "", **changes: object) -> dict[str, Any]:
    changed = copy.deepcopy(PAGE)
    changed["pools"]["default"] |= changes
    changed["reloads"]["reason"] = reason
    return changed


@pytest.mark.parametrize(
    ("told", "state", "why"),
    [
        (page(), OK, ""),
        (page("nonsense is unknown"), WARNING, "configuration refused: nonsense is unknown"),
        (page(usable=1), WARNING, "pool default: 1 of 2 programs are up"),
        (page(stuck=1), WARNING, "pool default: 1 of 2 programs are up"),
        (
            page(failure_age=70.0, last_error="it ended"),
            WARNING,
            "pool default: a program failed 1 min 10 s ago: it ended",
        ),
        (page(failure_age=301.0, last_error="it ended"), OK, ""),
        (page(overload_age=5.0), WARNING, "pool default: more questions than it can answer, 5 s ago"),
        (page(overload_age=500.0), OK, ""),
        (page("x", down="it ended"), CRITICAL, "pool default cannot answer: /opt/auth.php: it ended"),
    ],
)
def test_how_well_it_is(told: dict[str, Any], state: int, why: str) -> None:
    found, problems = health(told)
    assert (found, [*problems, ""][0]) == (state, why)


def test_the_first_line_is_one_line_that_monitoring_understands() -> None:
    assert headline(page()) == "OK: 2 of 2 programs up, 7 questions answered"
    assert headline(page(down="it\nended\x1b")) == r"CRITICAL: pool default cannot answer: /opt/auth.php: it\nended\x1b"
    many = page()
    many["pools"] = {str(number): {**POOL, "down": "x"} for number in range(9)}
    assert headline(many).endswith("; and 6 more")


def test_the_page_for_people() -> None:
    before = page(granted=1)
    before["time"] -= 2.0
    assert (
        text(page("bad", failure_age=400.0, last_error="it ended"), before)
        == """\
WARNING: configuration refused: bad

extauth-bridge 9.8, pid 4711, up for 2 h 45 min, 20.0 MB
configuration  /etc/auth.toml, in force for 2 h 1 min
               a newer one was refused: bad
clients        1 connected, 2 so far, 3 refused
lines refused  4 command

pool default: 2 of 2 programs up, 3 waiting (the oldest for 250 ms), 2.0 questions a second
  program  /opt/auth.php
  error    6 min 40 s ago: it ended
  besides  1 not answered in time
  restarts 1 renewed
  questions  granted  denied  unavailable
  auth             5       2            1
  all              5       2            1
  answers in   p50    p95     p99
  last 1m     2 ms  10 ms  1.25 s
  pid       state         age  served   memory  busy for
  77        ready  1 min 30 s       5  12.3 MB
  12345  starting         2 s       0        -     1.3 s
"""
    )


def test_more_programs_than_usual() -> None:
    told = text(page(usable=3))
    assert told.startswith("OK: 2 of 2 programs up, ")
    assert "\npool default: 2 of 2 programs up and 1 more, " in told


def test_a_program_that_failed_says_why() -> None:
    ready, leaving = POOL["programs"]
    failed = {**leaving, "state": "leaving", "busy": None, "error": "it gave no reply in time, for 4.1 s"}
    assert text(page(programs=[ready, failed])).splitlines()[-3:] == [
        "  pid      state         age  served   memory  busy for  last error",
        "  77       ready  1 min 30 s       5  12.3 MB",
        "  12345  leaving         2 s       0        -            it gave no reply in time, for 4.1 s",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (7265, "2 h 1 min"), (90000, "1 d 1 h")]
)
def test_times_for_people(seconds: float, said: str) -> None:
    assert duration(seconds) == said
