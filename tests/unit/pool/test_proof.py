"""When a new pool that nobody asks counts as one that will serve, and when as one that will not."""

import errno
import signal

import pytest
import trio
from support.inmemory.pools import Bench, InMemoryWorker, Play, answers, bench, dies_reading, hangs, lives

from bridge.pool.proof import outlook
from bridge.protocol.query import Verdict

MISSING = FileNotFoundError(errno.ENOENT, "No such file or directory")
HAIR = 0.001


async def changes(there: Bench, seconds: float) -> list[tuple[float, bool | None]]:
    """When the outlook became which, up to `seconds` from now."""
    found: list[tuple[float, bool | None]] = []
    until = there.clock() + seconds
    while there.clock() < until:
        now = outlook(there.pool, there.clock())
        if not found or found[-1][1] is not now:
            found.append((round(there.clock(), 2), now))
        await trio.sleep(0.01)
    return found


async def test_one_that_lives_for_a_second_will_serve(autojump_clock) -> None:
    async with bench(answers(), pool_size=2) as there:
        assert outlook(there.pool, 1.0 - HAIR) is None
        assert outlook(there.pool, 1.0) is True


async def test_one_that_has_answered_need_not_wait(autojump_clock) -> None:
    async with bench(answers()) as there:
        await there.ask().done()
        assert outlook(there.pool, there.clock()) is True


async def test_with_a_probe_living_is_not_enough(autojump_clock) -> None:
    async with bench(hangs, probe="nobody@example.com") as there:
        assert outlook(there.pool, 3600.0) is None
        (record,) = there.pool.workers.values()
        record.proof.set()
        assert outlook(there.pool, 0.0) is True


async def test_what_an_earlier_program_proved_counts_no_more(autojump_clock) -> None:
    """It answered and ended, and the next one has shown nothing yet."""

    async def answers_once(program: InMemoryWorker) -> int:
        await program.frame()
        program.say(b"\0\2\0\1")
        return 0

    async with bench([answers_once, answers()]) as there:
        answer = await there.ask().done()
        assert answer.verdict is Verdict.GRANTED
        await trio.sleep(HAIR)
        assert len(there.alive) == 1
        assert outlook(there.pool, there.clock()) is None


@pytest.mark.parametrize("pool_size", [1, 4])
async def test_one_that_cannot_be_started_will_not(autojump_clock, pool_size: int) -> None:
    async with bench(MISSING, pool_size=pool_size) as there:
        assert outlook(there.pool, there.clock()) is False
        assert there.pool.last_failure == "it cannot be started: No such file or directory"


async def test_no_memory_to_start_one_is_a_reason_too(autojump_clock) -> None:
    async with bench([MemoryError()]) as there:  # type: ignore[list-item]
        assert outlook(there.pool, there.clock()) is False
        assert there.pool.last_failure.startswith("it cannot be started: MemoryError")


@pytest.mark.parametrize("pool_size", [1, 4])
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3, 0.9])
async def test_programs_that_end_by_themselves_will_not(autojump_clock, pool_size: int, seconds: float) -> None:
    """However long each lives, and although there is always one alive."""
    async with bench(lives(seconds, status=3), pool_size=pool_size) as there:
        seen = await changes(there, 2 * seconds + 1.1)
        assert seen[-1][1] is False
        assert not any(good for _, good in seen)
        assert seen[-1][0] <= 3 * seconds + 0.5
        assert there.pool.last_failure == "it ended, with status 3"


async def test_a_signal_that_ended_a_program_is_named(autojump_clock) -> None:
    async with bench(lives(0.1, status=-15)) as there:
        await changes(there, 1.0)
        assert there.pool.last_failure == "it ended, killed by SIGTERM"


async def test_one_accident_among_several_is_forgiven(autojump_clock) -> None:
    plays: list[Play] = [lives(0.1), *[answers()] * 4]
    async with bench(plays, pool_size=4) as there:
        assert await changes(there, 1.5) == [(0.0, None), (1.0, True)]
        assert there.pool.figures.failures == 1


async def test_a_program_that_is_killed_has_no_status_worth_telling(autojump_clock) -> None:
    async def talks(program: InMemoryWorker) -> int:
        await trio.sleep(0.1)
        program.say(b"hello")
        await trio.sleep_forever()
        return 0

    async with bench(talks) as there:
        await trio.sleep(0.5)
        assert outlook(there.pool, there.clock()) is False
        assert there.pool.last_failure == "it wrote bytes nobody asked for"


async def test_a_killed_one_that_is_not_gone_yet_does_not_count(autojump_clock) -> None:
    async def talks(program: InMemoryWorker) -> int:
        program.ignores.add(signal.SIGKILL)
        await trio.sleep(0.1)
        program.say(b"hello")
        await trio.sleep_forever()
        return 0

    async with bench([talks, MISSING]) as there:
        assert [good for _, good in await changes(there, 2.0)] == [None, False]
        assert len(there.pool.workers) == 1


async def test_one_that_has_served_and_failed_is_no_worse_than_a_new_one(autojump_clock) -> None:
    async with bench([dies_reading, answers()]) as there:
        answer = await there.ask().done()
        assert answer.verdict is Verdict.GRANTED
        assert outlook(there.pool, there.clock()) is True
