"""The standings of a program in its pool, a row for each, and what counts as one of `pool_size`."""

import itertools
import math

import pytest

from bridge.pool.record import FOLLOWERS, Record, Standing
from bridge.protocol.query import StandIn

STARTING, READY, STUCK, WORN, LEAVING = Standing
MAY = {
    (STARTING, READY),
    (STARTING, STUCK),
    (STARTING, LEAVING),
    (READY, STUCK),
    (READY, WORN),
    (READY, LEAVING),
    (STUCK, READY),
    (STUCK, LEAVING),
    (WORN, STUCK),
    (WORN, LEAVING),
}
COUNT = {STARTING, READY, WORN}


def of(standing: Standing, replaces: Record | None = None) -> Record:
    record = Record(1, 0.0, replaces)
    record.standing = standing
    return record


@pytest.mark.parametrize(("standing", "wanted"), [*itertools.product(Standing, Standing)])
def test_what_may_follow(standing: Standing, wanted: Standing) -> None:
    record = of(standing)
    may = (standing, wanted) in MAY
    assert record.enter(wanted) is may
    assert record.standing is (wanted if may else standing)


def test_there_is_a_row_for_each() -> None:
    assert set(FOLLOWERS) == set(Standing)


def test_nobody_comes_back_who_leaves_and_nobody_starts_twice() -> None:
    assert not FOLLOWERS[LEAVING]
    assert not any(STARTING in followers for followers in FOLLOWERS.values())
    assert all(LEAVING in FOLLOWERS[standing] for standing in Standing if standing is not LEAVING)


@pytest.mark.parametrize("standing", Standing)
def test_what_is_stuck_or_leaves_does_not_count(standing: Standing) -> None:
    assert of(standing).counts is (standing in COUNT)


@pytest.mark.parametrize(("predecessor", "successor"), [*itertools.product(Standing, Standing)])
def test_of_a_program_and_its_successor_one_counts(predecessor: Standing, successor: Standing) -> None:
    worn = of(predecessor)
    both = [worn, of(successor, replaces=worn)]
    assert sum(record.counts for record in both) == (predecessor in COUNT or successor in COUNT)


def test_a_new_query_is_a_new_chance() -> None:
    record = of(READY)
    first, second = StandIn(b"auth:a:h:x"), StandIn(b"auth:b:h:x")
    record.sees(first, 5.0, answered=3, amid_others=True)
    record.busy, record.against, record.guilty = 2, 5.5, True
    record.sees(second, 9.0, answered=8, amid_others=True)
    assert (record.seen, record.since, record.answered, record.busy) == (second, 9.0, 8, 0)
    assert (record.against, record.guilty) == (math.inf, None)
    assert record.asked == 5.0, "when it was first asked"
