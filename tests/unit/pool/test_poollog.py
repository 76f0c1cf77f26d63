"""What a pool's log says, and how often."""

import logging
from types import SimpleNamespace
from typing import cast

import pytest

from bridge.pool.figures import Figures
from bridge.pool.poollog import PoolLog
from bridge.worker.worker import Worker


def test_programs_that_may_not_be_killed_do_not_fill_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(logging.getLogger("bridge"), "handle", lambda record: lines.append(record.getMessage()))
    log = PoolLog("default", ["/opt/auth"], Figures(), lambda: 0.0)
    for pid in range(100, 200):
        log.may_not_kill(cast("Worker", SimpleNamespace(pid=pid)))
    said = "a program may not be killed: it has changed its user pool=default pid={} program=/opt/auth"
    assert lines == [said.format(pid) for pid in range(100, 105)]
