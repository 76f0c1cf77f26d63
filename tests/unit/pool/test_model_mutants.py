"""The model finds planted faults, each within the examples of a default run; so it would find such a fault of ours."""

import signal
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis.stateful import run_state_machine_as_test
from support import canary
from support.examples import examples
from support.inmemory.pools import InMemoryWorker
from support.model.machine import Machine
from support.model.workers import OnPipes

from bridge.loop.timer import FOREVER
from bridge.pool.fairqueue import FairQueue
from bridge.pool.idle import Idle
from bridge.pool.pool import Pool
from bridge.pool.poollog import PoolLog
from bridge.pool.record import Record
from bridge.pool.rounds import Rounds
from bridge.pool.shared import Sharers
from bridge.pool.staff import Staff
from bridge.pool.supervisor import Supervisor
from bridge.protocol.query import Query, Verdict
from bridge.worker.state import Fault
from bridge.worker.stdinpipe import StdinPipe
from bridge.worker.worker import Worker

pytestmark = pytest.mark.slow

EXAMPLES = examples(
    300,
    stateful_step_count=30,
    derandomize=True,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)
"""Those of the default run, until one fails; what it was is of no interest."""

Change = Callable[[pytest.MonkeyPatch], None]


class OnPipesMachine(Machine):
    launch = OnPipes


def instead(where: type, name: str, does: Any) -> Change:
    """`where.name` is this."""
    return lambda patch: patch.setattr(where, name, does)


def before(where: type, name: str, does: Callable[..., object]) -> Change:
    """Do this before `where.name`, with the same arguments."""
    original = getattr(where, name)

    def changed(*arguments: Any) -> Any:
        does(*arguments)
        return original(*arguments)

    return instead(where, name, changed)


def nothing(*_: object) -> None:
    """A part that does not do its work."""


def forgets(worker: Any) -> Query | None:
    """A program that is to be killed needs no query, and one that is not killed does."""
    query, worker.query = worker.query, None
    return query  # type: ignore[no-any-return]


def lets_it_hang(worker: InMemoryWorker, reason: str, _fault: Fault = Fault.TIME) -> None:
    if "in time" not in reason:
        worker._retire(reason)
        worker.signal(signal.SIGKILL)


def is_in_time(pool: Pool, worker: Worker, query: Query, verdict: Verdict) -> None:
    query.deadline = FOREVER


def kills_at_the_deadline(rounds: Rounds, worker: Worker, record: Record, query: Query) -> None:
    worker.kill("it gave no reply in time")


def loses(queue: FairQueue, query: Query) -> None:
    if isinstance(query, Query):
        queue._again.clear()


def tells_the_first(sharers: Sharers, query: Query) -> None:
    sharers._hurried.discard(sharers)
    sharers.queries.popleft().settle(query.verdict or Verdict.UNAVAILABLE)


def tells_nobody(query: Query, verdict: Verdict) -> None:
    """As if it had ended already."""
    query.verdict = verdict


def tells_twice(query: Query, verdict: Verdict) -> None:
    query.verdict = verdict
    query.asker.settled(query)
    query.asker.settled(query)


def missing(staff: Staff) -> int:
    return staff.size + staff._spares - staff._counted


def takes_any(idle: Idle, query: Query) -> Worker | None:
    shelf = next((shelf for shelf in (idle._new, idle._used, idle._worn) if shelf), None)
    return shelf.pop() if shelf is not None else None


def says_all(pool_log: PoolLog, worker: Worker, reason: str, query: Query | None) -> None:
    pool_log._warn("program failed", question=query.body if query is not None else "")


async def at_once(supervisor: Supervisor, successor: Worker, worn: Worker) -> bool:
    supervisor.pool.staff.employ(successor)
    return True


POOL = {
    "a late reply is an answer": before(Pool, "replied", is_in_time),
    "programs are killed at their question's deadline": before(Rounds, "_end", kills_at_the_deadline),
    "a queue loses what is asked again": before(FairQueue, "add_again", loses),
    "a queue does not take out what is over": instead(FairQueue, "take_out", lambda *_: iter(())),
    "a queue forgets to take out what is withdrawn": instead(FairQueue, "take_all_of", lambda *_: []),
    "only the first of those who share a question is told": instead(Sharers, "settled", tells_the_first),
    "pool_max does not count": instead(Staff, "_missing", property(missing)),
    "a query survives whatever happens": instead(Query, "survives", lambda *_, **__: True),
    "nobody is told that a query has ended": instead(Query, "settle", tells_nobody),
    "askers are told twice": instead(Query, "settle", tells_twice),
    "the newest program is asked first, whatever it is asked": instead(Idle, "take", takes_any),
    "none is killed in order to see": instead(Rounds, "_may_replace", lambda *_: False),
    "there are no spares": instead(Rounds, "_unusual", lambda *_: FOREVER),
    "what a starting program keeps waiting is not moved": instead(Rounds, "_move", nothing),
    "no more programs are started than at first": instead(Staff, "start_due", lambda *_: False),
    "a shorter time limit is for new queries only": instead(Pool, "hasten", nothing),
    "the log says what was asked": instead(PoolLog, "program_ended", says_all),
    "a successor takes over before it has started": instead(Supervisor, "_takes_over", at_once),
}

INMEMORY = {
    "a program that hangs is let alone": instead(InMemoryWorker, "kill", lets_it_hang),
    "a program forgets the question it has": instead(InMemoryWorker, "release", forgets),
}

ON_PIPES = {
    "a program forgets the question it has": instead(Worker, "release", forgets),
    "a reply need not wait for its question": instead(StdinPipe, "looks_taken", lambda *_: True),
}


def is_found(machine: type[Machine]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=EXAMPLES)


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in (POOL | INMEMORY).items()])
def test_a_fault_is_found(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch)
    with canary.meant():  # one of them logs what was asked
        is_found(Machine)


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in ON_PIPES.items()])
def test_a_fault_of_workers_is_found(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch)
    is_found(OnPipesMachine)
