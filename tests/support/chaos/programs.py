"""Actions upon programs: they are killed, stopped, slowed down, leave, stall, and hang or end at what somebody asks."""

import contextlib
import functools
import os
import signal
from collections.abc import AsyncIterator, Iterable

import trio

from support.chaos.action import Action, Scenery
from support.chaos.people import EVERYBODY, Harm


def send(number: int, pids: Iterable[int]) -> None:
    """Send a signal to programs, of which some may be gone by now."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@contextlib.asynccontextmanager
async def kill_one(scenery: Scenery) -> AsyncIterator[None]:
    """One every fifth of a second: far enough apart for a question's second chance."""

    async def go_on() -> None:
        while True:
            if programs := scenery.site.programs():
                send(signal.SIGKILL, [scenery.dice.choice(programs)])
            await trio.sleep(0.2)

    scenery.nursery.start_soon(go_on)
    yield


@contextlib.asynccontextmanager
async def kill_all(scenery: Scenery) -> AsyncIterator[None]:
    send(signal.SIGKILL, scenery.site.programs())
    yield


@contextlib.asynccontextmanager
async def terminate_all(scenery: Scenery) -> AsyncIterator[None]:
    """As `killall php` does, by hand."""
    send(signal.SIGTERM, scenery.site.programs())
    yield


@contextlib.asynccontextmanager
async def stop(scenery: Scenery, *, all_of_them: bool) -> AsyncIterator[None]:
    programs = scenery.site.troubled()
    stopped = programs if all_of_them else scenery.dice.sample(programs, min(1, len(programs)))
    send(signal.SIGSTOP, stopped)
    try:
        yield
    finally:
        send(signal.SIGCONT, stopped)


@contextlib.asynccontextmanager
async def slow(scenery: Scenery) -> AsyncIterator[None]:
    """All programs run for only a fifth of the time."""
    stopped: list[int] = []

    async def go_on() -> None:
        while True:
            stopped[:] = scenery.site.troubled()
            send(signal.SIGSTOP, stopped)
            await trio.sleep(0.04)
            send(signal.SIGCONT, stopped)
            await trio.sleep(0.01)

    scenery.nursery.start_soon(go_on)
    try:
        yield
    finally:
        scenery.nursery.cancel_scope.cancel()
        send(signal.SIGCONT, stopped)


@contextlib.asynccontextmanager
async def leave(scenery: Scenery) -> AsyncIterator[None]:
    """All that run now, as after a restart of their database; those that come after them stay."""
    scenery.site.leaves.touch()
    try:
        yield
    finally:
        scenery.site.leaves.unlink()


@contextlib.asynccontextmanager
async def stall(scenery: Scenery) -> AsyncIterator[None]:
    scenery.site.stalls.touch()
    try:
        yield
    finally:
        scenery.site.stalls.unlink()


@contextlib.asynccontextmanager
async def attack(scenery: Scenery, *, secret: str, accounts: bool) -> AsyncIterator[None]:
    """Two logins are always open whose secret is bad for a program."""
    user = f"mallory{scenery.dice.randrange(10**9)}"
    async with scenery.people.crowds["attack"].attack(
        2, f"{secret}-", user=user, users=accounts, secrets=accounts, addresses=accounts
    ):
        yield


ATTACKS = (
    Action(
        f"{secret}-{'many' if accounts else 'one'}",
        f"two logins are always open that {what}, {'another account each time' if accounts else 'one account'}",
        functools.partial(attack, secret=secret, accounts=accounts),
        Harm(failed=1, late=0.10) if accounts else Harm(late=0.02),
        hold=3.0,
    )
    for secret, what in (
        ("hangs", "hang the program"),
        ("exits", "end the program"),
        ("twice", "are replied to twice"),
    )
    for accounts in (False, True)
)

ACTIONS = (
    Action("kill-one", "a program is killed every 0.2 s", kill_one, Harm(failed=1)),
    Action("kill-all", "all programs are killed at once", kill_all, Harm(failed=1)),
    Action("terminate-all", "all programs get SIGTERM at once", terminate_all, Harm(failed=1)),
    Action(
        "stop-one",
        "a program is stopped: who has it waits in vain",
        functools.partial(stop, all_of_them=False),
        Harm(failed=1, waits=True),
        hold=2.5,
    ),
    Action("stop-all", "all programs are stopped", functools.partial(stop, all_of_them=True), EVERYBODY),
    Action("slow", "all programs run for a fifth of the time", slow, Harm(late=0.1, waits=True)),
    Action("leave", "all programs leave, as if their database had been restarted", leave, Harm(failed=1)),
    Action("stall", "nothing is answered, as if the database were locked", stall, EVERYBODY, hold=2.5),
    *ATTACKS,
)
