"""Which idle program is asked next."""

import itertools
from collections.abc import Iterable
from typing import cast

import pytest

from bridge.pool.idle import Idle
from bridge.worker.worker import Worker


class Program:
    """The part of a worker that matters here."""

    def __init__(self, name: str, served: int) -> None:
        self.name = name
        self.served = served


PROGRAMS = [("older", 0, False), ("newer", 0, False), ("used", 5, False), ("warm", 1, False), ("worn", 9, True)]
"""Name, valid replies, and whether it has served enough."""


def shelved(programs: Iterable[tuple[str, int, bool]]) -> tuple[Idle, dict[str, Program]]:
    """Programs that have become idle in this order; returns all of them by name."""
    idle, made = Idle(), dict[str, Program]()
    for name, served, is_worn in programs:
        made[name] = Program(name, served)
        idle.put(cast("Worker", made[name]), is_worn)
    return idle, made


def order(idle: Idle) -> list[str]:
    """All names, in the order in which they are asked."""
    taken = list[str]()
    while (worker := idle.take()) is not None:
        taken.append(cast("Program", worker).name)
    return taken


@pytest.mark.parametrize("programs", [*itertools.permutations(PROGRAMS)])
def test_the_last_used_then_the_new_ones_the_oldest_first_then_those_that_have_served_enough(programs) -> None:
    idle, _ = shelved(programs)
    names = [name for name, _, _ in programs]
    used = [name for name in reversed(names) if name in ("used", "warm")]
    new = [name for name in names if name in ("older", "newer")]
    assert order(idle) == [*used, *new, "worn"]


def test_one_that_may_not_be_asked_any_more_is_not() -> None:
    for gone, _, _ in PROGRAMS:
        idle, made = shelved(PROGRAMS)
        idle.discard(cast("Worker", made[gone]))
        assert order(idle) == [name for name in ("warm", "used", "older", "newer", "worn") if name != gone]


def test_it_need_not_have_been_idle() -> None:
    idle, made = shelved([("used", 1, False)])
    busy = cast("Worker", made["used"])
    assert idle.take() is busy
    idle.discard(busy)
    assert idle.take() is None
