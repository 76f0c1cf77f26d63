"""Whether an answer may be written, for everything a watcher can see."""

import itertools

import pytest
from support.inmemory.clients import Eyes

from bridge.terminal.gate import Decision, Gate
from bridge.terminal.watcher import Look

WAITING, ELSEWHERE, BUSY, UNSEEN = Look.WAITING, Look.ELSEWHERE, Look.BUSY, Look.UNSEEN


def decisions(*looks: Look) -> list[Decision]:
    """One answer for each look."""
    eyes = Eyes()
    gate = Gate(eyes.watcher)
    found = []
    for look in looks:
        eyes.show(look)
        found.append(gate.decide())
    return found


def test_it_is_written_while_the_client_waits() -> None:
    assert decisions(WAITING, WAITING, WAITING) == [Decision.WRITE] * 3


def test_it_is_dropped_when_the_client_is_back_in_its_main_loop() -> None:
    assert decisions(ELSEWHERE, WAITING, ELSEWHERE) == [Decision.DROP, Decision.WRITE, Decision.DROP]


def test_the_first_answer_is_never_written_blindly() -> None:
    assert decisions(UNSEEN, UNSEEN, UNSEEN) == [Decision.DROP, Decision.WRITE, Decision.WRITE]


def test_looking_busy_is_no_first_answer() -> None:
    """Being told to wait decides nothing: the answer that follows is still the first."""
    assert decisions(BUSY, BUSY, UNSEEN, UNSEEN) == [Decision.WAIT, Decision.WAIT, Decision.DROP, Decision.WRITE]


def test_out_of_sight_starts_over() -> None:
    assert decisions(WAITING, UNSEEN, UNSEEN) == [Decision.WRITE, Decision.DROP, Decision.WRITE]
    assert decisions(UNSEEN, UNSEEN, WAITING, UNSEEN) == [Decision.DROP, Decision.WRITE, Decision.WRITE, Decision.DROP]


def test_every_short_history() -> None:
    """Only written if the client is seen waiting, or blindly right after another blind decision."""
    for looks in itertools.product(Look, repeat=4):
        last = None
        for look, decision in zip(looks, decisions(*looks), strict=True):
            assert (decision is Decision.WAIT) == (look is BUSY)
            assert (decision is Decision.WRITE) == (look is WAITING or (look is UNSEEN and last is UNSEEN))
            last = look if look is not BUSY else last


@pytest.mark.parametrize("blinks", [0, 1, 2, 3])
def test_a_client_that_is_just_about_to_wait_is_looked_at_again(blinks: int) -> None:
    """A client needs some microseconds from its write to its wait."""
    eyes = Eyes(*[BUSY] * blinks, WAITING)
    assert Gate(eyes.watcher).decide() is Decision.WRITE
    assert eyes.times == blinks + 1


def test_it_does_not_look_for_ever() -> None:
    eyes = Eyes(BUSY)
    assert Gate(eyes.watcher).decide() is Decision.WAIT
    assert 1 < eyes.times < 20


def test_pauses_grow_and_begin_anew() -> None:
    eyes = Eyes(BUSY)
    gate = Gate(eyes.watcher)
    pauses = []
    for _ in range(10):
        gate.decide()
        pauses.append(gate.pause)
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < 0.002
    assert pauses[-1] == pauses[-2] <= 0.020
    eyes.show(WAITING)
    gate.decide()
    assert gate.pause <= pauses[0]


def test_it_says_which_rule_is_in_force() -> None:
    eyes = Eyes()
    seen = Gate(eyes.watcher).describe()
    eyes.sees = False
    unseen = Gate(eyes.watcher).describe()
    assert "seen waiting" in seen
    assert "first answer is not written" in unseen
