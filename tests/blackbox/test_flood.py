"""Programs that flood their stderr: nobody waits for them, and after a while they are replaced."""

import os
import statistics

import pytest
from support import procfs
from support.programs.bad import habit

from .conftest import Start

pytestmark = pytest.mark.slow

COLONS = ":".join(f"zq7{number:03}" for number in range(61))
FAILED = b'program failed pool=flood.example reason="it floods its stderr"'


def test_two_floods_beside_a_good_program(start: Start, configure) -> None:
    """Their own questions, with secrets of 60 colons, are answered as well, until they are killed."""
    floods = {"program": habit("floods_beside"), "pool_size": 2}
    hosts = {"flood.example": floods}
    bridge = start("run", configure(program=habit("good"), pool_size=1, max_requests=0, hosts=hosts))
    assert bridge.ask(b"isuser:alice:flood.example").verdict == "1"
    bridge.until(lambda: b"flood flood" in bridge.log, "the flood to begin")
    (good,) = [pid for pid in bridge.programs() if "good" in procfs.arguments(pid)]
    everybody = bridge.pid, good, os.getpid()  # a busy machine's doing is not the floods'
    seconds: list[float] = []
    while bridge.log.count(FAILED) < 2:
        assert len(seconds) < 1_000_000, "they are not killed"
        for _ in range(20):
            before = procfs.held_up(*everybody)
            took = bridge.ask(b"isuser:alice:example.com").seconds
            seconds.append(max(0.0, took - (procfs.held_up(*everybody) - before)))
        bridge.ask(f"auth:alice{len(seconds)}:flood.example:{COLONS}{len(seconds)}".encode())
    shares = statistics.quantiles(seconds, n=100)
    print(f"{len(seconds)} answers; median {shares[49] * 1e3:.2f} ms, p99 {shares[98] * 1e3:.2f} ms")
    assert shares[49] < 0.02
    assert shares[98] < 0.05
    assert bridge.ask(b"isuser:alice:flood.example").verdict == "1"
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    bridge.finish()
    assert b"zq7" not in bridge.log
