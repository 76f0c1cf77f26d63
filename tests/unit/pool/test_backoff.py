"""When a dead program may be started again, and how often something may happen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import Clock

from bridge.log.tokenbucket import TokenBucket
from bridge.pool.backoff import Backoff

LONGEST_EACH = [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


def test_the_schedule_without_chance() -> None:
    backoff = Backoff(lambda: 0.0)
    assert [backoff.next_delay() for _ in LONGEST_EACH] == pytest.approx(LONGEST_EACH)


@given(st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=12, max_size=12))
def test_jitter_cuts_by_up_to_half(chances: list[float]) -> None:
    rolls = iter(chances)
    backoff = Backoff(lambda: next(rolls))
    for longest in LONGEST_EACH:
        assert longest / 2 <= backoff.next_delay() <= longest


def test_the_whole_range_of_chance_is_used() -> None:
    low, high = Backoff(lambda: 0.999999), Backoff(lambda: 0.0)
    assert (low.next_delay(), high.next_delay()) == (0.0, 0.0)
    assert low.next_delay() == pytest.approx(0.05, rel=1e-3)
    assert high.next_delay() == pytest.approx(0.1)


def test_by_default_it_is_chance() -> None:
    delays = set()
    for _ in range(20):
        backoff = Backoff()
        backoff.next_delay()
        delays.add(backoff.next_delay())
    assert len(delays) > 10


def test_a_good_reply_starts_it_anew() -> None:
    backoff = Backoff(lambda: 0.0)
    for _ in range(5):
        backoff.next_delay()
    backoff.reset()
    assert [backoff.next_delay() for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])


def test_years_of_failure() -> None:
    backoff = Backoff(lambda: 0.0)
    for _ in range(5000):
        last = backoff.next_delay()
    assert last == 30.0


def test_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(2.0, 5, clock)
    assert [bucket.take() for _ in range(6)] == [True] * 5 + [False]
    clock.now += 0.5
    assert [bucket.take(), bucket.take()] == [True, False]
    clock.now += 1000.0
    assert [bucket.take() for _ in range(6)] == [True] * 5 + [False]


# Binary fractions, so that the sums are exact.
@given(
    st.integers(1, 8).map(lambda rate: rate / 4),
    st.integers(1, 6),
    st.lists(st.integers(0, 12).map(lambda step: step / 8), max_size=60),
)
def test_never_more_than_burst_and_rate_allow(rate: float, burst: int, steps: list[float]) -> None:
    """Never more than `burst + rate * seconds` in any interval, and nothing refused that this allows."""
    clock = Clock()
    bucket = TokenBucket(rate, burst, clock)
    taken: list[float] = []
    for step in steps:
        clock.now += step
        allowed = all(
            1 + sum(at >= start for at in taken) <= burst + rate * (clock.now - start) for start in {*taken, clock.now}
        )
        got = bucket.take()
        assert got == allowed
        if got:
            taken.append(clock.now)
