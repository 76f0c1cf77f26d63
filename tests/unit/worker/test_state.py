"""The transitions of a worker's state; a row for each state."""

import itertools

import pytest

from bridge.worker.state import FOLLOWERS, State, after

IN_ORDER = [State.ASKABLE, State.RETIRED, State.MUTED, State.GONE]
MAY = {
    (State.ASKABLE, State.RETIRED),
    (State.RETIRED, State.MUTED),
    (State.RETIRED, State.GONE),
    (State.MUTED, State.GONE),
}


@pytest.mark.parametrize(("state", "wanted"), [*itertools.product(State, State)])
def test_what_may_follow(state: State, wanted: State) -> None:
    assert after(state, wanted) is (wanted if (state, wanted) in MAY else state)


def test_there_is_a_row_for_each() -> None:
    assert set(FOLLOWERS) == set(State)


@pytest.mark.parametrize("state", State)
def test_nothing_leads_back(state: State) -> None:
    """Least of all to READY: a retired program's next reply could belong to any query."""
    place = IN_ORDER.index(state)
    assert all(IN_ORDER.index(follower) > place for follower in FOLLOWERS[state])


@pytest.mark.parametrize("orders", [*itertools.permutations([State.RETIRED, State.MUTED, State.GONE])])
def test_orders_to_leave_in_any_order_never_leave_it_ready(orders: tuple[State, ...]) -> None:
    state = State.RETIRED
    for order in orders:
        state = after(state, order)
        assert state is not State.ASKABLE
    assert state is State.GONE
