"""The supervisor is told of every pool that needs it, even if that was before it existed."""

import os
import signal
from collections.abc import Iterator

import pytest
import trio
from support.inmemory.pools import made
from support.programs.bad import habit

from bridge.config.settings import Settings
from bridge.daemon.process import Process
from bridge.daemon.service import Service
from bridge.pool.pool import Pool
from bridge.pool.poolset import DEFAULT, PoolSet
from bridge.protocol.query import Query, Verdict

PATIENCE = 20.0
AUTH = b"auth:alice:example.com:pw-alice"


class Asker:
    def settled(self, query: Query) -> None:
        """Nothing to do: the tests look at the query."""


class Client:
    """A client that does nothing."""

    def reconfigure(self, settings: Settings) -> None: ...

    def stop(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


SETTINGS = made(*habit("good"), pool_size=1, max_requests=2, answer_timeout=60.0)  # on a busy machine they start slowly


@pytest.fixture
def poolset(monkeypatch: pytest.MonkeyPatch) -> Iterator[PoolSet]:
    """With a program that has served enough after two questions, and no supervisor."""
    monkeypatch.chdir(os.getcwd())  # starting a program leaves it
    poolset = PoolSet(SETTINGS)
    poolset.apply(SETTINGS)
    poolset.starts.start_at_once()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield poolset
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # a service leaves signals blocked, and children inherit that
    poolset.close()


def ask(poolset: PoolSet) -> None:
    """One question, answered."""
    (query,) = poolset.router.ask([AUTH], Asker())
    poolset.reactor.run_until(lambda: query.settled)  # by its deadline at the latest
    assert query.verdict is Verdict.GRANTED


def test_what_came_before_is_told_at_once_and_once(poolset: PoolSet) -> None:
    ask(poolset)
    ask(poolset)
    told: list[Pool] = []
    poolset.supervise(told.append)
    assert told == [poolset.pools[DEFAULT]], "its first program, and that this has served enough"
    ask(poolset)
    assert len(told) == 1


def test_what_comes_later_is_told_then(poolset: PoolSet) -> None:
    told: list[Pool] = []
    poolset.supervise(told.append)
    ask(poolset)
    assert len(told) == 1
    ask(poolset)
    assert told == [poolset.pools[DEFAULT]] * 2, "now it has served enough"


def test_a_new_pool_says_when_it_has_a_program(poolset: PoolSet) -> None:
    told: list[Pool] = []
    poolset.supervise(told.append)
    poolset.apply(made(*habit("good"), pool_size=2))
    assert len(told) == 1
    poolset.starts.start_at_once()
    assert told[1:] == [poolset.pools[DEFAULT]], "when there is the first one, and not for the others"


async def test_the_service_supervises_what_started_before_it(poolset: PoolSet) -> None:
    ask(poolset)
    ask(poolset)
    (pool,) = poolset.pools.values()
    (worn,) = pool.workers
    client = Client()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            service = Service(Process(poolset, lambda *_, **__: None), lambda: SETTINGS)
            nursery.start_soon(service._serve, client, False)
            while worn in pool.workers or not pool.staff.usable:
                await trio.sleep(0.01)
            service._over.set()
    assert pool.figures.starts == 2
    assert pool.figures.failures == 0
    assert not pool.workers, "and stops all at the end"
