"""Has chaos happen for a time, one action after the other or two at once, and tells what came of it."""

import contextlib
import functools
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from support.availability.clients import Watch
from support.availability.verdict import Figures
from support.chaos.action import Action, Scenery
from support.chaos.clients import Breach, InOrder, OnTerminal, Single, Tagged
from support.chaos.people import ANSWER_TIMEOUT, LOADED, Harm, People
from support.chaos.site import SMALL, Site
from support.process import COMMAND, environment
from support.pty.driver import Client, Emulation, LuaClient
from support.smallfilesystem import small_file_system

RATES = {"plain": 5, "single": 4, "tagged": 10, "relay": 4, "terminal": 4, "sqlite": 1.5, "hashes": 0.4, "changes": 1}
"""Questions a second."""

TOGETHER = 0.3
"""How often two actions happen at once."""

UNDOING = 60.0
"""Seconds within which an action is begun and undone, far more than anything takes."""


@dataclass
class Row:
    """What is told of one action.

    Attributes:
      times: how often it was done, alone or with another.
      asked, failed, late, longest: of right questions of those whom it does not name.
      recovery: seconds, the longest after its end until all were granted at once again.
    """

    name: str
    title: str
    times: int = 0
    asked: int = 0
    failed: int = 0
    late: int = 0
    longest: float = 0.0
    recovery: float = 0.0
    breaches: int = 0

    def add(self, found: Figures, recovery: float, breaches: int) -> None:
        self.times += 1
        self.asked += found.asked
        self.failed += found.failed
        self.late += found.late
        self.longest = max(self.longest, found.longest)
        self.recovery = max(self.recovery, recovery)
        self.breaches += breaches


@dataclass
class Result:
    """What came of it all.

    Attributes:
      asked: questions of everybody.
      lag: seconds, the most that one step had to wait for a CPU; no answer is blamed for it.
      loaded: steps in which that was so long that nobody was blamed for what was late or refused.
      missing: actions that cannot happen here, and why.
      folder: what is left for looking at, if there were breaches.
    """

    seed: int
    seconds: float = 0.0
    asked: int = 0
    lag: float = 0.0
    loaded: int = 0
    most: int = 0
    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    breaches: list[str] = field(default_factory=list)
    folder: str = ""


class Play:
    """One run.

    Args:
      actions: those that happen.
      seed: decides about everything that is left to chance.
      tell: called with a line about each step.
      hold: how long actions last, as a part of what they would.
    """

    def __init__(self, actions: Sequence[Action], seed: int, tell: Callable[[str], None], hold: float = 1.0) -> None:
        self.result = Result(seed)
        self._actions = actions
        self._dice = random.Random(seed)
        self._tell = tell
        self._hold = hold
        self._what = "the beginning"
        self._site: Site
        self._people: People

    def run(self, minutes: float) -> Result:
        """Until this time is over; 0: each action once, one after the other."""
        watch = Watch()
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        folder.chmod(0o755)
        try:
            with small_file_system(folder / "small", SMALL) as small:
                trio.run(self._run, folder, small, minutes, watch, instruments=[watch])
        finally:
            if self.result.breaches:
                self.result.folder = str(folder)
            else:
                shutil.rmtree(folder)
        return self.result

    def _breach(self, what: str) -> None:
        self.result.breaches.append(f"{self._what}: {what}")
        self._tell(f"BREACH {self.result.breaches[-1]}")

    async def _run(self, folder: Path, small: Path | None, minutes: float, watch: Watch) -> None:
        began = time.monotonic()
        site = self._site = Site(folder, small, watch, self._breach)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(site.count)
                with contextlib.closing(_terminal(site, watch, self._breach)) as terminal:
                    async with trio.open_nursery() as asking:
                        self._people = _people(site, terminal, watch, asking, self._breach)
                        await self._warm_up()
                        await self._go_on(began + minutes * 60 if minutes else None)
                        asking.cancel_scope.cancel()
                self._what = "the end"
                await site.close()
                nursery.cancel_scope.cancel()
        finally:
            site.destroy()
            self.result.asked, self.result.most = self._people.asked, site.most
            self.result.seconds = time.monotonic() - began

    async def _warm_up(self) -> None:
        site, people = self._site, self._people
        await site.up()
        people.start(RATES, self._dice)
        if await people.recovered(time.monotonic(), 15.0) > 15.0:
            self._breach("it does not come up")
        people.judge(Harm(share=1.0, late=1.0, waits=True, holds=5.0), "the beginning", 0.0, site.lag())
        site.remember()

    async def _go_on(self, until: float | None) -> None:
        rows = {action.name: Row(action.name, action.title) for action in self._actions}
        self.result.missing = {one.name: why for one in self._actions if (why := one.missing(self._site))}
        able = [one for one in self._actions if one.name not in self.result.missing]
        self.result.rows = [rows[one.name] for one in able]
        number = 0
        while able:
            for step in self._steps(able, together=until is not None):
                number += 1
                if until is not None and time.monotonic() > until:
                    return
                await self._step(step, random.Random(f"{self.result.seed}/{number}"), rows, number)
            if until is None:
                return

    def _steps(self, actions: Sequence[Action], *, together: bool) -> Iterator[list[Action]]:
        """All actions in an order of chance, some of them two at once."""
        left = self._dice.sample(actions, len(actions))
        while left:
            step = [left.pop()]
            others = [one for one in left if not (one.operator and step[0].operator)]
            if together and others and self._dice.random() < TOGETHER:
                step.append(self._dice.choice(others))
                left.remove(step[1])
            yield step

    async def _step(self, step: list[Action], dice: random.Random, rows: dict[str, Row], number: int) -> None:
        site, people, began = self._site, self._people, time.monotonic()
        self._what = f"{number} {' + '.join(one.name for one in step)}"
        harm = functools.reduce(Harm.__or__, (one.harm for one in step))
        before = len(self.result.breaches)
        try:
            await self._do(step, dice, max(one.hold for one in step) * self._hold)
        except Exception as error:
            self._breach(f"it cannot be done or undone: {_innermost(error)}")
        recovery = await people.recovered(time.monotonic(), harm.recovery + 1.0)
        lag = site.lag()
        self.result.lag = max(self.result.lag, lag)
        self.result.loaded += lag >= LOADED
        if recovery > harm.recovery + 1.0 and lag < LOADED:
            self._breach(f"all was well only {recovery:.1f} s after its end")
        found = people.judge(harm, "others", began, lag)
        if site.process.poll() is not None:
            self._breach(f"the daemon is gone: {site.process.returncode}")
            site.start()
        site.scan_log()
        for one in step:
            rows[one.name].add(found, recovery, len(self.result.breaches) - before)
        clock = time.strftime("%H:%M:%S")
        self._tell(f"{clock} {self._what}: {found}, well again after {recovery:.1f} s, lag {lag:.2f} s")

    async def _do(self, step: list[Action], dice: random.Random, hold: float) -> None:
        with trio.move_on_after(hold + 2 * UNDOING) as patience:
            async with contextlib.AsyncExitStack() as stack:
                for one in step:
                    mine = await stack.enter_async_context(trio.open_nursery())
                    await stack.enter_async_context(_ended(mine))
                    scenery = Scenery(self._site, self._people, dice, mine, together=len(step) > 1)
                    await stack.enter_async_context(one.act(scenery))
                await trio.sleep(hold)
        if patience.cancelled_caught:
            self._breach("it cannot be undone")


def _innermost(error: Exception) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


@contextlib.asynccontextmanager
async def _ended(nursery: trio.Nursery) -> AsyncIterator[None]:
    """What an action has others do ends with it."""
    yield
    nursery.cancel_scope.cancel()


def _people(site: Site, terminal: OnTerminal, watch: Watch, nursery: trio.Nursery, breach: Breach) -> People:
    async def connect() -> trio.SocketStream:
        return await trio.open_unix_socket(site.path)

    file = site.relay_file("relay")

    async def start_relay() -> trio.StapledStream:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = await trio.lowlevel.open_process([*COMMAND, str(file)], env=environment(), **pipes)
        nursery.start_soon(process.wait)
        assert process.stdio is not None
        return process.stdio

    tagged = Tagged(site.path, watch, nursery, breach)
    clients = {
        "plain": InOrder(connect, watch, nursery, breach, "plain"),
        "single": Single(site.path, watch, breach),
        "tagged": tagged,
        "relay": InOrder(start_relay, watch, nursery, breach, "relay"),
        "terminal": terminal,
        "sqlite": (sqlite := Tagged(site.path, watch, nursery, breach)),
        "hashes": sqlite,
        "changes": tagged,
        "attack": tagged,
    }
    return People(clients, nursery, breach)


def _terminal(site: Site, watch: Watch, breach: Breach) -> OnTerminal:
    """With the real library for terminals, where there is one."""
    command = site.relay_command("terminal")
    lua = shutil.which("lua5.2")
    real = lua and subprocess.run([lua, "-e", "require 'lpty'"], check=False, capture_output=True).returncode == 0

    def start() -> Client:
        client = LuaClient(command) if real else Emulation(command)
        client.start()
        return client

    return OnTerminal(start, ANSWER_TIMEOUT + 1.0, watch, breach)
