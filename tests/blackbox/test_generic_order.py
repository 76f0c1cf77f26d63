"""Whose digit is it?  As in test_order_of_events, with Prosody's lines: a digit may come before its line end.

Some of the orders that contract/test_generic_any_order.py tries, through the command.  The bridge is stopped with the
second question in the program's pipe, the program does its steps, and the bridge goes on.  With a first answer whose
line end has not come yet, that is owed, once, and nothing else is.
"""

import pytest
from support.process import Bridge
from support.programs.bad import Journal

from .conftest import Start
from .test_order_of_events import ALSO_RIGHT, RIGHT, TELLS_PARTS, WRONG, look_away, steps

pytestmark = pytest.mark.slow

LINE, DIGIT = "truth", "truth_first"
"""The first answer: with its line end, or without, which is owed then."""

OUT_OF_TURN = [
    (LINE, "yes read stay"),
    (LINE, "yes_first read stay"),
    (LINE, "yes_first read yes_last stay"),
    (LINE, "yes_first leave"),
    (LINE, "end read yes stay"),
    (DIGIT, "yes_first read stay"),
    (DIGIT, "end yes read stay"),
    (DIGIT, "end yes_first read stay"),
    (DIGIT, "end yes_first leave"),
    *([(DIGIT, "part end yes rest stay")] * TELLS_PARTS),
]
IN_TURN = [
    (LINE, "read truth_first honest"),
    (LINE, "read truth_first leave"),
    (DIGIT, "read end truth honest"),
    (DIGIT, "read truth_first honest"),
]
UNKNOWABLE = [
    (DIGIT, "end read truth honest"),
]
"""Honest: but an owed line end and a yes, both before the question is read, would be seen as the same events."""


def run(start: Start, journal: Journal, what: str) -> Bridge:
    settings = ("--protocol", "generic", "--pool-size", 1, "--answer-timeout", 3, "--shutdown-grace", 0.2)
    return start("run", *settings, "--", *steps(f"lines {what}"), env=journal.environment)


@pytest.mark.parametrize(("first", "what"), OUT_OF_TURN)
def test_a_digit_before_its_question_was_taken(start: Start, journal: Journal, first: str, what: str) -> None:
    """The second question is a wrong one: whatever becomes of it, it is not granted."""
    bridge = run(start, journal, f"read {first} gate {what}")
    bridge.send(RIGHT + b"\n" + WRONG + b"\n")
    assert bridge.wait_for_answers(1)[0].verdict == "1"
    look_away(bridge, journal)
    assert [answer.verdict for answer in bridge.wait_for_answers(2)] == ["1", "0"]
    bridge.until(lambda: bridge.ask(ALSO_RIGHT).verdict == "1", "another program")
    bridge.finish()
    assert len(journal.pids("start")) >= 2, "the program must be gone"


@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize(("first", "what"), IN_TURN)
def test_an_honest_answer_meanwhile(start: Start, journal: Journal, first: str, what: str, truth: bool) -> None:
    """The same with honest programs: the answer counts, and nobody is asked a second time."""
    bridge = run(start, journal, f"read {first} gate {what}")
    second = ALSO_RIGHT if truth else WRONG
    bridge.send(RIGHT + b"\n" + second + b"\n")
    assert bridge.wait_for_answers(1)[0].verdict == "1"
    look_away(bridge, journal)
    assert [answer.verdict for answer in bridge.wait_for_answers(2)] == ["1", "1" if truth else "0"]
    if "honest" in what:
        assert bridge.ask(ALSO_RIGHT).verdict == "1"
        assert len(journal.pids("start")) == 1, "an honest program was replaced"
    bridge.finish()
    assert journal.frames().count(second) <= 1 + ("honest" in what and truth), "it was asked again"


@pytest.mark.parametrize("what", ["yes_first read stay", "end read yes stay"])
def test_a_digit_before_the_very_first_question_was_taken(start: Start, journal: Journal, what: str) -> None:
    bridge = run(start, journal, f"gate {what}")
    bridge.send(WRONG + b"\n")
    look_away(bridge, journal)
    assert bridge.wait_for_answers(1)[0].verdict == "0"
    bridge.until(lambda: bridge.ask(ALSO_RIGHT).verdict == "1", "another program")
    bridge.finish()


@pytest.mark.parametrize(("first", "what"), UNKNOWABLE)
def test_what_cannot_be_known_is_asked_again(start: Start, journal: Journal, first: str, what: str) -> None:
    bridge = run(start, journal, f"read {first} gate {what}")
    bridge.send(RIGHT + b"\n" + ALSO_RIGHT + b"\n")
    assert bridge.wait_for_answers(1)[0].verdict == "1"
    look_away(bridge, journal)
    assert [answer.verdict for answer in bridge.wait_for_answers(2)] == ["1", "1"]
    assert bridge.ask(RIGHT).verdict == "1", "nobody is to blame"
    bridge.finish()


@pytest.mark.parametrize("what", ["truth_first leave"])
def test_a_digit_and_gone(start: Start, journal: Journal, what: str) -> None:
    """It counts without a wait: nothing can follow."""
    bridge = run(start, journal, f"read {what}")
    assert bridge.ask(RIGHT).verdict == "1"
    assert journal.frames() == [RIGHT]
    bridge.finish()
