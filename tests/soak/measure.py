"""What a daemon takes: memory, descriptors, processes, and time for a question."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from soak import truth
from soak.place import Place
from support import procfs

QUESTIONS = 300
"""Of one measurement of time: a few dozen milliseconds, and the third worst is its 99th percentile."""


@dataclass(frozen=True)
class Size:
    """What is held at one time; memory in KiB. `relay_…`: of all relays together."""

    rss: int
    private: int
    descriptors: int
    sockets: int
    processes: int
    threads: int
    relay_private: int
    relay_descriptors: int


@dataclass(frozen=True)
class Pace:
    """What one question of many takes in µs, one at a time: half of them, 99 of 100, and of the daemon's CPU."""

    p50: float
    p99: float
    cpu: float


def private(pid: int) -> int:
    """KiB of memory that is its alone.

    The proportional size (PSS) also moves when another process that runs the same Python begins or ends.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def size(place: Place) -> Size:
    looks = [_look(place)]
    for _ in range(10):
        time.sleep(0.01)
        looks.append(_look(place))
    links, processes, threads = (min(column, key=len) for column in zip(*looks, strict=True))
    relays = [relay.pid for relay in place.relays]
    return Size(
        rss=procfs.memory(place.pid),
        private=private(place.pid),
        descriptors=len(links),
        sockets=sum(link.startswith("socket:") for link in links),
        processes=len(processes),
        threads=len(threads),
        relay_private=sum(map(private, relays)),
        relay_descriptors=sum(len(procfs.descriptors(pid)) for pid in relays),
    )


def _look(place: Place) -> tuple[list[str], list[int], list[str]]:
    """What descriptors are, processes and threads; the least of several times is without what only comes and goes:
    a client that has left a moment ago, the successor of a program that is renewed just now.
    """
    processes = [one.pid for one in place.processes()]
    return [*procfs.descriptors(place.pid).values()], processes, os.listdir(f"/proc/{place.pid}/task")


def pace(place: Place, faults: dict[str, int], questions: int = QUESTIONS) -> Pace:
    """Ask one after the other; in this quiet every answer must be true."""
    times = []
    with place.connect() as client:
        before = procfs.on_cpu(place.pid)
        for number in range(questions):
            right = number & 1
            began = time.perf_counter()
            client.sendall(truth.login(number, right=bool(right)) + b"\n")
            said = client.recv(2)
            times.append(time.perf_counter() - began)
            if said != b"%d\n" % right:
                name = f"in quiet: {said!r} instead of {right}"
                faults[name] = faults.get(name, 0) + 1
        cpu = procfs.on_cpu(place.pid) - before
    times.sort()
    return Pace(times[questions // 2] * 1e6, times[questions * 99 // 100] * 1e6, cpu / questions * 1e6)


def undisturbed(paces: list[Pace]) -> Pace:
    """What is reached in one of ten measurements: on a machine that does other things, those it let alone."""
    return Pace(*(sorted(getattr(one, name) for one in paces)[len(paces) // 10] for name in ("p50", "p99", "cpu")))
