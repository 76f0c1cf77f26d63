"""Real programs in a real Pool: what a new program is asked, and what happens if none can be started."""

import errno
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from support import procfs
from support.inmemory.pools import made
from support.programs.bad import habit

from bridge.loop.reactor import Reactor
from bridge.pool.pool import Pool
from bridge.pool.staff import start_worker
from bridge.pool.starts import Starts
from bridge.protocol import frames
from bridge.protocol.query import Query, Verdict
from bridge.worker.spawn import start
from bridge.worker.worker import Worker

PATIENCE = 20.0
PYTHON = (sys.executable, "-I", "-S", "-B", "-c")
YES, UNAVAILABLE = Verdict.GRANTED, Verdict.UNAVAILABLE
AUTH = b"auth:alice:example.com:pw-alice"


class Asker:
    def settled(self, query: Query) -> None:
        """Nothing to do: the tests look at the query."""


class Scene:
    """A pool of real programs without its supervisor."""

    def __init__(self, reactor: Reactor, launch: Callable[[Pool], Worker], *argv: str) -> None:
        settings = made(*argv, pool_size=1)
        assert settings.program is not None
        self.reactor = reactor
        self.starts = Starts(reactor.call_at, time.monotonic)
        attention: Callable[[Pool], None] = lambda pool: None  # noqa: E731
        self.pool = Pool("default", settings.program, settings, reactor, self.starts, attention, launch)

    def ask(self, body: bytes = AUTH) -> Query:
        query = Query(body, time.monotonic() + PATIENCE, Asker())
        self.pool.ask([query])
        return query

    def until(self, done: Callable[[], object]) -> None:
        waiting = select.poll()
        waiting.register(self.reactor.fileno(), select.POLLIN)
        until = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < until
            waiting.poll(20)
            self.reactor.run_once()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scene]]:
    monkeypatch.chdir(os.getcwd())
    before = set(os.listdir("/proc/self/fd"))
    scenes: list[Scene] = []

    def make(*argv: str, launch: Callable[[Pool], Worker] = start_worker, reactor: Reactor | None = None) -> Scene:
        scenes.append(Scene(reactor or Reactor(), launch, *argv))
        return scenes[-1]

    yield make
    for each in scenes:
        for worker in [*each.pool.workers]:
            worker.reap(PATIENCE)
        each.reactor.close()
    assert procfs.children(os.getpid()) == []
    assert set(os.listdir("/proc/self/fd")) == before


def test_one_that_needs_a_second_to_start(scene) -> None:
    """The question waits in its pipe; the slow start is not taken for silence."""
    there = scene(*habit("starts_slowly", 1000))
    there.pool.staff.start()
    query = there.ask()
    there.until(lambda: query.settled)
    assert query.verdict is YES


@pytest.mark.parametrize("program", ["/nowhere/program", "/etc/passwd", "/etc"])
def test_what_cannot_be_started(scene, program: str) -> None:
    there = scene(program)
    there.pool.staff.start()
    there.starts.start_at_once()  # the first start that fails is tried again at once
    query = there.ask()
    assert query.verdict is UNAVAILABLE
    assert query.settled
    assert there.pool.figures.failures >= 1


def test_fork_failing(scene, monkeypatch) -> None:
    """EAGAIN; see test_spawn for a real limit of processes."""
    there = scene(*habit("good"))
    spawn = os.posix_spawnp

    def fail(*_: object, **__: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "posix_spawnp", fail)
    assert there.pool.staff.start() is None
    query = there.ask()
    assert not query.settled, "a start is due in time, and what failed may pass"
    monkeypatch.setattr(os, "posix_spawnp", spawn)
    assert there.pool.staff.start() is not None
    there.until(lambda: query.settled)
    assert query.verdict is YES


def test_a_yes_that_was_there_before_the_waiting_question(scene) -> None:
    def launch(pool: Pool) -> Worker:
        process = start((*PYTHON, "import os; os.write(1, b'\\0\\2\\0\\1'); os.read(0, 1)"), "/", {})
        said = select.poll()
        said.register(process.stdout, select.POLLIN)
        assert said.poll(20_000)  # a machine as slow as that
        return Worker(process, pool.reactor, pool, 4096, frames)

    there = scene("/program", launch=launch)
    query = there.ask(b"auth:mallory:example.com:hunter2")
    assert not query.settled
    there.pool.staff.start()
    there.until(lambda: query.settled or not there.pool.workers)
    assert query.verdict is not YES


def test_a_reply_to_a_question_that_nobody_has_read(scene) -> None:
    """The second reply to the first question comes when the next question is already there, unread."""
    program = """
import os, select, signal
os.read(0, 999)
os.write(1, b'\\0\\2\\0\\0')
select.select([0], [], [])
os.write(1, b'\\0\\2\\0\\1')
signal.pause()
"""
    there = scene(*PYTHON, program)
    there.pool.staff.start()
    first = there.ask()
    there.until(lambda: first.settled)
    assert first.verdict is Verdict.DENIED
    second = there.ask(b"auth:mallory:example.com:hunter2")
    there.until(lambda: second.settled or not there.pool.workers)
    assert second.verdict is not YES


def test_a_program_that_cannot_be_watched(scene) -> None:
    """epoll_ctl fails with ENOSPC at fs.epoll.max_user_watches, with ENOMEM without memory."""

    class Full(Reactor):
        def watch(self, descriptor: int, *arguments: object, **options: object) -> None:
            if len(os.listdir("/proc/self/fd")) > full:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().watch(descriptor, *arguments, **options)  # type: ignore[arg-type]

    full = 10**6
    there = scene(*habit("silent"), reactor=Full())
    before = set(os.listdir("/proc/self/fd"))
    full = 0
    there.pool.staff.start()
    children = [child.pid for child in procfs.children(os.getpid())]
    left = set(os.listdir("/proc/self/fd")) - before
    full = 10**6
    for pid in children:  # for the next test
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    for number in left:
        os.close(int(number))
    assert cast("list[int]", children) == []
