"""What is broken while people log in: one thing after the other, in an order that the seed decides."""

import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import trio

from support.logins.daemon import WAYS, Daemon, Line
from support.logins.tally import Tally

# Broken in different ways: no TOML, no such key, no such program, one that ends at once, one that says nothing useful.
BROKEN: tuple[dict[str, object], ...] = (
    {"pool_size": "many"},
    {"pool_sise": 4},
    {"program": ["/nonexistent/program"]},
    {"program": ["/bin/false"]},
    {"program": ["/bin/echo", "hello"]},
)
PATIENCE = 30.0  # seconds for a reload, reached only by one that is forgotten

Step = Callable[[], Awaitable[None]]


class Chaos:
    """All that can be broken where there are programs; `Daemons` has what needs a daemon.

    Args:
      programs: those that run just now.
      state: the directory of what they know.
      tally: is told what is done.
    """

    def __init__(self, chance: random.Random, tally: Tally, programs: Callable[[], list[int]], state: Path) -> None:
        self.chance, self.tally, self.programs = chance, tally, programs
        self._slow = state / "slow"
        self.steps: list[tuple[str, Step]] = [
            ("a program killed", self.kill_one),
            ("a program stopped for good", self.stop_one),
            ("all programs killed", self.kill_all),
            ("all programs stopped for a while", self.freeze),
            ("all programs slow for a while", self.slow),
        ]

    async def run(self, least: int, most: int) -> None:
        """Until it is cancelled, with so many logins in between; what was begun is done to its end."""
        while True:
            await self.tally.until_more(self.chance.randint(least, most))
            what, step = self.chance.choice(self.steps)
            self.tally.begin(what)
            with trio.CancelScope(shield=True):
                await step()

    def _send(self, pids: list[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _one(self) -> list[int]:
        running = self.programs()
        return [self.chance.choice(running)] if running else []

    async def kill_one(self) -> None:
        self._send(self._one(), signal.SIGKILL)

    async def stop_one(self) -> None:
        self._send(self._one(), signal.SIGSTOP)

    async def kill_all(self) -> None:
        self._send(self.programs(), signal.SIGKILL)

    @contextlib.contextmanager
    def _stopped(self, pids: list[int]) -> Iterator[None]:
        self._send(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            self._send(pids, signal.SIGCONT)

    async def freeze(self) -> None:
        with self._stopped(self.programs()):
            await trio.sleep(self.chance.uniform(0.1, 0.8))

    async def slow(self) -> None:
        new = self._slow.with_suffix(".new")
        new.write_text(str(self.chance.choice((5, 20, 100))))
        new.rename(self._slow)
        await trio.sleep(self.chance.uniform(0.2, 1.0))
        self._slow.unlink()


class Daemons(Chaos):
    """The same, and what can be broken of a daemon and of the line to it."""

    def __init__(self, chance: random.Random, tally: Tally, daemon: Daemon, line: Line | None) -> None:
        super().__init__(chance, tally, daemon.programs, daemon.state)
        self._daemon = daemon
        self.steps += [
            ("daemon stopped for a while", self.stand_still),
            ("a good reload", self.reload),
            ("a broken reload", self.break_reload),
        ]
        for way in WAYS:
            self.steps.append((f"daemon restarted, {way}", lambda way=way: self.restart(way, signal.SIGTERM)))
            self.steps.append((f"daemon killed, {way}", lambda way=way: self.restart(way, signal.SIGKILL)))
        if line:
            self._line = line
            self.steps += [("connection cut", self.cut), ("connection cut within an answer", self.cut_within)]

    async def restart(self, way: str, number: int) -> None:
        """Ended by this signal, and started in this way."""
        await trio.to_thread.run_sync(self._daemon.end, number)
        self._daemon.start(way)
        await self._daemon.answers()

    async def stand_still(self) -> None:
        with self._stopped([self._daemon.pid]):
            await trio.sleep(self.chance.uniform(0.1, 1.0))

    async def reload(self) -> None:
        size, most = self.chance.randint(3, 6), self.chance.choice((20, 100, 500))
        self._daemon.configure(pool_size=size, max_requests=most)
        await self._read_again("loaded")

    async def break_reload(self) -> None:
        self._daemon.configure(**self.chance.choice(BROKEN))
        try:
            await self._read_again("refused")
        finally:
            self._daemon.configure()

    async def _read_again(self, what: str) -> None:
        before = self._daemon.reloads(what)
        self._daemon.signal(signal.SIGHUP)
        with trio.fail_after(PATIENCE):
            while self._daemon.reloads(what) == before:
                await trio.sleep(0.02)

    async def cut(self) -> None:
        self._line.cut()

    async def cut_within(self) -> None:
        self._line.cut_within_an_answer()
