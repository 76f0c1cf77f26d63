"""A pool whose programs fail: back-off, what is answered meanwhile, and what the log says of it."""

import itertools
import re
from collections.abc import Iterator
from typing import cast

import pytest
import trio
from support.inmemory.pools import Answer, Bench, InMemoryWorker, answers, bench, dies_reading, drive, lives, stays

from bridge.protocol.query import Verdict
from bridge.worker.stderrlines import StderrLines
from bridge.worker.worker import Worker

YES, UNAVAILABLE = Verdict.GRANTED, Verdict.UNAVAILABLE
MISSING = FileNotFoundError(2, "No such file or directory")
BUSY = BlockingIOError(11, "Resource temporarily unavailable")
LONGEST = [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


async def first_granted(there: Bench) -> Answer:
    """Ask until somebody is let in; returns that answer."""
    with trio.fail_after(60.0):
        while (answer := await there.ask().done()).verdict is not YES:
            await trio.sleep(0.01)
    return answer


def at_once(answer: Answer) -> None:
    assert answer.is_there, "it waits"
    assert answer.verdict is UNAVAILABLE


# --- when it starts again --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("play", "most"), [(MISSING, 30.0), (BUSY, 5.0), (lives(0.0), 30.0)], ids=["missing", "no process", "dies at once"]
)
async def test_the_schedule(autojump_clock, play, most: float) -> None:
    """Immediately, then after 0.1 s doubling to 30 s, each cut by up to half; to 5 s if the machine lacks something."""
    async with bench(play) as there:
        await trio.sleep(200.0)
        waits = gaps(there.started)
        assert len(waits) >= 11
        for wait, longest in zip(waits, LONGEST, strict=False):
            assert min(longest / 2, most) - 1e-6 <= wait <= min(longest, most) + 1e-6


async def test_the_schedule_begins_anew_after_a_good_reply(autojump_clock) -> None:
    plays = [lives(0.0)] * 6 + [answers(), lives(0.0), lives(0.0), lives(0.0)]
    async with bench(plays) as there:
        await trio.sleep(10.0)
        assert (await there.ask().done()).verdict is YES
        there.programs[6].signal(15)
        died = there.clock()
        await trio.sleep(1.0)
        assert there.started[7] == pytest.approx(died), "it died at work"
        assert there.started[8] == pytest.approx(died), "the first that could not start"
        assert 0.05 - 1e-6 <= there.started[9] - died <= 0.1 + 1e-6


async def test_living_is_no_good_reply(autojump_clock) -> None:
    """A program that waits ten seconds for its database and exits is not restarted at once every time."""
    async with bench(lives(10.0)) as there:
        await trio.sleep(600.0)
        waits = [gap - 10.0 for gap in gaps(there.started)]
        assert waits[-1] >= 15.0


async def test_a_pool_of_several_that_loses_one_program_starts_that_one_again(autojump_clock) -> None:
    async with bench(answers(), pool_size=3) as there:
        await there.ask().done()
        there.programs[1].signal(9)
        await trio.sleep(5.0)
        assert len(there.started) == 4
        assert len(there.alive) == 3


async def test_one_program_tries_for_all(autojump_clock) -> None:
    """The schedule is the pool's, however many programs it has, and when one has answered the others start at once."""
    async with bench([*[lives(0.0)] * 12, answers()], pool_size=8) as there:
        asked = await first_granted(there)
        assert len(there.started) == 13
        for wait, longest in zip(gaps(there.started[8:]), LONGEST[1:], strict=False):
            assert longest / 2 - 1e-6 <= wait <= longest + 1e-6
        await trio.sleep(0.1)
        assert len(there.alive) == 8
        assert there.started[-1] - asked.at < 0.1


async def test_a_program_that_stays_is_enough_for_the_others_to_start(autojump_clock) -> None:
    """Nobody asks: whatever could not start has shown that within a second."""
    async with bench([*[lives(0.0)] * 12, answers()], pool_size=8) as there:
        await trio.sleep(20.0)
        assert len(there.alive) == 8
        assert there.started[13] - there.started[12] == pytest.approx(1.0, abs=0.01)
        assert there.started[-1] - there.started[13] < 0.1


# --- what is answered meanwhile --------------------------------------------------------------------------


async def test_while_nothing_is_due_in_time_the_answer_comes_at_once(autojump_clock) -> None:
    async with bench(BUSY) as there:
        await trio.sleep(100.0)
        there.pool.staff.due = there.clock() + 4.1
        at_once(there.ask(timeout=4.0))
        assert there.pool.figures.unavailable == 1


async def test_a_query_waits_for_a_start_that_is_due_in_time(autojump_clock) -> None:
    async with bench(lives(0.0)) as there:
        await trio.sleep(0.5)
        there.plays = [answers()]
        assert there.alive == []
        due = there.pool.staff.due
        assert there.clock() < due < there.clock() + 4.0
        answer = await there.ask().done()
        assert answer.verdict is YES
        assert answer.at == pytest.approx(due)


async def test_what_waited_is_given_up_when_the_start_fails(autojump_clock) -> None:
    async with bench([lives(0.0)] * 4 + [MISSING]) as there:
        await trio.sleep(0.2)
        answer = there.ask()
        assert not answer.is_there
        await answer.done()
        assert answer.verdict is UNAVAILABLE
        assert answer.seconds < 1.0


async def test_a_query_that_waited_ends_when_the_start_fails_for_good(autojump_clock) -> None:
    async with bench([MISSING, MISSING, answers()], keeping=False) as there:
        there.nursery.start_soon(drive, there.starter)
        answer = there.ask()
        there.pool.staff.plan()
        assert (await answer.done()).verdict is UNAVAILABLE, "tried twice, in vain"
        assert answer.seconds < 0.01


async def test_a_missing_program_is_not_waited_for(autojump_clock) -> None:
    """However soon the next try is due: the missing file will not appear by itself."""
    async with bench(MISSING) as there:
        at_once(there.ask())


async def test_a_program_that_was_put_back_is_found(autojump_clock) -> None:
    async with bench([MISSING] * 5 + [answers()]) as there:
        at_once(there.ask())
        await trio.sleep(5.0)
        assert (await there.ask().done()).verdict is YES
        assert not there.pool.staff.hopeless


async def test_what_failed_last_counts(autojump_clock) -> None:
    """The file is there again, and what it says when it is started may pass."""
    async with bench([MISSING, MISSING, lives(0.0), lives(0.0), answers()], pool_size=2) as there:
        at_once(there.ask())
        await trio.sleep(0.2)
        assert len(there.started) >= 3
        assert (await there.ask().done()).verdict is YES


async def test_one_program_that_lives_is_enough_to_wait(autojump_clock) -> None:
    """The only working program is busy, and everything else is broken."""
    async with bench([answers(1.0), MISSING], pool_size=2) as there:
        await trio.sleep(50.0)
        asked = [there.ask() for _ in range(3)]
        assert [(await answer.done()).verdict for answer in asked] == [YES] * 3


async def test_when_the_last_one_dies_all_that_wait_are_answered(autojump_clock) -> None:
    async def dies(program: InMemoryWorker) -> int:
        await program.frame()
        await trio.sleep(1.0)
        return 1

    async with bench([dies, MISSING]) as there:
        asked = [there.ask() for _ in range(5)]
        for answer in asked:
            assert (await answer.done()).verdict is UNAVAILABLE
            assert answer.seconds == pytest.approx(1.0)


# --- what the log says -----------------------------------------------------------------------------------


async def test_down_once_and_back_once(autojump_clock, logged: list[str]) -> None:
    async with bench([answers(), answers(), *[lives(0.0)] * 8, answers()], pool_size=2) as there:
        await there.ask().done()
        for program in there.programs:
            program.signal(9)
        await trio.sleep(1.0)
        there.pool.staff.due = there.clock() + 50.0
        there.pool.staff.plan()
        for _ in range(7):
            at_once(there.ask())
        await trio.sleep(120.0)
        for _ in range(3):
            assert (await there.ask().done()).verdict is YES
    down = [line for line in logged if "pool is down" in line]
    back = [line for line in logged if "pool is back" in line]
    assert len(down) == len(back) == 1
    assert down[0].startswith("ERROR")
    assert "pool=default" in down[0]
    assert "programs=2" in down[0]
    assert int(re.search(r"unavailable=(\d+)", back[0])[1]) >= 7  # type: ignore[index]
    assert 100.0 < float(re.search(r"down_seconds=([\d.]+)", back[0])[1]) < 122.0  # type: ignore[index]


async def test_down_again_is_said_again(autojump_clock, logged: list[str]) -> None:
    plays = [lives(0.0), lives(0.0), answers(), lives(0.0), lives(0.0), lives(0.0), answers()]
    async with bench(plays) as there:
        await trio.sleep(5.0)
        await there.ask().done()
        there.programs[2].signal(9)
        await trio.sleep(5.0)
        await there.ask().done()
    kinds = [word for line in logged for word in ("is down", "is back") if word in line]
    assert kinds == ["is down", "is back", "is down", "is back"]


async def test_a_single_death_is_no_outage(autojump_clock, logged: list[str]) -> None:
    async with bench(answers()) as there:
        for _ in range(5):
            await there.ask().done()
            there.programs[-1].signal(9)
            await trio.sleep(0.1)
    assert not [line for line in logged if "pool is" in line]


async def test_no_flood_and_no_secrets(autojump_clock, logged: list[str]) -> None:
    """Minutes of a program that dies of each question."""
    async with bench(dies_reading, pool_size=4) as there:
        for _ in range(600):
            there.ask(b"auth:alice:example.com:hunter2")
            await trio.sleep(1.0)
    assert len(logged) < 150, "5 of a kind a minute"
    assert "hunter2" not in "".join(logged)
    assert "alice" not in "".join(logged)
    assert [line for line in logged if "suppressed=" in line]


async def test_a_failure_says_which_program_and_why(autojump_clock, logged: list[str]) -> None:
    async with bench([lives(0.0, 7), MISSING]) as there:
        await trio.sleep(0.05)
        failed, missing = (line for line in logged if line.startswith("WARNING"))
        assert f"pid={there.programs[0].pid}" in failed
        assert "status=7" in failed
        assert "it ended" in failed
        assert "No such file or directory" in missing
        assert "/program" in missing


# --- what programs say -----------------------------------------------------------------------------------


class Said(list[bytes]):
    """Secrets, and how often they were searched for."""

    looked_at = 0

    def __iter__(self) -> Iterator[bytes]:
        self.looked_at += 1
        return super().__iter__()


async def test_of_a_flood_of_lines_only_those_that_are_logged_are_masked(autojump_clock, logged: list[str]) -> None:
    async with bench(answers()) as there:
        worker, secrets = cast("Worker", there.alive[0]), Said([b"hunter2"])
        lines = StderrLines(secrets)
        for _ in range(100):
            there.pool.complained(worker, lines.feed(b"the password was hunter2\n" * 100, 1))
        said = f'WARNING program says pool=default pid={worker.pid} stderr="the password was ***"'
        assert logged == [said] * 10
        assert secrets.looked_at == 1
        await trio.sleep(4.5)
        there.pool.complained(worker, lines.feed(b"the password was hunter2\n", 1))
        assert logged[10:] == [f"{said} suppressed={10_000 - 10}"]


async def test_what_one_says_when_it_was_told_to_exit_is_a_detail(autojump_clock, logged: list[str]) -> None:
    """But not while it still has a question, nor once it has failed."""

    def is_warned_of(worker: InMemoryWorker) -> bool:
        before = len(logged)
        there.pool.complained(cast("Worker", worker), StderrLines([]).feed(b"trouble\n", 0))
        return [line.split(" ")[0] for line in logged[before:]] == ["WARNING"]

    async with bench(stays, pool_size=2) as there:
        answer = there.ask()
        asked, other = sorted(there.alive, key=lambda worker: worker.query is None)
        there.pool.staff.dismiss(cast("Worker", asked))
        assert is_warned_of(asked)
        await answer.done()
        assert not is_warned_of(asked)
        other.kill("it floods its stderr")
        assert is_warned_of(other)
