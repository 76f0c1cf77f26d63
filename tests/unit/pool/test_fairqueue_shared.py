"""Identical `isuser` queries that wait are asked as one; each asker has its own deadline, and is told once."""

import itertools

import pytest

from bridge.loop.timer import FOREVER
from bridge.pool.fairqueue import FairQueue
from bridge.pool.shared import Shared
from bridge.protocol.query import Query, Verdict

ALICE = b"isuser:alice:example.com"
GRANTED, DENIED, UNAVAILABLE = Verdict.GRANTED, Verdict.DENIED, Verdict.UNAVAILABLE


class Asker:
    """Notes what it is told.

    Args:
      raises: what `settled`, and then `failed`, raise.
    """

    def __init__(self, *raises: Exception) -> None:
        self.told: list[Query] = []
        self.errors: list[Exception] = []
        self._raises = [*raises]

    def settled(self, query: Query) -> None:
        self.told.append(query)
        if self._raises:
            raise self._raises.pop(0)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)
        if self._raises:
            raise self._raises.pop(0)


def asked(queue: FairQueue, *deadlines: float, body: bytes = ALICE, address: str = "") -> list[Query]:
    """The same question, of an asker each."""
    queries = [Query(body, deadline, Asker(), address) for deadline in deadlines]
    for query in queries:
        queue.add([query])
    return queries


def told(queries: list[Query]) -> list[Verdict | None]:
    """What each asker was told of its one query, exactly once."""
    for query in queries:
        assert query.asker.told == [query] * (query.verdict is not None)  # type: ignore[attr-defined]
    return [query.verdict for query in queries]


def handed_out(queue: FairQueue) -> Query:
    query = queue.next()
    assert query is not None
    return query


def shared(queue: FairQueue) -> Shared:
    query = queue.next()
    assert isinstance(query, Shared)
    return query


# --- what is shared --------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("address", ["", "192.0.2.1"])
def test_all_who_ask_the_same_get_the_answer(verdict: Verdict, address: str) -> None:
    queue = FairQueue()
    queries = asked(queue, 1.0, 2.0, 3.0, address=address)
    assert len(queue) == 3
    one = shared(queue)
    assert one.body == ALICE
    assert (len(queue), queue.next(), [*queue]) == (0, None, [])
    one.settle(verdict)
    assert told(queries) == [verdict] * 3


def test_as_the_pool_settles_it() -> None:
    """It inlines `settle`."""
    queue = FairQueue()
    queries = asked(queue, 1.0, 2.0)
    one = shared(queue)
    one.verdict = GRANTED
    one.asker.settled(one)
    assert told(queries) == [GRANTED] * 2


def test_one_asker_may_ask_the_same_several_times() -> None:
    queue, asker = FairQueue(), Asker()
    queries = [Query(ALICE, 1.0, asker) for _ in range(3)]
    queue.add(queries)
    shared(queue).settle(GRANTED)
    assert {*asker.told} == {*queries}
    assert len(asker.told) == 3


def test_what_is_asked_by_one_is_itself() -> None:
    queue = FairQueue()
    (query,) = asked(queue, 1.0)
    assert queue.next() is query


@pytest.mark.parametrize(
    "body",
    [b"auth:alice:example.com:x", b"setpass:alice:example.com:x", b"removeuser:alice:example.com", b"certauth:a:b:c"],
)
def test_nothing_else_is_shared(body: bytes) -> None:
    queue = FairQueue()
    queries = asked(queue, 1.0, 2.0, body=body)
    assert [queue.next(), queue.next()] == queries


@pytest.mark.parametrize("body", [b"isuser:Alice:example.com", b"isuser:alice:example.org", b"isuser:alice:example.co"])
def test_byte_for_byte(body: bytes) -> None:
    queue = FairQueue()
    queries = [*asked(queue, 1.0), *asked(queue, 1.0, body=body)]
    assert [queue.next(), queue.next()] == queries


def test_what_a_program_has_is_not_joined() -> None:
    queue = FairQueue()
    first, second = asked(queue, 1.0, 1.0)
    one = shared(queue)
    (late,) = asked(queue, 2.0)
    one.settle(GRANTED)
    assert told([first, second, late]) == [GRANTED, GRANTED, None]
    assert queue.next() is late


def test_it_is_asked_when_the_first_of_them_has_its_turn() -> None:
    """And the others wait no longer for asking the same as one in a long line."""
    queue = FairQueue()
    long = [query for number in range(50) for query in asked(queue, 1.0, body=b"isuser:%d:h" % number, address="there")]
    last = asked(queue, 1.0, address="there")
    single = asked(queue, 1.0, address="here")
    assert queue.next() is long[0]
    shared(queue).settle(GRANTED)
    assert told(last + single) == [GRANTED] * 2
    assert [queue.next() for _ in range(50)] == [*long[1:], None]


def test_it_counts_for_the_address_whose_turn_it_is() -> None:
    queue = FairQueue()
    asked(queue, 1.0, address="192.0.2.1")
    asked(queue, 1.0, address="192.0.2.2")
    one = queue.next(held_back={"192.0.2.1"})
    assert isinstance(one, Shared)
    assert one.address == "192.0.2.2"
    assert not queue


def test_many_repetitions_are_not_ahead_of_one_more() -> None:
    queue = FairQueue()
    asker = Asker()
    queue.add([Query(ALICE, 1.0, asker) for _ in range(100)])
    queue.add([Query(b"isuser:bob:example.com", 1.0, asker)])
    assert queue.ahead_of(Query(ALICE, 1.0, asker)) <= 2


# --- deadlines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [*itertools.permutations([1.0, 2.0, 3.0])])
def test_the_program_has_until_the_latest_deadline(order: tuple[float, ...]) -> None:
    queue = FairQueue()
    queries = asked(queue, *order)
    one = shared(queue)
    assert one.deadline == 3.0
    assert queue.hurried.first_deadline() == 1.0
    assert [*queue.hurried.take_late(0.9)] == []
    for now in (1.0, 2.0):
        (late,) = queue.hurried.take_late(now)
        assert late.deadline == now
        late.settle(UNAVAILABLE)
    one.settle(GRANTED)
    assert told(queries) == [GRANTED if query.deadline == 3.0 else UNAVAILABLE for query in queries]
    assert (queue.hurried.first_deadline(), len(queue.hurried)) == (FOREVER, 0)


def test_all_may_be_late() -> None:
    queue = FairQueue()
    queries = asked(queue, 1.0, 2.0)
    one = shared(queue)
    for late in queue.hurried.take_late(5.0):
        late.settle(UNAVAILABLE)
    assert not queue.hurried
    one.settle(GRANTED)
    assert told(queries) == [UNAVAILABLE] * 2


def test_with_the_same_deadline_there_is_nothing_to_look_after() -> None:
    queue = FairQueue()
    asked(queue, 1.0, 1.0)
    shared(queue)
    assert not queue.hurried


def test_one_whose_time_is_over_leaves_the_question_to_the_others() -> None:
    queue = FairQueue()
    early, late, later = asked(queue, 1.0, 2.0, 3.0)
    assert queue.first_deadline() == 1.0
    assert [*queue.take_out(lambda query: query.deadline <= 1.5)] == [early]
    shared(queue).settle(GRANTED)
    assert told([early, late, later]) == [None, GRANTED, GRANTED]


def test_the_last_one_left_asks_by_itself() -> None:
    queue = FairQueue()
    early, late = asked(queue, 1.0, 2.0)
    assert [*queue.take_out(lambda query: query.deadline <= 1.5)] == [early]
    assert queue.next() is late


def test_a_shorter_limit_counts_for_those_who_share_too() -> None:
    """As a pool sets it: for all that wait, and for what a program has."""
    queue = FairQueue()
    asked(queue, 8.0, 9.0)
    one = shared(queue)
    waiting = asked(queue, 10.0, 11.0)
    for query in [*queue, one]:
        query.deadline = min(query.deadline, 5.0)
    assert queue.first_deadline() == 5.0
    assert shared(queue).deadline == 5.0
    assert [query.deadline for query in waiting] == [5.0] * 2


# --- leaving, and errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("leaving", [0, 1, 2])
@pytest.mark.parametrize("address", ["", "192.0.2.1"])
def test_one_that_leaves_leaves_the_others(leaving: int, address: str) -> None:
    queue = FairQueue()
    queries = asked(queue, 1.0, 2.0, 3.0, address=address)
    (gone,) = queue.take_all_of(queries[leaving].asker)
    assert gone is queries[leaving]
    shared(queue).settle(DENIED)
    assert told(queries) == [None if query is gone else DENIED for query in queries]


def test_leaving_does_not_take_back_what_a_program_has() -> None:
    queue = FairQueue()
    queries = asked(queue, 1.0, 2.0)
    one = shared(queue)
    assert queue.take_all_of(queries[0].asker) == []
    one.settle(DENIED)
    assert told(queries) == [DENIED] * 2


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_asker_s_error_does_not_reach_the_others(failing: int) -> None:
    queue, error = FairQueue(), ValueError()
    askers = [Asker(*([error] if number == failing else ())) for number in range(3)]
    for asker in askers:
        queue.add([Query(ALICE, 1.0, asker)])
    shared(queue).settle(GRANTED)
    assert [len(asker.told) for asker in askers] == [1] * 3
    assert [asker.errors for asker in askers] == [[error] if asker is askers[failing] else [] for asker in askers]


def test_an_asker_that_cannot_even_fail_does_not_keep_the_others_waiting() -> None:
    """Its error goes to whoever settles the query, as that of an asker alone does."""
    queue, last = FairQueue(), MemoryError()
    askers = [Asker(), Asker(ValueError(), MemoryError()), Asker(ValueError(), last), Asker()]
    for deadline, asker in enumerate(askers, 1):
        queue.add([Query(ALICE, float(deadline), asker)])
    with pytest.raises(MemoryError) as raised:
        shared(queue).settle(GRANTED)
    assert raised.value is last
    assert [len(asker.told) for asker in askers] == [1] * 4


# --- asked again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["add", "add_again"])
def test_a_shared_question_is_asked_again_for_all(how: str) -> None:
    queue = FairQueue()
    queries = asked(queue, 1.0, 2.0)
    one = shared(queue)
    assert one.survives(was_read=True, proved=True)
    (late,) = asked(queue, 3.0)
    getattr(queue, how)([one] if how == "add" else one)
    assert len(queue) == 3
    assert {*queue} == {*queries, late}
    assert not queue.hurried
    again = shared(queue)
    assert (again.attempts, again.deaths) == (1, 1)
    assert not again.survives(was_read=True, proved=True)
    again.settle(UNAVAILABLE)
    assert told([*queries, late]) == [UNAVAILABLE] * 3


@pytest.mark.parametrize("how", ["add", "add_again"])
def test_only_those_who_have_time_ask_again(how: str) -> None:
    queue = FairQueue()
    early, late = asked(queue, 1.0, 2.0)
    one = shared(queue)
    (gone,) = queue.hurried.take_late(1.0)
    assert gone is early
    getattr(queue, how)([one] if how == "add" else one)
    assert [*queue] == [late]
    assert handed_out(queue) is late
    assert not queue


def test_one_who_asks_again_may_leave_or_run_out_of_time() -> None:
    queue = FairQueue()
    early, late, leaving = asked(queue, 1.0, 2.0, 3.0)
    queue.add_again(shared(queue))
    assert queue.take_all_of(leaving.asker) == [leaving]
    assert [*queue.take_out(lambda query: query.deadline <= 1.0)] == [early]
    assert queue.next() is late
    assert not queue


def test_asked_again_and_again_from_where_others_ask_too() -> None:
    """Places that are left, taken again and left again are nobody else's."""
    queue = FairQueue()
    body = itertools.count()
    queries = asked(queue, 1.0, 2.0, address="there") + asked(queue, 3.0, address="here")
    for _ in range(30):
        others = asked(queue, 9.0, 9.0, body=b"isuser:%d:h" % next(body), address="there")
        one = handed_out(queue)
        while one.body != ALICE:
            one.settle(DENIED)
            one = handed_out(queue)
        queue.add([one])
        assert {*queries} <= {*queue}
        assert all(query in [*queue] or query.verdict is DENIED for query in others)
    while one := queue.next():  # type: ignore[assignment]
        one.settle(GRANTED)
    assert told(queries) == [GRANTED] * 3
