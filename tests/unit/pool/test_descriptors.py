"""How many descriptors a pool of this size needs, and when the log says that there are too few."""

import logging
import os

import pytest
from support.inmemory.pools import made

from bridge.pool.descriptors import check, needed


def test_more_programs_need_more() -> None:
    few, many = needed(made(pool_size=1, pool_max=1)), needed(made(pool_size=200, pool_max=300))
    assert many - few == (199 + 299) * 4
    assert 43 < few < 100, "what a bridge with one program cannot do without, and no more than any limit allows"


@pytest.mark.parametrize(("room", "lines"), [(-1, 1), (0, 0)])
def test_it_is_said_if_there_are_too_few(monkeypatch: pytest.MonkeyPatch, room: int, lines: int) -> None:
    settings = made(pool_size=200)
    said: list[str] = []
    monkeypatch.setattr(logging.getLogger("bridge"), "handle", lambda record: said.append(record.getMessage()))
    monkeypatch.setattr(os, "sysconf", lambda _: needed(settings) + room)
    check(settings)
    assert len(said) == lines
    assert all(f"limit={needed(settings) - 1} needed={needed(settings)}" in line for line in said)


def test_no_limit_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("bridge"), "handle", pytest.fail)
    monkeypatch.setattr(os, "sysconf", lambda _: -1)
    check(made(pool_size=200))
