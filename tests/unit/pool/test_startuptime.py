"""How long programs take to start, learnt from those that were asked early."""

import math

import pytest

from bridge.pool.startuptime import StartupTime


def test_nothing_is_known_at_first() -> None:
    startup = StartupTime()
    assert startup.expected == 0.0
    assert startup.ample == math.inf


@pytest.mark.parametrize("took", [0.5, 6.0, 29.0])
def test_one_that_was_asked_before_it_was_up_tells(took: float) -> None:
    startup = StartupTime()
    startup.learn(100.0, 100.0, 100.0 + took)
    assert startup.expected == pytest.approx(took)
    assert 2 * took <= startup.ample <= 2 * took + 1.0


def test_one_that_answers_promptly_had_been_up_for_we_do_not_know_how_long() -> None:
    startup = StartupTime()
    startup.learn(0.0, 500.0, 500.01)
    assert startup.expected == 0.0
    assert 500.0 <= startup.ample < math.inf, "it was no longer than that"


def test_a_prompt_one_may_show_that_starts_are_quicker_than_thought() -> None:
    startup = StartupTime()
    startup.learn(0.0, 0.0, 6.0)
    startup.learn(10.0, 12.0, 12.1)
    assert startup.expected == pytest.approx(2.1)
    assert startup.ample < 6.0


def test_a_prompt_one_that_had_been_up_for_hours_changes_nothing() -> None:
    startup = StartupTime()
    startup.learn(0.0, 0.0, 6.0)
    before = startup.expected, startup.ample
    startup.learn(10.0, 7200.0, 7200.1)
    assert (startup.expected, startup.ample) == before


def test_a_slower_start_counts_at_once_and_is_forgotten_slowly() -> None:
    startup = StartupTime()
    startup.learn(0.0, 0.0, 1.0)
    startup.learn(0.0, 0.0, 6.0)
    assert startup.expected == pytest.approx(6.0)
    for _ in range(3):
        startup.learn(0.0, 0.0, 1.0)
    assert 4.0 < startup.expected < 5.0
    for _ in range(30):
        startup.learn(0.0, 0.0, 1.0)
    assert startup.expected == pytest.approx(1.0)


def test_one_that_is_not_asked_is_taken_for_up_after_a_second_or_twice_the_usual_time() -> None:
    startup = StartupTime()
    assert startup.unasked == 1.0
    startup.learn(0.0, 0.0, 0.3)
    assert startup.unasked == 1.0
    startup.learn(0.0, 0.0, 6.0)
    assert startup.unasked == pytest.approx(12.0)


def test_one_that_was_asked_when_it_had_been_there_for_a_while_may_be_slow_to_answer() -> None:
    """Three seconds for a question that came after an hour are no start of an hour."""
    startup = StartupTime()
    startup.learn(0.0, 3600.0, 3603.0)
    assert startup.expected == 0.0
    assert startup.unasked == 1.0
