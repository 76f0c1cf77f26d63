"""The real Worker and the one in memory behave alike when a reply is late, and when it is the second one."""

import signal

import pytest
import trio
from support.inmemory.pools import AUTH, SETPASS, InMemoryWorker, answers
from support.inmemory.twins import FAILED, GOOD, end, give, is_stand_in, watched

from bridge.protocol.frames import DENIED, GRANTED
from bridge.protocol.query import Verdict
from bridge.worker.state import State


async def test_its_time_is_over(actors) -> None:
    async def play(program: InMemoryWorker) -> int:
        await program.frame()
        await trio.sleep_forever()
        return 0

    actor = actors("frame(); signal.pause()", play)
    watched(actor)
    query = give(actor)
    await actor.until(actor.worker.was_read)
    assert actor.worker.release() is query
    assert is_stand_in(actor.worker.query, query)
    actor.worker.kill("it gave no reply in time")
    assert actor.owner.events == FAILED
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.owner.events == [*FAILED, *end(AUTH, True, -9)]


async def test_a_reply_after_its_time(actors) -> None:
    """It is reported as one to the stand-in, and the program is free for the next question."""
    actor = actors(GOOD, answers())
    query = give(actor)
    assert actor.worker.release() is query
    stand_in = actor.worker.query
    assert is_stand_in(stand_in, query)
    assert actor.worker.release() is stand_in
    assert actor.worker.query is stand_in, "there is nothing more to take from it"
    await actor.until(lambda: actor.owner.events)
    assert actor.owner.queries == [stand_in]
    assert actor.worker.release() is None
    second = give(actor)
    await actor.until(lambda: len(actor.owner.events) > 1)
    assert actor.owner.events == [("replied", AUTH, Verdict.GRANTED, None, number) for number in (1, 2)]
    assert actor.owner.queries == [stand_in, second]


async def test_whether_its_question_was_read(actors) -> None:
    async def play(program: InMemoryWorker) -> int:
        await program.frame()
        program.say(GRANTED)
        await trio.sleep_forever()
        return 0

    actor = actors("frame(); say(GRANTED); signal.pause()", play)
    assert actor.worker.was_read(), "it has none"
    give(actor)
    await actor.until(lambda: actor.owner.events)
    assert actor.worker.was_read()
    query = give(actor)
    assert not actor.worker.was_read()
    assert actor.worker.release() is query
    assert not actor.worker.was_read(), "nor has it read the one that the stand-in is for"


@pytest.mark.parametrize(("data", "is_reply"), [(DENIED, True), (b"true", False)])
@pytest.mark.parametrize("asked_again", [False, True])
async def test_a_second_reply_is_blamed_on_the_question_before(
    actors, data: bytes, is_reply: bool, asked_again: bool
) -> None:
    """It comes when the test sends a signal."""

    async def play(program: InMemoryWorker) -> int:
        program.ignores.add(signal.SIGUSR1)
        await program.frame()
        program.say(GRANTED)
        while not program.signals:
            await trio.lowlevel.checkpoint()
        program.say(data)
        await trio.sleep_forever()
        return 0

    code = f"""
signals = [signal.SIGUSR1]
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
frame(); say(GRANTED); signal.sigwait(signals); say({data!r}); signal.pause()
"""
    actor = actors(code, play)
    first = give(actor)
    await actor.until(lambda: actor.owner.events)
    if asked_again:
        give(actor, SETPASS)
    actor.worker.signal(signal.SIGUSR1)
    await actor.until(lambda: actor.worker.state is State.GONE)
    assert actor.worker.blamed is (first if is_reply else None)
    assert actor.owner.queries == [first]
