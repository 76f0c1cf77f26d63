"""No answer after its deadline, wherever the bridge was stopped: a stopped process, a paused machine.

The timers were stopped as well, so whatever is read is checked against the clock itself.
"""

import select
from typing import Any

import pytest
from support.inmemory.clients import UNAVAILABLE, YES, Eyes, on_pipes, on_socket, on_terminal
from support.inmemory.pools import answers, bench, hangs, made
from support.programs.bad import habit
from trio.testing import wait_all_tasks_blocked

from bridge.clients.lockstep import GRACE_AFTER_TIMEOUT
from bridge.pool.poolset import PoolSet
from bridge.protocol.frames import GRANTED
from bridge.protocol.ordering import GRACE_AFTER_DEADLINE, Ordering
from bridge.protocol.query import REFUSED, Query, Verdict
from bridge.worker.state import State

LINE = b"isuser:alice:example.com\n"

# --- the pool --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late", "verdict"), [(-0.001, YES), (0.0, UNAVAILABLE), (1.5, UNAVAILABLE)])
async def test_a_reply_that_is_read_late(autojump_clock, late: float, verdict: Verdict) -> None:
    async with bench(hangs) as there:
        answer = there.ask()
        (program,) = there.programs
        deadline = answer.query.deadline
        await wait_all_tasks_blocked()  # it reads the question
        there.pool.clock = lambda: deadline + late
        program.say(GRANTED)
        assert answer.verdict is verdict
        assert program.state is State.ASKABLE, "it is not to blame, and what it said is no longer in its pipe"
        figures = there.pool.figures
        assert (figures.granted, figures.timeouts, figures.unavailable) == ((1, 0, 0) if late < 0 else (0, 1, 1))
        there.pool.clock = there.clock
        again = there.ask()
        await wait_all_tasks_blocked()
        program.say(GRANTED)
        assert again.verdict is YES


def test_what_was_said_in_time_is_heard_before_time_is_called() -> None:
    """After a standstill there are unread replies, and all deadlines have passed: no program is killed for that."""
    now = 100.0
    poolset = PoolSet(made(*habit("good"), pool_size=2), lambda: now)
    poolset.apply(poolset.router.settings)
    poolset.starts.start_at_once()
    told: list[Verdict | None] = []

    class Asker:
        def settled(self, query: Query) -> None:
            told.append(query.verdict)

    (pool,) = poolset.pools.values()
    try:
        asker = Asker()
        pool.ask([Query(b"isuser:a:b", now + 4, asker), Query(b"isuser:a:b", now + 4, asker)])
        assert len(pool.workers) == 2
        for worker in pool.workers:
            wait_for_output(worker)
        now = 105.5
        poolset.reactor.run_once()
        assert told == [UNAVAILABLE] * 2
        assert all(worker.state is State.ASKABLE for worker in pool.workers)
        assert pool.figures.failures == 0
    finally:
        poolset.close()


def wait_for_output(worker: Any) -> None:
    waiting = select.poll()
    waiting.register(worker._stdout, select.POLLIN)
    assert waiting.poll(20_000)


# --- sessions --------------------------------------------------------------------------------------------


def test_what_was_known_in_time_and_is_written_late() -> None:
    """Stopped between the verdict and writing the answer."""
    for lateness, answer in ((GRACE_AFTER_DEADLINE - 0.01, b"1\n"), (GRACE_AFTER_DEADLINE + 0.01, b"0\n")):
        with on_pipes(answer_timeout=4.0) as client:
            client.says(LINE)
            client.desk.asked[0].settle(YES)
            client.clock.now += 4.0 + lateness
            client.run_once()
            assert client.got() == answer


def test_an_answer_that_waits_for_one_which_ended_at_the_same_deadline() -> None:
    with on_pipes(answer_timeout=4.0) as client:
        client.says(LINE * 2)
        client.settle(1, YES)
        client.clock.now += 4.001
        client.settle(0, UNAVAILABLE)
        assert client.got() == b"0\n1\n"


def test_late_answers_of_one_that_is_told_to_leave_now() -> None:
    with on_socket(answer_timeout=4.0) as client:
        client.says(LINE * 2)
        client.settle(1, YES)
        client.clock.now += 9.0
        client.session.abort()
        assert client.got() == b"0\n0\n"


def test_in_order_only_what_is_late() -> None:
    asked = [Query(b"", deadline, Nobody()) for deadline in (10.0, 10.0, 11.0)]
    ordering = Ordering([asked[0], REFUSED, asked[1], asked[2]])
    ordering.unavailable = b"2\n"
    for query in asked:
        query.settle(YES)
    assert ordering.answers(10.5) == b"2\n0\n2\n1\n"


class Nobody:
    def settled(self, query: Query) -> None:
        """Nothing to do: the tests look at the queries."""


JUST_IN_TIME, TOO_LATE = GRACE_AFTER_TIMEOUT - 0.01, GRACE_AFTER_TIMEOUT + 0.01


@pytest.mark.parametrize("ways", [on_pipes, on_socket], ids=["pipes", "socket"])
@pytest.mark.parametrize(("lateness", "answer"), [(JUST_IN_TIME, b"1\n"), (TOO_LATE, b"0\n")])
def test_in_lockstep(ways, lateness: float, answer: bytes) -> None:
    with ways(kind="lockstep", answer_timeout=4.0) as client:
        client.says(LINE)
        client.clock.now += 4.0 + lateness
        client.settle(0, YES)
        assert client.got() == answer
        client.says(LINE)
        client.settle(1, YES)
        assert client.got() == b"1\n"


@pytest.mark.parametrize(("lateness", "answer"), [(JUST_IN_TIME, b"1\n"), (TOO_LATE, b"")])
def test_on_a_terminal(lateness: float, answer: bytes) -> None:
    with on_terminal(Eyes(), answer_timeout=4.0) as client:
        client.says(LINE)
        client.clock.now += 4.0 + lateness
        client.settle(0, YES)
        assert client.got() == answer


async def test_a_program_that_is_always_slower_than_its_time(autojump_clock) -> None:
    """The above does not make a late answer count as timely."""
    async with bench(answers(4.5)) as there:
        answer = await there.ask().done()
        assert answer.verdict is UNAVAILABLE
        assert answer.seconds == pytest.approx(4.0, abs=0.01)
