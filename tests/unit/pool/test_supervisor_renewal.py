"""Replacing programs that have served enough: the new one first, one at a time, and never a dip in capacity."""

import gc
import itertools
import signal
import weakref

import attrs
import pytest
import trio
from support.inmemory.plays import starts_slowly
from support.inmemory.pools import Bench, InMemoryWorker, answers, bench, fail_once, hangs, lives, stays

from bridge.pool.record import Record
from bridge.protocol.frames import GRANTED
from bridge.protocol.query import Verdict

YES = Verdict.GRANTED
MISSING = FileNotFoundError(2, "No such file or directory")


def within_bounds(there: Bench, size: int) -> None:
    """From the first full pool on: never fewer usable programs than `size`, never more than one above that alive."""
    full = next(number for number, change in enumerate(there.changes) if change.usable == size)
    for change in there.changes[full:]:
        assert change.usable >= size
        assert change.alive <= size + 1


async def ask_steadily(there: Bench, count: int, pause: float) -> None:
    for _ in range(count):
        answer = await there.ask().done()
        assert answer.verdict is YES
        await trio.sleep(pause)


# --- max_requests ----------------------------------------------------------------------------------------


async def test_after_max_requests(autojump_clock) -> None:
    async with bench(answers(), max_requests=10) as there:
        await ask_steadily(there, 100, 2.0)
        await trio.sleep(5.0)
        assert [program.served for program in there.programs[:-1]] == [10] * (len(there.programs) - 1)
        assert len(there.programs) >= 10
        assert there.pool.figures.failures == 0
        within_bounds(there, 1)


async def test_zero_is_never(autojump_clock) -> None:
    async with bench(answers(), max_requests=0, max_age=0) as there:
        await ask_steadily(there, 2000, 10.0)
        assert len(there.programs) == 1


async def test_in_a_pool_of_several(autojump_clock) -> None:
    async with bench(answers(0.01), max_requests=20, pool_size=4) as there:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask_steadily, there, 100, 0.3)
        assert sum(program.served for program in there.programs) == 400
        assert len(there.programs) > 8
        within_bounds(there, 4)


async def test_under_a_flood_renewal_is_paced(autojump_clock) -> None:
    """Starting a program for each question or two would cost more than the questions; the old ones serve on."""
    async with bench(answers(0.01), max_requests=1, pool_size=4) as there:
        with trio.move_on_after(20.0):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(ask_steadily, there, 10**9, 0.0)
        assert 18 <= len(there.programs) <= 4 + 2 + 20 + 2
        within_bounds(there, 4)
        assert there.pool.figures.unavailable == 0


@pytest.mark.parametrize("size", [1, 3])
async def test_nothing_is_left_of_those_that_are_gone(autojump_clock, size: int) -> None:
    """A program's record holds its last question, with its secret and who asked it."""
    async with bench(answers(0.2), max_requests=1, pool_size=size) as there:
        records: weakref.WeakSet[Record] = weakref.WeakSet()
        for _ in range(20 * size):
            records.update(there.pool.workers.values())
            await there.ask().done()
            await trio.sleep(2.0)
        gc.collect()
        assert len(there.programs) > 10 * size
        assert {*records} <= {*there.pool.workers.values()}


async def test_one_that_has_served_enough_is_asked_last(autojump_clock) -> None:
    async with bench([answers(), answers(), starts_slowly(0.9)], max_requests=5, pool_size=2) as there:
        await ask_steadily(there, 5, 0.01)
        tired = next(program for program in there.programs if program.served == 5)
        await ask_steadily(there, 4, 0.01)
        assert tired.served == 5


async def test_but_it_is_asked_where_no_other_is_idle(autojump_clock) -> None:
    async with bench([answers(0.1), MISSING], max_requests=3) as there:
        asked = [there.ask(timeout=10.0) for _ in range(20)]
        for answer in asked:
            assert (await answer.done()).verdict is YES
        assert there.programs[0].served == 20


# --- max_age ---------------------------------------------------------------------------------------------


async def test_after_max_age(autojump_clock) -> None:
    async with bench(answers(), max_age=100.0, pool_size=3) as there:
        await trio.sleep(1000.0)
        assert 9 * 3 <= len(there.programs) - 3 <= 10 * 3
        for program in there.programs:
            if program.ended_at is not None:
                assert 100.0 <= program.ended_at - program.born <= 110.0
        within_bounds(there, 3)


async def test_age_counts_for_one_that_was_started_later_from_its_own_start(autojump_clock) -> None:
    async with bench([lives(50.0), answers()], max_age=100.0) as there:
        await trio.sleep(145.0)
        assert len(there.programs) == 2
        await trio.sleep(10.0)
        assert len(there.programs) == 3
        assert there.programs[2].born == pytest.approx(150.0)


async def test_age_counts_after_an_outage_too(autojump_clock) -> None:
    async with bench([MISSING, answers()], max_age=100.0) as there:
        await trio.sleep(250.0)
        assert len(there.programs) >= 3


@pytest.mark.parametrize("age", [100.0, 50_000.0])
async def test_a_long_age(autojump_clock, age: float) -> None:
    async with bench(answers(), max_age=age) as there:
        await trio.sleep(age - 1.0)
        assert len(there.programs) == 1
        await trio.sleep(10.0)
        assert len(there.programs) == 2
        assert len(there.alive) == 1


# --- the successor ---------------------------------------------------------------------------------------


async def test_the_new_one_is_there_before_the_old_one_goes(autojump_clock) -> None:
    async with bench(answers(), max_age=100.0) as there:
        await trio.sleep(110.0)
        old, new = there.programs
        assert old.ended_at is not None
        assert new.born < old.ended_at
        assert 0.5 <= old.ended_at - new.born <= 1.5, "time to prove itself"


async def test_a_good_reply_proves_it_at_once(autojump_clock) -> None:
    async with bench(answers(0.01), max_age=100.0) as there:
        await trio.sleep(100.24)
        asked = [there.ask() for _ in range(10)]
        for answer in asked:
            await answer.done()
        old, new = there.programs
        assert new.served > 0
        await trio.sleep(0.05)
        assert old.ended_at is not None
        assert old.ended_at < 100.5


async def test_one_that_may_still_be_starting_is_not_asked(autojump_clock) -> None:
    """Its predecessor serves meanwhile, however many wait: a query would have to wait for the start as well."""
    async with bench(answers(0.01), max_age=100.0) as there:
        await trio.sleep(99.99)
        asked = [there.ask() for _ in range(15)]
        await trio.sleep(0.2)
        old, new = there.programs
        assert (old.served, new.served) == (15, 0)
        asked += [there.ask() for _ in range(20)]
        for answer in asked:
            assert (await answer.done()).verdict is YES
        assert new.served > 5


async def test_a_predecessor_that_dies_while_it_rests_leaves_no_query_behind(autojump_clock) -> None:
    async with bench([answers(), answers()], max_age=100.0) as there:
        await trio.sleep(100.1)
        old, new = there.programs
        assert new in there.alive
        old.kill("for the test")
        answer = await there.ask().done()
        assert answer.verdict is YES
        assert answer.seconds < 0.25


@pytest.mark.parametrize("successor", [lives(0.0), lives(0.5), MISSING], ids=["dies", "dies soon", "missing"])
async def test_one_that_fails_leaves_the_old_one_in_service(autojump_clock, successor) -> None:
    async with bench([answers(), *[successor] * 5, answers()], max_age=100.0) as there:
        await trio.sleep(101.5)
        for _ in range(20):
            assert (await there.ask().done()).verdict is YES
            assert there.programs[0] in there.alive
            await trio.sleep(0.1)
        await trio.sleep(60.0)
        assert len(there.started) == 7
        assert there.programs[0] not in there.alive
        within_bounds(there, 1)


async def test_one_that_an_error_of_ours_ends_leaves_the_old_one_in_service(autojump_clock, monkeypatch) -> None:
    async with bench(answers(), max_requests=2) as there:
        faults = fail_once(monkeypatch, there.pool.staff, "employ")
        await ask_steadily(there, 10, 2.0)
        assert not faults
        old, failed, new = there.programs[:3]
        assert old.served > 2
        assert failed.served == 0
        assert new.served > 0


async def test_it_is_tried_again_but_not_in_a_hurry(autojump_clock) -> None:
    async with bench([answers(), MISSING], max_age=100.0) as there:
        await trio.sleep(1000.0)
        tries = len(there.started) - 1
        assert 60 <= tries <= 900 / 5 + 1
        assert len(there.alive) == 1


async def test_one_that_hangs_takes_over_from_nobody(autojump_clock) -> None:
    """The old one has shown that it answers, and goes on until the new one has had all the time a start may take."""
    async with bench([answers(), hangs, answers()], max_age=100.0, start_timeout=30.0) as there:
        await there.ask().done()
        await trio.sleep(101.0)
        assert len(there.programs) == 2
        while there.clock() < 129.0:
            assert (await there.ask().done()).verdict is YES
            await trio.sleep(0.5)
        assert there.programs[0] in there.alive


async def test_one_that_hangs_is_found_out_by_its_first_question(autojump_clock) -> None:
    """Nobody had ever asked, so it survived its trial second; it is killed after `start_timeout`, and replaced."""
    async with bench([answers(), hangs, answers()], max_age=100.0, start_timeout=10.0) as there:
        await trio.sleep(110.0)
        assert there.alive == there.programs[1:]
        assert (await there.ask().done()).verdict is Verdict.UNAVAILABLE
        await trio.sleep(6.2)
        assert (await there.ask().done()).verdict is YES
        assert there.programs[1] not in there.alive


async def test_the_old_one_dies_while_the_new_one_proves_itself(autojump_clock) -> None:
    async with bench(answers(), max_age=100.0) as there:
        await trio.sleep(100.5)
        old, new = there.programs
        old.signal(9)
        await trio.sleep(60.0)
        assert there.alive == [new]
        assert len(there.started) == 2
        assert (await there.ask().done()).verdict is YES


async def test_both_die_in_the_middle_of_it(autojump_clock) -> None:
    async with bench(answers(), max_age=100.0) as there:
        await trio.sleep(100.5)
        for program in there.alive:
            program.signal(9)
        await trio.sleep(10.0)
        assert len(there.alive) == 1
        assert (await there.ask().done()).verdict is YES


async def test_an_old_one_that_does_not_go_holds_up_only_the_next_renewal(autojump_clock) -> None:
    async def stubborn(program: InMemoryWorker) -> None:
        program.ignores.add(15)
        await stays(program)

    async with bench(stubborn, max_age=100.0, pool_size=2, shutdown_grace=2.0) as there:
        await trio.sleep(120.0)
        assert len(there.programs) == 4
        assert len(there.alive) == 2
        within_bounds(there, 2)


async def test_those_that_cannot_be_ended_do_not_multiply(autojump_clock) -> None:
    """Not even the kernel ends them, for an hour, and their successors are of the same kind."""

    async def clings(program: InMemoryWorker) -> int | None:
        program.ignores.update({signal.SIGTERM, signal.SIGKILL})
        return await stays(program)

    async with bench(clings, pool_size=2, pool_max=4, max_age=10.0) as there:
        await trio.sleep(3600.0)
        assert len(there.alive) == 4 + 1
        for program in there.alive:
            program.ignores.clear()
            program.signal(signal.SIGKILL)
        there.plays = [answers()]
        await trio.sleep(60.0)
        assert len(there.alive) <= 3


async def test_a_busy_old_one_answers_first(autojump_clock) -> None:
    async with bench([answers(3.0), answers()], max_age=100.0) as there:
        await trio.sleep(99.5)
        answer = there.ask()
        assert (await answer.done()).verdict is YES
        assert answer.seconds == pytest.approx(3.0)
        await trio.sleep(1.0)
        assert len(there.alive) == 1
        assert there.pool.figures.failures == 0


async def test_one_at_a_time(autojump_clock) -> None:
    async with bench(answers(), max_age=100.0, pool_size=8) as there:
        await trio.sleep(150.0)
        assert len(there.programs) == 16
        within_bounds(there, 8)
        ends = sorted(program.ended_at for program in there.programs if program.ended_at is not None)
        assert len(ends) == 8
        assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(ends))


async def test_a_reload_changes_max_requests_for_those_that_run(autojump_clock) -> None:
    async with bench(answers(), max_requests=0) as there:
        await ask_steadily(there, 5, 1.0)
        there.pool.settings = attrs.evolve(there.pool.settings, max_requests=10)
        await ask_steadily(there, 40, 2.0)
        assert len(there.programs) > 1


async def test_nothing_of_it_is_a_failure_in_the_figures(autojump_clock) -> None:
    async with bench(answers(), max_requests=7, max_age=50.0, pool_size=2) as there:
        await ask_steadily(there, 200, 1.3)
        figures = there.pool.figures
        assert figures.failures == figures.retries == figures.unavailable == figures.timeouts == 0
        assert figures.granted == 200
        assert figures.starts == len(there.programs) > 20
        assert [*figures.restarts] == ["renewed"]


async def test_a_reply_that_is_no_reply_from_the_successor(autojump_clock) -> None:
    async def talks(program: InMemoryWorker) -> None:
        program.say(GRANTED)
        await trio.sleep_forever()

    async with bench([answers(), talks, answers()], max_age=100.0) as there:
        await trio.sleep(104.0)
        assert there.alive == [there.programs[0]]
        await trio.sleep(10.0)
        assert there.alive == [there.programs[2]]
