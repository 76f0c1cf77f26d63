"""A service's reloads in virtual time; its programs play as in support.inmemory.pools, by the names of their files."""

import contextlib
import functools
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
import trio

from bridge.config.settings import ConfigError, Settings
from bridge.daemon.process import Process
from bridge.daemon.service import Service
from bridge.daemon.systemd import Notifier
from bridge.pool.pool import Pool
from bridge.pool.poolset import PoolSet
from bridge.worker.state import State
from support.inmemory.pools import AUTH, Answer, InMemoryWorker, Play, drive, made


class Telling(Notifier):
    """Keeps what systemd would be told."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self.told: list[str] = []

    def reloading(self) -> None:
        self.told.append("RELOADING")

    def ready(self, status: str) -> None:
        self.told.append(f"READY {status}")


class Outcome:
    """What somebody who requested a reload was told, and when."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.at = -1.0
        self._told = trio.Event()

    def __call__(self, reason: str) -> None:
        assert self.reason is None, "told twice"
        self.reason, self.at = reason, trio.current_time()
        self._told.set()

    async def told(self) -> str:
        with trio.fail_after(3600):
            await self._told.wait()
        assert self.reason is not None
        return self.reason


class Reloading:
    """A service whose reloads are under test.

    Attributes:
      file: what its configuration says by now; an error if it is broken.
      plays: what the programs do, by name.
      programs: every one that was started, by name.
      most: the largest number of them that were alive at the same time.
      clients: the settings that the clients have; `strange` is raised instead.
    """

    def __init__(
        self, settings: Settings, plays: Mapping[str, Play | OSError], nursery: trio.Nursery, notifier: Notifier
    ) -> None:
        self.file: Settings | ConfigError = settings
        self.loads = 0
        self.plays = dict(plays)
        self.programs: dict[str, list[InMemoryWorker]] = {name: [] for name in plays}
        self.most = 0
        self.clients = settings
        self.strange: ConfigError | None = None
        self.poolset = PoolSet(settings, trio.current_time)
        self._nursery = nursery
        self.service = Service(Process(self.poolset, lambda *_, **__: None), self._load, notifier=notifier)
        self.reloader = self.service.reloader

    def request(self) -> Outcome:
        """Request a reload."""
        outcome = Outcome()
        self.reloader.request(outcome)
        return outcome

    async def reload(self, file: Settings | ConfigError) -> str:
        """Request a reload of this file, and wait for what becomes of it."""
        self.file = file
        return await self.request().told()

    def ask(self, body: bytes = AUTH) -> Answer:
        """One question, as from a client."""
        answer = Answer()
        (answer.query,) = self.poolset.router.ask([body], answer)
        return answer

    def alive(self, name: str) -> int:
        """How many programs of this name there are."""
        return sum(program.state is not State.GONE for program in self.programs[name])

    def launch(self, pool: Pool) -> InMemoryWorker:
        """Start a program of a pool."""
        play = self.plays[pool.program.argv[0]]
        if isinstance(play, OSError):
            raise play
        program = InMemoryWorker(pool, play, self._nursery, lambda: None)
        self.programs[pool.program.argv[0]].append(program)
        self.most = max(self.most, sum(map(self.alive, self.programs)))
        return program

    def reconfigure(self, settings: Settings) -> None:
        """What the clients do."""
        if self.strange is not None:
            raise self.strange
        self.clients = settings

    def _load(self) -> Settings:
        self.loads += 1
        if isinstance(self.file, ConfigError):
            raise self.file
        return self.file

    async def run(self) -> None:
        """Do what `Service` does for its pools."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drive, self.poolset.reactor)
            self.poolset.supervise(functools.partial(self.service._supervise, nursery))
            drain = functools.partial(self.service._drain_soon, nursery)
            await self.reloader.run(self.reconfigure, drain)


@contextlib.asynccontextmanager
async def reloading(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    plays: Mapping[str, Play | OSError],
    notifier: Notifier | None = None,
) -> AsyncIterator[Reloading]:
    """With the programs of `settings` started, two seconds ago."""
    async with trio.open_nursery() as nursery:
        there = Reloading(settings, plays, nursery, notifier or Notifier(None, None))
        monkeypatch.setattr("bridge.pool.staff.start_worker", cast("Any", there.launch))
        monkeypatch.setattr("bridge.daemon.reload.configure", lambda *_: None)  # the log is the test run's
        there.poolset.apply(settings)
        nursery.start_soon(there.run)
        await trio.sleep(2.0)
        yield there
        nursery.cancel_scope.cancel()
    there.poolset.reactor.close()


def with_hosts(settings: Settings, **programs: str) -> Settings:
    """These settings, with a program of its own for each domain, whose dots are written as underscores."""
    hosts = {name.replace("_", "."): {"program": program} for name, program in programs.items()}
    assert settings.program is not None
    return made(*settings.program.argv, pool_size=settings.program.pool_size, hosts=hosts)
