"""Actions upon the machine: no descriptor, no process, no pipe, no room on the disk or in the journal."""

import contextlib
import errno
import functools
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from support import procfs
from support.chaos.action import Action, Scenery
from support.chaos.people import Harm
from support.chaos.programs import send
from support.chaos.site import Site

ALL = 1000
"""More programs than there are."""


def kill_some(scenery: Scenery, count: int) -> None:
    """So that some must be started, in the pool that everybody asks; unless it is to be ALL, two are left."""
    programs = scenery.site.troubled()
    left = 0 if count == ALL else 2
    send(signal.SIGKILL, scenery.dice.sample(programs, max(0, min(count, len(programs) - left))))


@contextlib.asynccontextmanager
async def descriptors(scenery: Scenery) -> AsyncIterator[None]:
    """The daemon has all that it may have: it can neither accept a client nor start a program."""
    most = max(procfs.descriptors(scenery.site.process.pid)) + 1
    with scenery.site.limited("nofile", most):
        kill_some(scenery, 2)
        yield


@contextlib.asynccontextmanager
async def processes(scenery: Scenery) -> AsyncIterator[None]:
    """Its user may not start another process."""
    with scenery.site.limited("nproc", 1):
        kill_some(scenery, 2)
        yield


@contextlib.asynccontextmanager
async def memory(scenery: Scenery) -> AsyncIterator[None]:
    """The daemon gets no more memory than it has."""
    with scenery.site.limited("as", procfs.memory(scenery.site.process.pid, "VmSize") * 1024):
        kill_some(scenery, 2)
        yield


@contextlib.asynccontextmanager
async def fault(scenery: Scenery, *, call: str, numbers: tuple[int, ...], kill: int) -> AsyncIterator[None]:
    """A call of the daemon fails, and some of its programs are killed."""
    scenery.site.faults.set(call, scenery.dice.choice(numbers))
    kill_some(scenery, kill)
    try:
        yield
    finally:
        scenery.site.faults.clear(call)


def fill(path: Path) -> None:
    """Write until there is no room for another byte."""
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


@contextlib.asynccontextmanager
async def disk(scenery: Scenery) -> AsyncIterator[None]:
    """Not a byte is left for the log and the database."""
    assert scenery.site.small is not None
    filler = scenery.site.small / "filler"
    fill(filler)
    kill_some(scenery, 1)
    try:
        yield
    finally:
        filler.unlink()


def needs_small(site: Site) -> str:
    return "" if site.small else "root, for a small file system"


@contextlib.asynccontextmanager
async def journal(scenery: Scenery) -> AsyncIterator[None]:
    """The log goes to a journal that takes a few lines and reads none of them."""
    site = scenery.site
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(os.fspath(site.faults.journal))
        site.faults.journal.chmod(0o666)
        await reloaded(scenery, target="journal")

        async def go_on() -> None:
            while True:
                kill_some(scenery, 1)
                await trio.sleep(0.3)

        scenery.nursery.start_soon(go_on)
        yield
        scenery.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await reloaded(scenery)
        there.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                site.scan(there.recv(65536), "journal")
    site.faults.journal.unlink()


async def reloaded(scenery: Scenery, target: str = "") -> None:
    """Have the log go elsewhere."""
    site = scenery.site
    site.configure(target=target)
    done = await site.command("reload", site.status)
    if done.returncode != 0 and not scenery.together:
        site.breach(f"a reload for the log: {done.returncode} {done.stderr.decode()[-300:]}")


ACTIONS = (
    Action(
        "descriptors",
        "the daemon has no descriptor left, and two programs are killed",
        descriptors,
        Harm(failed=1, named=frozenset({"single"}), barren=True),
    ),
    Action(
        "processes", "no process can be started, and two programs are killed", processes, Harm(failed=1, barren=True)
    ),
    Action("memory", "no more memory for the daemon, and two programs are killed", memory, Harm(failed=1, barren=True)),
    Action(
        "fork",
        "posix_spawn fails, and all programs are killed",
        functools.partial(fault, call="posix_spawnp", numbers=(errno.EAGAIN, errno.ENOMEM), kill=ALL),
        Harm(share=1.0, late=1.0, waits=True, recovery=5.0, barren=True),
    ),
    Action(
        "pipe",
        "pipe fails, and all programs are killed",
        functools.partial(fault, call="pipe", numbers=(errno.EMFILE, errno.ENFILE), kill=ALL),
        Harm(share=1.0, late=1.0, waits=True, recovery=5.0, barren=True),
    ),
    Action(
        "pidfd",
        "pidfd_open fails, and two programs are killed",
        functools.partial(fault, call="pidfd_open", numbers=(errno.EMFILE, errno.ENFILE, errno.ENOMEM), kill=2),
        Harm(failed=1, barren=True),
    ),
    Action(
        "accept",
        "accept fails",
        functools.partial(fault, call="accept", numbers=(errno.ENFILE, errno.ENOBUFS, errno.ECONNABORTED), kill=0),
        Harm(named=frozenset({"single"})),
    ),
    Action(
        "disk",
        "the disk of log and SQLite database is full, and a program is killed",
        disk,
        Harm(failed=1, named=frozenset({"sqlite"}), recovery=5.0),
        missing=needs_small,
    ),
    Action(
        "journal",
        "nobody reads the journal's socket, and a program is killed every 0.3 s",
        journal,
        Harm(failed=1),
        operator=True,
    ),
)
