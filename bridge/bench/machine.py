"""What programs need of the machine, their memory and CPU time, and what memory there is: from /proc and cgroups.

Whatever cannot be read counts as nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import NamedTuple

from bridge.terminal.procfs import read

_KIB = 1024


class _Process(NamedTuple):
    """`above`: its parent, and its session's leader; `ticks`: its CPU time, with that of children that are gone."""

    above: tuple[int, int]
    ticks: int


def available(proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> int:
    """Bytes of memory that programs can still get without any being swapped out, or killed; 0 if unknown."""
    machine = _kibibytes(f"{proc}/meminfo", b"MemAvailable:")
    try:
        own = os.fsdecode(read(f"{proc}/self/cgroup").partition(b"0::")[2].partition(b"\n")[0])
        limit, used = (int(read(f"{cgroups}{own}/memory.{name}")) for name in ("max", "current"))
    except (OSError, ValueError):  # there is none, or "max"
        return machine
    return max(1, min(machine or limit, limit - used))


def memory_of(pids: Collection[int]) -> int:
    """Bytes of memory of these processes and their families; what several share counts once.

    Of a process that may not be looked into (it has changed its user), what it shares counts in full.
    """
    return sum(_kibibytes(f"/proc/{pid}/smaps_rollup", b"Pss:") or _resident(pid) for pid in _families(pids))


def cpu_time(pids: Collection[int]) -> tuple[float, float]:
    """Seconds of CPU time used so far: by us and these processes with their families, and by everybody on the machine.

    Those of our programs that are gone count too.
    """
    tick = os.sysconf("SC_CLK_TCK")
    ours = sum(process.ticks for process in _families(pids).values()) / tick + sum(os.times()[:4])
    try:
        user, nice, system, _idle, _disk, *others = map(int, read("/proc/stat").split(b"\n", 1)[0].split()[1:9])
    except (OSError, ValueError):
        return ours, ours
    return ours, sum((user, nice, system, *others)) / tick


def _families(pids: Collection[int]) -> dict[int, _Process]:
    """These processes and all that descend from them, or are in a session of theirs, as each program has its own."""
    others = {int(name): process for name in os.listdir("/proc") if name.isdigit() and (process := _process(name))}
    found = {pid: others.pop(pid) for pid in pids if pid in others}
    while more := [pid for pid, process in others.items() if not found.keys().isdisjoint(process.above)]:
        found |= {pid: others.pop(pid) for pid in more}
    return found


def _process(pid: str) -> _Process | None:
    try:
        # The name is in parentheses and may itself hold any; from the state on, the fields have fixed places.
        fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return _Process((int(fields[1]), int(fields[3])), sum(map(int, fields[11:15])))
    except (OSError, ValueError, IndexError):
        return None


def _resident(pid: int) -> int:
    return _kibibytes(f"/proc/{pid}/status", b"VmRSS:")


def _kibibytes(path: str, name: bytes) -> int:
    """The number behind this name, which /proc gives in KiB, in bytes."""
    try:
        return int(read(path).partition(b"\n" + name)[2].split(None, 1)[0]) * _KIB
    except (OSError, ValueError, IndexError):
        return 0
