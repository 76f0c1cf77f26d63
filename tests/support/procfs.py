"""What Linux says about processes: a few files of /proc, read and taken apart."""

import contextlib
import os
import time
from typing import NamedTuple


class Process(NamedTuple):
    """One line of /proc/PID/stat; `started` (clock ticks since boot) tells a reused pid from the old one."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    terminal: int
    started: int

    @property
    def is_zombie(self) -> bool:
        return self.state in "ZX"


def process(pid: int) -> Process | None:
    """The process with this pid, a zombie too; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name is in parentheses and may hold anything, more parentheses too.
            state, *fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    parent, group, session, terminal = map(int, fields[:4])
    return Process(pid, state.decode(), parent, group, session, terminal, int(fields[18]))


def alive(pid: int) -> bool:
    """Whether there is such a process, and not only its zombie."""
    found = process(pid)
    return found is not None and not found.is_zombie


def is_stopped(pid: int) -> bool:
    """Whether there is such a process, and it has been stopped by a signal."""
    found = process(pid)
    return found is not None and found.state == "T"


def stands_still(pid: int) -> bool:
    """Whether each of its threads has been stopped by a signal, or has ended: it does nothing any more."""
    states = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/{pid}/task/{thread}/stat", "rb") as file,
            ):
                states.append(file.read().rpartition(b")")[2].split()[0])
    return {*states} <= {b"T", b"Z", b"X"}


def children(pid: int) -> list[Process]:
    """The children of all threads of a process, zombies too, as they were at one moment.

    Read from the short lists that the kernel keeps: a walk through all of /proc would take long enough to
    see a program that has left and its replacement at once.  And read until none has come or gone meanwhile: a
    program that had left would be missing, and its replacement, too; the kernel leaves out others while one goes.
    """
    pids = _children(pid)
    while True:
        found = [process(child) for child in pids]
        before, pids = pids, _children(pid)
        if pids == before:
            return [child for child in found if child is not None]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def group(number: int) -> list[Process]:
    """All processes of this process group, zombies too."""
    found = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [one for one in found if one is not None and one.group == number]


def environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty for a zombie or one that is gone."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}
    return dict(os.fsdecode(entry).split("=", 1) for entry in entries if b"=" in entry)


def arguments(pid: int) -> list[str]:
    """A process's argv; empty for a zombie or one that is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
    except (FileNotFoundError, ProcessLookupError):
        return []


def having(variable: str, value: str) -> list[int]:
    """The pids of all processes, zombies apart, that carry this variable in their environment."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if environment(pid).get(variable) == value]


def held_up(*pids: int) -> float:
    """Seconds for which their main threads have waited for a CPU: a busy machine's doing.  None for those gone."""
    nanoseconds = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/schedstat") as file:
            nanoseconds += int(file.read().split()[1])
    return nanoseconds / 1e9


def clock(*pids: int) -> float:
    """Seconds on a clock that stands still while one of these waits for a CPU that others have."""
    return time.monotonic() - held_up(*pids)


def on_cpu(pid: int) -> float:
    """Seconds for which its main thread has been on a CPU."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def status(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status, such as VmRSS, SigIgn, SigBlk."""
    with open(f"/proc/{pid}/status") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


def memory(pid: int, field: str = "VmRSS") -> int:
    """KiB of memory: VmRSS is what it holds now, VmHWM the most it ever held."""
    return int(status(pid)[field].split()[0])


def descriptors(pid: int) -> dict[int, str]:
    """A process's open descriptors and what they link to."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue  # closed since the listing
    return found


def limit(pid: int, name: str) -> tuple[str, str]:
    """The soft and the hard limit of this name in /proc/PID/limits."""
    with open(f"/proc/{pid}/limits") as file:
        for line in file:
            if line.startswith(name):
                soft, hard = line[len(name) :].split()[:2]
                return soft, hard
    raise KeyError(name)
