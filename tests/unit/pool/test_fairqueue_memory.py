"""If memory runs out, at whichever allocation, no query is lost, and none is in the queue twice."""

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

from bridge.pool.fairqueue import FairQueue
from bridge.pool.shared import Hurried, Shared
from bridge.protocol.query import Query, Verdict

T = TypeVar("T")

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="from 3.12 on the interpreter itself does not survive failing allocations"
)

MOST = 80
"""Allocations of one call that are made to fail, one after another: more than any has."""


class Asker:
    def settled(self, query: Query) -> None:
        """Nothing to do: the query's verdict is looked at."""

    def failed(self, error: Exception) -> None:
        """Nothing to do: `settled` does not raise."""


ONE, TWO = Asker(), Asker()


def with_a_failure(number: int, call: Callable[..., T], *arguments: object) -> T | None:
    """Call it, with one allocation failing after so many; `None` if it raises `MemoryError`."""
    testcapi = pytest.importorskip("_testcapi", reason="this Python cannot let allocations fail")
    testcapi.set_nomemory(number, number + 1)
    try:
        return call(*arguments)
    except MemoryError:
        return None
    finally:
        testcapi.remove_mem_hooks()


def prepared() -> tuple[FairQueue, list[Query]]:
    """A queue in which all kinds of queries wait, with some that have left their places."""
    queue, queries = FairQueue(), []
    for number in range(24):
        for command in ("auth:user%d:h:hunter2", "isuser:user%d:h", "setpass:user%d:h:hunter2"):
            body = (command % (number % 5)).encode()
            address = ("", "192.0.2.1", f"192.0.2.{number}")[number % 3]
            queries.append(Query(body, float(number), (ONE, TWO)[number % 2], address))
            queue.add([queries[-1]])
    gone = [*queue.take_out(lambda query: query.deadline < 5.0)]
    for _ in range(7):
        gone += members(queue.next())
    return queue, [query for query in queries if query not in gone]


def members(query: Query | None) -> list[Query]:
    """Whoever asks by a query that was handed out."""
    return [] if query is None else [*query.sharers.queries] if isinstance(query, Shared) else [query]


def settled_by(queue: FairQueue) -> list[Query]:
    """Hand out all that wait."""
    out: list[Query] = []
    while query := queue.next():
        out += members(query)
        query.settle(Verdict.DENIED)
    return out


def take_last(queue: FairQueue) -> Query | None:
    if (last := queue.last()) is not None:
        queue.remove(last)
    return last


def check(queue: FairQueue, expected: Sequence[Query]) -> None:
    """These wait, each once, and all can be handed out."""
    assert len(queue) == len(expected)
    assert {*queue} == {*expected}
    out = settled_by(queue)
    assert len(out) == len(expected)
    assert {*out} == {*expected}
    assert not queue
    assert queue.first_deadline() == float("inf")


NEW: dict[str, Callable[[], list[Query]]] = {
    "a first one": lambda: [Query(b"auth:zoe:h:hunter2", 99.0, ONE, "2001:db8::1")],
    "one of a new account": lambda: [Query(b"auth:zoe:h:hunter2", 99.0, ONE)],
    "one of a known account": lambda: [Query(b"setpass:user1:h:hunter2", 99.0, ONE, "192.0.2.1")],
    "one that is early": lambda: [Query(b"setpass:user1:h:hunter2", 7.0, ONE, "192.0.2.1")],
    "a question of others": lambda: [Query(b"isuser:user1:h", 99.0, ONE)],
    "several": lambda: [
        Query(body % number, 99.0, TWO)
        for number in (1, 1, 8, 8, 8)
        for body in (b"auth:user%d:h:hunter2", b"setpass:user%d:h:hunter2", b"isuser:user%d:h")
    ],
}


@pytest.mark.parametrize("name", NEW)
def test_what_cannot_be_added_is_not_there(name: str) -> None:
    for number in range(MOST):
        (queue, waiting), new = prepared(), NEW[name]()
        before = len(queue)
        with_a_failure(number, queue.add, new)
        check(queue, [*waiting, *new] if len(queue) > before else waiting)


def test_what_cannot_be_taken_back_is_not_there() -> None:
    for number in range(MOST):
        (queue, waiting), new = prepared(), Query(b"isuser:user1:h", 99.0, ONE)
        with_a_failure(number, queue.add_again, new)
        check(queue, [*waiting, new] if new in [*queue] else waiting)


@pytest.mark.parametrize("how", ["add", "add_again"])
def test_whoever_cannot_ask_again_still_shares_the_question(how: str) -> None:
    for number in range(MOST):
        queue, waiting = prepared()
        while not isinstance(shared := queue.next(), Shared):
            waiting.remove(shared)  # type: ignore[arg-type]
        sharers = members(shared)
        assert len(sharers) > 1
        with_a_failure(number, getattr(queue, how), [shared] if how == "add" else shared)
        still = members(shared)
        assert not {*still} & {*queue}
        assert {*sharers} <= {*still, *queue}
        shared.settle(Verdict.UNAVAILABLE)
        assert all(query.verdict is Verdict.UNAVAILABLE for query in still)
        check(queue, [query for query in waiting if query not in still])


@pytest.mark.parametrize("before", range(30))
def test_what_cannot_be_handed_out_still_waits(before: int) -> None:
    """Whichever has its turn: of any kind, alone or shared, in any round."""
    for number in range(MOST // 2):
        queue, waiting = prepared()
        gone = [one for _ in range(before) for one in members(queue.next())]
        query = with_a_failure(number, queue.next)
        gone += members(query)
        assert query is None or query.deadline == max(one.deadline for one in members(query))
        assert len(gone) == len({*gone})
        check(queue, [query for query in waiting if query not in gone])


@pytest.mark.parametrize("held_back", [{""}, {"192.0.2.1", "192.0.2.5", "192.0.2.8"}])
def test_what_cannot_be_handed_out_past_others_still_waits(held_back: set[str]) -> None:
    for number in range(MOST // 2):
        queue, waiting = prepared()
        gone = members(with_a_failure(number, queue.next, True, held_back))
        check(queue, [query for query in waiting if query not in gone])


def test_what_cannot_be_taken_out_still_waits() -> None:
    for number in range(MOST):
        queue, waiting = prepared()
        one = with_a_failure(number, next, queue.take_out(lambda query: query.deadline < 12.0))
        check(queue, [query for query in waiting if query is not one])


def test_those_that_cannot_be_taken_out_with_the_others_still_wait() -> None:
    for number in range(2 * MOST):
        queue, waiting = prepared()
        gone = with_a_failure(number, queue.take_all_of, ONE) or []
        check(queue, [query for query in waiting if query not in gone])


@pytest.mark.parametrize("before", range(0, 40, 3))
def test_what_cannot_be_shed_still_waits(before: int) -> None:
    for number in range(MOST // 2):
        queue, waiting = prepared()
        gone = [take_last(queue) for _ in range(before)]
        gone.append(with_a_failure(number, take_last, queue))
        check(queue, [query for query in waiting if query not in gone])


@pytest.mark.parametrize("is_known", [False, True], ids=["accounts", "addresses"])
def test_what_cannot_be_added_can_be_added_later(is_known: bool) -> None:
    """With any number of others, as a queue grows by pieces."""
    for size in range(2, 140):
        for number in range(10):
            queue = FairQueue()
            queries = [
                Query(b"auth:user%d:h:hunter2" % each, float(each), ONE, f"192.0.2.{each}" if is_known else "")
                for each in range(size)
            ]
            for query in queries[:-1]:
                queue.add([query])
            with_a_failure(number, queue.add, queries[-1:])
            if len(queue) < size:
                assert {*queue.take_all_of(ONE)} == {*queries[:-1]}
                for query in queries:
                    queue.add([query])
            check(queue, queries)


@pytest.mark.parametrize("joined", range(4))
def test_whoever_cannot_join_asks_by_itself(joined: int, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = FairQueue()
    queries = [Query(b"isuser:alice:h", deadline, Asker()) for deadline in (1.0, 2.0, 3.0, 4.0)]
    for query in queries:
        queue.add([query])
    remove, calls = queue._isuser.remove, iter(range(joined))

    def fail(query: Query) -> None:
        if next(calls, None) is None:
            raise MemoryError
        remove(query)

    with monkeypatch.context() as patched:
        patched.setattr(queue._isuser, "remove", fail)
        first = queue.next()
    assert first is not None
    out = members(first)
    assert len(out) == joined + 1
    assert first.deadline == max(query.deadline for query in out)
    check(queue, [query for query in queries if query not in out])


@pytest.mark.parametrize("first", [0, 50_000, 99_999])
def test_those_who_are_left_out_of_a_question_are_found_at_once(first: int) -> None:
    """A hundred thousand may share one, and whoever has no memory must not search for each of them."""
    asker = Asker()
    queries = [Query(b"isuser:alice:example.com", float(number), asker) for number in range(100_000)]
    others = [query for query in queries if query is not queries[first]]
    shared = Shared(queries[first], [queries[first], *others], Hurried())
    began = time.process_time()
    shared.leave_out(deque(others[10:]))
    assert {*shared.sharers.queries} == {queries[first], *others[:10]}
    assert [query.deadline for query in shared.sharers.queries] == sorted(q.deadline for q in shared.sharers.queries)
    assert time.process_time() - began < 5.0, "searching takes a minute"
