"""Answers leave in the order of their questions, whatever order these are settled in."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from bridge.protocol.ordering import Ordering
from bridge.protocol.query import REFUSED, Query, Verdict


class Nobody:
    def settled(self, query: Query) -> None:
        """Nothing to do: these tests look at the verdicts."""


def queries(count: int) -> list[Query]:
    return [Query(b"isuser:u%d:h" % number, 1.0, Nobody()) for number in range(count)]


def text(verdicts: list[Verdict]) -> bytes:
    return b"".join(b"1\n" if verdict is Verdict.GRANTED else b"0\n" for verdict in verdicts)


def test_every_permutation_with_every_verdict() -> None:
    """Four questions, all orders, all verdicts: after each verdict, exactly the settled ones at the front leave."""
    for order in itertools.permutations(range(4)):
        for verdicts in itertools.product(Verdict, repeat=4):
            ordering, asked = Ordering(), queries(4)
            ordering.extend(asked)
            left = b""
            for step, number in enumerate(order, 1):
                asked[number].settle(verdicts[number])
                left += ordering.answers(0.0)
                done = next((at for at in range(4) if at not in order[:step]), 4)
                assert left == text(list(verdicts[:done]))
                assert len(ordering) == 4 - done


@given(st.data())
def test_any_order_while_more_are_asked(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 30))
    asked = queries(count)
    verdicts = data.draw(st.lists(st.sampled_from(Verdict), min_size=count, max_size=count))
    order = data.draw(st.permutations(range(count)))
    ordering, added, left = Ordering(), 0, b""
    for number in order:
        more = data.draw(st.integers(0, 3)) if added > number else number + 1 - added
        ordering.extend(asked[added : added + more])
        added = min(count, added + more)
        asked[number].settle(verdicts[number])
        if data.draw(st.booleans()):
            left += ordering.answers(0.0)
        assert text(verdicts).startswith(left)
        assert len(left) // 2 + len(ordering) == added
    ordering.extend(asked[added:])
    left += ordering.answers(0.0)
    assert left == text(verdicts)
    assert len(ordering) == 0
    assert ordering.answers(0.0) == b""


def test_a_refused_line_waits_for_its_turn() -> None:
    ordering, (first, last) = Ordering(), queries(2)
    ordering.extend([first, REFUSED, REFUSED, last])
    assert ordering.answers(0.0) == b""
    last.settle(Verdict.GRANTED)
    assert ordering.answers(0.0) == b""
    first.settle(Verdict.GRANTED)
    assert ordering.answers(0.0) == b"1\n0\n0\n1\n"


def test_only_granted_is_a_yes() -> None:
    ordering = Ordering()
    for query, verdict in zip(queries(3), Verdict, strict=True):
        query.settle(verdict)
        ordering.extend([query])
    assert ordering.answers(0.0) == b"1\n0\n0\n"


def test_the_first_verdict_counts_and_is_told_once() -> None:
    told = []

    class Asker:
        def settled(self, query: Query) -> None:
            told.append(query.verdict)

    query = Query(b"auth:alice:example.com:hunter2:land", 1.0, Asker())
    query.settle(Verdict.DENIED)
    query.settle(Verdict.GRANTED)
    assert told == [Verdict.DENIED]
    assert query.verdict is Verdict.DENIED
    assert "hunter2" not in repr(query)


def test_a_query_without_a_verdict_is_no_yes() -> None:
    (query,) = ordering = Ordering(queries(1))
    assert not query.settled
    assert ordering.answers(0.0) == b""
    assert ordering.abandon(0.0) == b"0\n"
    assert REFUSED.settled
    assert REFUSED.verdict is Verdict.DENIED
