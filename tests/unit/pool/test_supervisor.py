"""Stopping programs in virtual time: which signal each gets when, and that one that does not exit is not waited for."""

import signal

import pytest
import trio
from support.inmemory.plays import answers_once_and_then, starts_slowly
from support.inmemory.pools import InMemoryWorker, Play, answers, bench, hangs, stays

from bridge.protocol.frames import GRANTED
from bridge.protocol.query import Verdict
from bridge.worker.state import State

YES, UNAVAILABLE = Verdict.GRANTED, Verdict.UNAVAILABLE
TERM, KILL = signal.SIGTERM, signal.SIGKILL


def ignoring(*signals: int, play: Play = stays) -> Play:
    async def ignores(program: InMemoryWorker) -> int | None:
        program.ignores.update(signals)
        return await play(program)

    return ignores


def leaves_after(seconds: float) -> Play:
    """Takes its time after end of input."""

    async def play(program: InMemoryWorker) -> int:
        await answers()(program)
        await trio.sleep(seconds)
        return 0

    return play


# --- the stop sequence -----------------------------------------------------------------------------------


async def test_end_of_input_is_enough_for_most(autojump_clock) -> None:
    async with bench(answers(), pool_size=3) as there:
        await trio.sleep(1.0)
        await there.supervisor.stop()
        assert there.clock() == pytest.approx(1.0)
        assert [program.signals for program in there.programs] == [[], [], []]
        assert [program.status for program in there.programs] == [0, 0, 0]


@pytest.mark.parametrize("grace", [0.0, 2.0, 10.0])
async def test_sigterm_after_the_grace(autojump_clock, grace: float) -> None:
    async with bench(stays, shutdown_grace=grace) as there:
        await there.supervisor.stop()
        (program,) = there.programs
        assert program.input_closed == 0.0
        assert program.signals == [(pytest.approx(grace), TERM)]
        assert program.status == -TERM


async def test_sigkill_after_sigterm(autojump_clock) -> None:
    async with bench(ignoring(TERM), shutdown_grace=2.0) as there:
        await there.supervisor.stop()
        (program,) = there.programs
        (_, (killed, number)) = program.signals
        assert number == KILL
        assert 2.1 <= killed <= 4.0
        assert program.state is State.GONE


@pytest.mark.parametrize("seconds", [0.5, 1.9])
async def test_one_that_saves_its_work_is_left_to_it(autojump_clock, seconds: float) -> None:
    async with bench(leaves_after(seconds), shutdown_grace=2.0) as there:
        await there.supervisor.stop()
        assert there.programs[0].signals == []
        assert there.clock() == pytest.approx(seconds)


async def test_all_at_once(autojump_clock) -> None:
    async with bench(ignoring(TERM), pool_size=16, shutdown_grace=2.0) as there:
        await there.supervisor.stop()
        assert there.clock() < 4.0


async def test_nothing_is_started_any_more(autojump_clock) -> None:
    async with bench([answers(), stays], pool_size=2, shutdown_grace=5.0) as there:
        with trio.move_on_after(20.0):
            await there.supervisor.stop()
        await trio.sleep(100.0)
        assert len(there.started) == 2


async def test_those_that_died_a_moment_ago_are_not_replaced(autojump_clock) -> None:
    async with bench(stays, pool_size=2, shutdown_grace=5.0) as there:
        there.programs[0].signal(KILL)
        await there.supervisor.stop()
        assert there.alive == []


async def test_cancelling_the_keeper_is_the_short_way(autojump_clock) -> None:
    """A second SIGTERM means now."""
    async with bench(ignoring(TERM), pool_size=3, keeping=False) as there:
        there.fill()
        with trio.move_on_after(1.0):
            await there.supervisor.run()
        assert [program.signals for program in there.programs] == [[(1.0, KILL)]] * 3


async def test_stopping_cut_short(autojump_clock) -> None:
    async with bench(ignoring(TERM), pool_size=2, shutdown_grace=100.0) as there:
        with trio.move_on_after(1.0):
            await there.supervisor.stop()
        assert there.clock() == pytest.approx(1.0)


async def test_a_program_that_the_kernel_cannot_end(autojump_clock) -> None:
    async with bench(ignoring(TERM, KILL), shutdown_grace=2.0) as there:
        with trio.fail_after(30.0):
            await there.supervisor.stop()


@pytest.mark.parametrize(
    "after",
    [
        0.2,
        0.7,
        *(1.2, 1.7, 2.2, 3.0, 4.2),
    ],
)
async def test_stopping_in_the_middle_of_a_renewal(autojump_clock, after: float) -> None:
    async with bench(ignoring(play=stays), max_age=10.0, pool_size=2, shutdown_grace=2.0) as there:
        await trio.sleep(10.0 + after)
        with trio.fail_after(60.0):
            await there.supervisor.stop()
        assert there.alive == []


async def test_stopping_twice(autojump_clock) -> None:
    """A replaced pool is being drained when the bridge is told to stop."""
    async with bench(ignoring(TERM), shutdown_grace=2.0) as there, trio.open_nursery() as nursery:
        nursery.start_soon(there.supervisor.stop)
        await trio.sleep(1.0)
        with trio.fail_after(60.0):
            await there.supervisor.stop()
        assert there.alive == []
        nursery.cancel_scope.cancel()


# --- dismissal of one ------------------------------------------------------------------------------------


async def test_a_busy_program_is_dismissed_after_its_query(autojump_clock) -> None:
    async with bench(answers(1.0), keeping=False) as there:
        there.fill()
        answer = there.ask()
        await trio.sleep(0.5)
        (program,) = there.programs
        there.pool.staff.dismiss(program)  # type: ignore[arg-type]
        assert program.input_closed is None
        assert (await answer.done()).verdict is YES
        assert program.input_closed == pytest.approx(1.0)
        assert program.state is not State.ASKABLE
        await trio.sleep(0.1)
        assert program.state is State.GONE
        assert program.signals == []


async def test_an_idle_program_is_dismissed_at_once(autojump_clock) -> None:
    async with bench(answers(), keeping=False, pool_size=2) as there:
        there.fill()
        for program in there.programs:
            there.pool.staff.dismiss(program)  # type: ignore[arg-type]
        await trio.sleep(0.1)
        assert there.alive == []
        assert there.pool.figures.failures == 0


async def test_a_dismissed_program_gets_no_other_query(autojump_clock) -> None:
    async with bench([answers_once_and_then(answers(1.0)), answers(0.1)], keeping=False, pool_size=2) as there:
        there.fill()
        await there.ask().done()
        first = there.ask()
        there.pool.staff.dismiss(there.programs[0])  # type: ignore[arg-type]
        second, third = there.ask(), there.ask()
        for answer in (first, second, third):
            assert (await answer.done()).verdict is YES
        assert there.programs[0].served == 2
        assert there.programs[1].served == 2


async def test_what_waits_for_a_dismissed_program_that_is_still_starting_goes_to_a_ready_one(autojump_clock) -> None:
    async with bench([starts_slowly(1.0), answers(0.1)], keeping=False, pool_size=2) as there:
        there.fill()
        first = there.ask()
        there.pool.staff.dismiss(there.programs[0])  # type: ignore[arg-type]
        await there.ask().done()
        assert (await first.done()).verdict is YES
        assert first.seconds < 0.5
        await trio.sleep(1.0)
        assert there.programs[0].state is State.GONE, "after its reply, which is nobody's"
        assert (there.programs[0].signals, there.pool.figures.late) == ([], 1)


@pytest.mark.parametrize("ready", [True, False])
async def test_a_dismissed_program_whose_query_takes_too_long(autojump_clock, ready: bool) -> None:
    """Nobody needs it any more, so it is not left to finish either."""
    async with bench(answers_once_and_then(hangs) if ready else hangs, keeping=False) as there:
        there.fill()
        if ready:
            await there.ask().done()
        answer = there.ask()
        there.pool.staff.dismiss(there.programs[0])  # type: ignore[arg-type]
        assert (await answer.done()).verdict is UNAVAILABLE
        assert there.programs[0].signals == [(pytest.approx(4.0), KILL)]


async def test_a_dismissed_program_that_dies_with_its_query(autojump_clock) -> None:
    async def dies(program: InMemoryWorker) -> int:
        await program.frame()
        await trio.sleep(0.5)
        return 1

    async with bench([dies, answers(0.1)], keeping=False, pool_size=2) as there:
        there.fill()
        answer = there.ask()
        there.pool.staff.dismiss(there.programs[0])  # type: ignore[arg-type]
        assert (await answer.done()).verdict is YES
        assert answer.seconds == pytest.approx(0.6)


async def test_what_it_says_after_its_dismissal_is_nobody_s(autojump_clock) -> None:
    async def says_goodbye(program: InMemoryWorker) -> int:
        await answers()(program)
        program.say(GRANTED)
        return 0

    async with bench(says_goodbye, keeping=False) as there:
        there.fill()
        there.pool.staff.dismiss(there.programs[0])  # type: ignore[arg-type]
        await trio.sleep(0.1)
        assert there.programs[0].state is State.GONE
        assert there.programs[0].signals == []
        assert there.pool.figures.failures == there.pool.figures.granted == 0
