"""What a measurement counts."""

import pytest

from bridge.bench.tally import REASONS, Tally, quantile
from bridge.pool.figures import Figures


@pytest.mark.parametrize(
    ("count", "share", "found"),
    [(0, 0.5, 0), (1, 0.99, 1), (2, 0.5, 1), (100, 0.5, 50), (100, 0.95, 95), (100, 0.99, 99), (101, 0.99, 100)],
)
def test_a_quantile_is_one_of_the_values(count: int, share: float, found: float) -> None:
    assert quantile(range(1, count + 1), share) == found


def test_the_rate_is_that_of_the_time_in_which_was_asked_and_the_times_are_all() -> None:
    """Otherwise one query that hangs beyond the end would be no part of it, or spoil the rate."""
    tally = Tally(Figures(), 100.0)
    for _ in range(99):
        tally.answered(0.01, granted=False)
    tally.close(101.0)
    tally.answered(3.0, granted=True)
    found = tally.result(104.0, complete=True)
    assert (found.seconds, found.rate, found.answers, found.granted) == (1.0, 99.0, 100, 1)
    assert (found.p50, found.p95, found.p99, found.longest) == (0.01, 0.01, 0.01, 3.0)
    assert found.complete


def test_failures_are_told_by_reason_and_only_those_of_this_measurement() -> None:
    figures = Figures()
    figures.unavailable_by[1] = figures.timeouts = figures.failures = 7
    tally = Tally(figures, 0.0)
    figures.unavailable_by[1] += 10
    figures.timeouts += 1
    figures.overload += 2
    figures.suspected += 3
    figures.failures += 5
    found = tally.result(1.0, complete=False)
    assert found.failures == {"timeouts": 1, "overload": 2, "suspected": 3, "other": 4}
    assert found.failures.keys() == REASONS.keys()
    assert (found.failed, found.programs_failed, found.answers, found.rate) == (10, 5, 0, 0.0)


def test_what_does_not_fail_is_not_told() -> None:
    assert Tally(Figures(), 0.0).result(1.0, complete=True).failures == {}
