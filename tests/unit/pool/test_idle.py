"""Which idle program is asked next."""

import itertools
from collections.abc import Iterable
from typing import Any, cast

import pytest

from bridge.pool.idle import Idle
from bridge.protocol.query import Query
from bridge.worker.worker import Worker


class Program:
    """The part of a worker that matters here."""

    def __init__(self, name: str, served: int) -> None:
        self.name = name
        self.served = served


AUTH, SETPASS = (Query(body, 0.0, cast("Any", None)) for body in (b"auth:a:h:x", b"setpass:a:h:x"))
PROGRAMS = [("older", 0, False), ("newer", 0, False), ("used", 5, False), ("warm", 1, False), ("worn", 9, True)]
"""Name, valid replies, and whether it has served enough."""


def shelved(programs: Iterable[tuple[str, int, bool]], others: bool = True) -> tuple[Idle, dict[str, Program]]:
    """Programs that have become idle in this order, while `others` have given a reply or not; all of them by name."""
    idle, made = Idle(lambda: others), dict[str, Program]()
    for name, served, is_worn in programs:
        made[name] = Program(name, served)
        idle.put(cast("Worker", made[name]), is_worn)
    return idle, made


def names(taken: Iterable[object]) -> list[str]:
    return [cast("Program", worker).name for worker in taken]


def order(idle: Idle, query: Query = AUTH) -> list[str]:
    """All that are asked `query`, in this order."""
    taken = list[Worker]()
    while (worker := idle.take(query)) is not None:
        taken.append(worker)
    return names(taken)


@pytest.mark.parametrize("programs", [*itertools.permutations(PROGRAMS)])
def test_the_last_used_then_the_new_ones_the_oldest_first_then_those_that_have_served_enough(programs) -> None:
    idle, _ = shelved(programs)
    became = [name for name, _, _ in programs]
    used = [name for name in reversed(became) if name in ("used", "warm")]
    new = [name for name in became if name in ("older", "newer")]
    assert order(idle) == [*used, *new, "worn"]


def test_what_changes_something_is_not_asked_of_a_new_one_while_any_has_given_a_reply() -> None:
    """Idle or not: it is worth waiting for."""
    idle, _ = shelved(PROGRAMS)
    assert order(idle, SETPASS) == ["warm", "used", "worn"]
    assert order(idle, SETPASS) == []
    assert order(idle) == ["older", "newer"]


def test_what_changes_something_is_asked_of_a_new_one_if_none_has_given_a_reply() -> None:
    idle, _ = shelved([("older", 0, False), ("newer", 0, False)], others=False)
    assert order(idle, SETPASS) == ["older", "newer"]


def test_those_that_have_given_a_reply_can_be_taken_alone() -> None:
    idle, _ = shelved(PROGRAMS)
    taken = list[Worker]()
    while idle.any_ready:
        worker = idle.take_ready()
        assert worker is not None
        taken.append(worker)
    assert names(taken) == ["warm", "used", "worn"]
    assert idle.take_ready() is None
    assert order(idle) == ["older", "newer"]


def test_one_that_may_not_be_asked_any_more_is_not() -> None:
    for gone, _, _ in PROGRAMS:
        idle, made = shelved(PROGRAMS)
        idle.discard(cast("Worker", made[gone]))
        assert order(idle) == [name for name in ("warm", "used", "older", "newer", "worn") if name != gone]


def test_it_need_not_have_been_idle() -> None:
    idle, made = shelved([("used", 1, False)])
    busy = cast("Worker", made["used"])
    assert idle.take(AUTH) is busy
    idle.discard(busy)
    assert idle.take(AUTH) is None


def test_one_by_one_first_those_that_are_needed_least() -> None:
    """Whoever looks at them may take them out meanwhile."""
    idle, _ = shelved(PROGRAMS)
    looked_at = list[Worker]()
    for worker in idle:
        looked_at.append(worker)
        idle.discard(worker)
    assert names(looked_at) == ["worn", "older", "newer", "used", "warm"]
    assert order(idle) == []
