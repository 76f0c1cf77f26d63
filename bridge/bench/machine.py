"""What programs need of the machine: their memory, and how busy its CPUs are; all from /proc.

Whatever cannot be read counts as nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from bridge.terminal.procfs import read

_KIB = 1024


def available(meminfo: str = "/proc/meminfo") -> int:
    """Bytes of memory that programs can still get without any being swapped out; 0 if unknown."""
    return _kibibytes(meminfo, b"MemAvailable:")


def memory_of(pids: Collection[int]) -> int:
    """Bytes of memory of these processes and their descendants; what several share counts once.

    Of a process that may not be looked into (it has changed its user), what it shares counts in full.
    """
    return sum(_kibibytes(f"/proc/{pid}/smaps_rollup", b"Pss:") or _resident(pid) for pid in _families(pids))


def cpu_times() -> tuple[float, float]:
    """What all CPUs have been doing since the machine started, in ticks: busy, and in all."""
    try:
        ticks = [int(field) for field in read("/proc/stat").split(b"\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0.0, 0.0
    idle = sum(ticks[3:5])  # idle, and waiting for a disk
    return sum(ticks) - idle, sum(ticks)


def busy(before: tuple[float, float], after: tuple[float, float]) -> float:
    """The share of the time between these two in which the CPUs were busy."""
    return (after[0] - before[0]) / max(after[1] - before[1], 1.0)


def _families(pids: Collection[int]) -> Iterator[int]:
    """These processes and all that descend from them, or are in a session of theirs, as each program has its own."""
    found = {*pids}
    parents = {pid: above for pid in _all() if (above := _parent_and_session(pid))}
    while more := {pid for pid, above in parents.items() if pid not in found and not found.isdisjoint(above)}:
        found |= more
    yield from found


def _all() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _parent_and_session(pid: int) -> tuple[int, int] | None:
    try:
        # The name is in parentheses and may itself hold any; state, parent, group and session follow.
        fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return int(fields[1]), int(fields[3])
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
