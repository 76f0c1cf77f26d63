"""The real Worker and the one in memory report the same to their owner, in the same order.

All tests in virtual time depend on this.
"""

import contextlib
import inspect
import math
import select
import signal
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from support.inmemory.pools import AUTH, SETPASS, InMemoryWorker, answers
from support.inmemory.twins import FAILED, GOOD, PATIENCE, RETIRED, Owner, Real, end, give, watched

from bridge.loop.reactor import Reactor
from bridge.protocol import frames
from bridge.protocol.frames import DENIED, GRANTED
from bridge.protocol.query import Query, Verdict
from bridge.worker.spawn import start
from bridge.worker.state import State
from bridge.worker.worker import Worker


async def test_good_replies(actors) -> None:
    actor = actors(GOOD, answers())
    for number in (1, 2, 3):
        give(actor)
        await actor.until(lambda number=number: len(actor.owner.events) == number)
    assert actor.owner.events == [("replied", AUTH, Verdict.GRANTED, None, n) for n in (1, 2, 3)]
    assert actor.worker.state is State.ASKABLE


async def test_a_denial(actors) -> None:
    actor = actors("while frame(): say(DENIED)", answers(reply=DENIED))
    give(actor)
    await actor.until(lambda: actor.owner.events)
    assert actor.owner.events == [("replied", AUTH, Verdict.DENIED, None, 1)]


async def test_end_of_input(actors) -> None:
    actor = actors(GOOD, answers())
    watched(actor)
    actor.worker.close_stdin()
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.owner.events == [*RETIRED, *end()]


async def test_a_reply_and_gone(actors) -> None:
    async def play(program: InMemoryWorker) -> int:
        await program.frame()
        program.say(GRANTED)
        return 7

    actor = actors("frame(); say(GRANTED); os._exit(7)", play)
    watched(actor)
    give(actor)
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.owner.events == [("replied", AUTH, Verdict.GRANTED, None, 1), *FAILED, *end(status=7)]


@pytest.mark.parametrize("body", [AUTH, SETPASS])
async def test_dead_with_a_question_it_has_read(actors, body: bytes) -> None:
    async def play(program: InMemoryWorker) -> int:
        await program.frame()
        return 3

    actor = actors("frame(); os._exit(3)", play)
    watched(actor)
    give(actor, body)
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.owner.events == [*FAILED, *end(body, True, 3)]


async def test_dead_with_a_question_it_has_not_read(actors) -> None:
    async def play(program: InMemoryWorker) -> int:
        await trio.sleep_forever()
        return 0

    actor = actors("signal.pause()", play)
    watched(actor)
    give(actor)
    actor.worker.signal(signal.SIGTERM)
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.owner.events == [*FAILED, *end(AUTH, False, -15)]


async def test_dead_between_questions(actors) -> None:
    async def play(program: InMemoryWorker) -> int:
        await program.frame()
        program.say(GRANTED)
        await program.frame()
        await trio.sleep_forever()
        return 0

    actor = actors("frame(); say(GRANTED); frame(); signal.pause()", play)
    watched(actor)
    give(actor)
    await actor.until(lambda: actor.owner.events)
    actor.worker.signal(signal.SIGKILL)
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.owner.events[1:] == [*FAILED, *end(status=-9)]


@pytest.mark.parametrize("data", [b"true", b"\0\2\0\2", b"x" * 99, GRANTED * 2])
async def test_no_reply(actors, data: bytes) -> None:
    async def play(program: InMemoryWorker) -> int:
        await program.frame()
        program.say(data)
        await trio.sleep_forever()
        return 0

    actor = actors(f"frame(); say({data!r}); signal.pause()", play)
    watched(actor)
    query = give(actor)
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.owner.events == [*FAILED, *end(AUTH, True, -9)]
    assert actor.worker.blamed is (query if data == GRANTED * 2 else None)


async def test_bytes_without_a_question(actors) -> None:
    async def play(program: InMemoryWorker) -> int:
        program.say(GRANTED)
        await trio.sleep_forever()
        return 0

    actor = actors("say(GRANTED); signal.pause()", play)
    watched(actor)
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.owner.events == [*FAILED, *end(status=-9)]
    assert actor.worker.blamed is None


async def test_what_it_says_when_it_may_not_be_asked_any_more_is_nobody_s(actors) -> None:
    async def play(program: InMemoryWorker) -> int:
        await answers()(program)
        program.say(GRANTED)
        return 3

    actor = actors(GOOD + "\nsay(GRANTED); os._exit(3)", play)
    watched(actor)
    actor.worker.close_stdin()
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.owner.events == [*RETIRED, *end(status=3)]


async def test_killed_with_its_question(actors) -> None:
    """The question stays with it until the process is gone."""

    async def play(program: InMemoryWorker) -> int:
        await trio.sleep_forever()
        return 0

    actor = actors("signal.pause()", play)
    watched(actor)
    query = give(actor)
    actor.worker.kill("because")
    actor.worker.kill("again")
    assert actor.worker.query is query
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.owner.events == [*FAILED, *end(AUTH, False, -9)]


async def test_a_closed_stdin(actors) -> None:
    async def play(program: InMemoryWorker) -> int:
        program.close_input()
        await trio.sleep_forever()
        return 0

    actor = actors("os.close(0); signal.pause()", play)
    watched(actor)
    if isinstance(actor, Real):
        closed = select.poll()
        closed.register(actor.worker._process.stdin, 0)
        assert closed.poll(20_000)
    else:
        await trio.testing.wait_all_tasks_blocked()
    query = Query(AUTH, math.inf, actor.owner)
    assert not actor.worker.give(query)
    assert actor.worker.query is None
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.owner.events == [*FAILED, *end(status=-9)]


async def test_nothing_is_given_to_one_that_left(actors) -> None:
    actor = actors(GOOD, answers())
    actor.worker.close_stdin()
    assert not actor.worker.give(Query(AUTH, math.inf, actor.owner))
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert not actor.worker.give(Query(AUTH, math.inf, actor.owner))


def test_they_have_the_same_public_side() -> None:
    """So that a Pool or a Supervisor that uses something new fails here, and not somewhere in virtual time."""

    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: [*inspect.signature(method).parameters]
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    extra = {"frame", "say", "close_input"}
    in_memory = {name: names for name, names in methods(InMemoryWorker).items() if name not in extra}
    assert in_memory == methods(Worker)
    with _no_process() as real:
        public = {name for name in vars(real) if not name.startswith("_")}
    assert public <= set(inspect.getsource(InMemoryWorker.__init__).replace("self.", " ").replace(":", " ").split())


@contextlib.contextmanager
def _no_process() -> Iterator[Worker]:
    reactor = Reactor()
    process = start(("/bin/true",), "/", {})
    worker = Worker(process, reactor, Owner(), 100, frames)
    yield worker
    worker.reap(PATIENCE)
    reactor.close()
