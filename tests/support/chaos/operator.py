"""Actions of an operator: reloads good and broken, restarts, the daemon killed or stopped, signals."""

import contextlib
import functools
import signal
import sys
from collections.abc import AsyncIterator

import trio

from support.availability.clients import TICK
from support.availability.stage import troubled
from support.chaos.action import Action, Scenery
from support.chaos.people import Harm
from support.chaos.programs import send

BROKEN = {
    "missing": {"program": ["/usr/local/bin/no-such-program"]},
    "script": {"program": [sys.executable, "-I", "-S", "/usr/local/lib/no-such-script.py"]},
    "stillborn": {"program": troubled(stillborn="yes")},
    "unknown": {"pool_sise": 3},
    "range": {"answer_timeout": -1},
    "type": {"pool_size": "four"},
}


STARTING = 20.0
"""Seconds that the start of a daemon takes on a machine that is very busy."""


@contextlib.asynccontextmanager
async def reload_good(scenery: Scenery) -> AsyncIterator[None]:
    """The same again, with other figures; new programs replace the old ones."""
    site, dice = scenery.site, scenery.dice
    site.configure(
        pool_size=dice.choice((2, 3, 5)), max_requests=dice.choice((20, 0)), env={"SEED": str(dice.random())}
    )
    done = await site.command("reload", site.status)
    if done.returncode != 0 and not scenery.together:
        site.breach(f"a good reload: exit status {done.returncode}: {done.stderr.decode()[-300:]}")
    yield
    site.configure()
    done = await site.command("reload", site.status)
    if done.returncode != 0 and not scenery.together:
        site.breach(f"the reload back: exit status {done.returncode}: {done.stderr.decode()[-300:]}")


@contextlib.asynccontextmanager
async def reload_broken(scenery: Scenery) -> AsyncIterator[None]:
    site, kind = scenery.site, scenery.dice.choice([*BROKEN])
    site.configure(**BROKEN[kind])  # type: ignore[arg-type]
    try:
        done = await site.command("reload", site.status)
        if done.returncode != 1 and not scenery.together:
            site.breach(f"a broken reload ({kind}): exit status {done.returncode}: {done.stderr.decode()[-300:]}")
        yield
    finally:
        site.configure()


@contextlib.asynccontextmanager
async def reload_storm(scenery: Scenery) -> AsyncIterator[None]:
    """SIGHUP after SIGHUP, with a file that is now good and now broken."""
    site = scenery.site

    async def go_on() -> None:
        while True:
            kind = scenery.dice.choice(["", *BROKEN])
            site.configure(**BROKEN.get(kind, {"env": {"SEED": str(scenery.dice.random())}}))  # type: ignore[arg-type]
            site.process.send_signal(signal.SIGHUP)
            await trio.sleep(scenery.dice.choice((0.0, 0.05, 0.3)))

    scenery.nursery.start_soon(go_on)
    try:
        yield
    finally:
        scenery.nursery.cancel_scope.cancel()
        site.configure()
    with trio.CancelScope(shield=True):
        done = await site.command("reload", site.status)
    if done.returncode != 0 and not scenery.together:
        site.breach(f"the last reload: exit status {done.returncode}: {done.stderr.decode()[-300:]}")


@contextlib.asynccontextmanager
async def restart(scenery: Scenery, *, number: int) -> AsyncIterator[None]:
    """The daemon ends, well or at once; systemd keeps its sockets, and starts it again."""
    site = scenery.site
    programs = site.programs()
    site.process.send_signal(number)
    status = await site.ended()
    if status != (0 if number == signal.SIGTERM else -number):
        site.breach(f"a restart: exit status {status}")
        site.process.kill()
    site.start()
    await gone(scenery, programs, killed=number == signal.SIGKILL)
    if not scenery.together:
        await site.up()
    yield


async def gone(scenery: Scenery, programs: list[int], *, killed: bool) -> None:
    """Wait for the end of what the former daemon ran; if that was killed, systemd kills what hangs or is stopped."""
    if killed:
        hanging = programs if scenery.together else {*scenery.site.journal.pids("hangs")} & {*programs}
        await trio.sleep(0.2)
        send(signal.SIGKILL, hanging)
    with trio.move_on_after(5):
        while left := [pid for pid in scenery.site.left() if pid in programs]:
            await trio.sleep(TICK)
        return
    scenery.site.breach(f"the former daemon left {len(left)} programs behind")
    send(signal.SIGKILL, left)


@contextlib.asynccontextmanager
async def stand_still(scenery: Scenery) -> AsyncIterator[None]:
    """The daemon itself is stopped, its programs go on."""
    scenery.site.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        scenery.site.process.send_signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def signals(scenery: Scenery) -> AsyncIterator[None]:
    """It is asked for its status, and gets what it does not care for."""

    async def go_on() -> None:
        while True:
            kinds = (signal.SIGUSR1, signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT, signal.SIGPIPE)
            scenery.site.process.send_signal(scenery.dice.choice(kinds))
            await trio.sleep(0.02)

    scenery.nursery.start_soon(go_on)
    yield


ACTIONS = (
    Action("reload", "reloads with other figures", reload_good, hold=1.0, operator=True),
    Action("reload-broken", "a reload with a mistake", reload_broken, hold=1.0, operator=True),
    Action("reload-storm", "one reload after the other, some with a mistake", reload_storm, hold=2.0, operator=True),
    Action(
        "restart",
        "the daemon is restarted, systemd keeps the sockets",
        functools.partial(restart, number=signal.SIGTERM),
        Harm(share=1.0, late=1.0, waits=True, cuts=True, holds=STARTING, recovery=5.0),
        hold=0.5,
        operator=True,
    ),
    Action(
        "kill-daemon",
        "the daemon is killed, systemd starts it again",
        functools.partial(restart, number=signal.SIGKILL),
        Harm(share=1.0, late=1.0, waits=True, cuts=True, holds=STARTING, recovery=5.0),
        hold=0.5,
        operator=True,
    ),
    Action(
        "stop-daemon",
        "the daemon stands still",
        stand_still,
        Harm(share=1.0, late=1.0, waits=True, holds=1.5),
        operator=True,
    ),
    Action("signals", "the daemon gets fifty signals a second", signals),
)
