"""Programs that reply twice before they read on: the second reply is nobody's, least of all the next question's.

`python tests/benchmarks/replies.py second` does the same a thousand times for each combination.
"""

import random
import sys
from pathlib import Path

import pytest
from support.programs.bad import CHAMELEON, Journal, habit
from support.programs.replies import Doubles, doubling_lines, tally, verdicts_of

from .conftest import Start

# Each column with each value, and all pairs of manner and pool; where time is short (work 0) the race is fiercest,
# where it is long (work 3000) a second reply is surest to be taken for the next question's.
MATRIX = [
    Doubles("whole", 1, 1, 0, 0),
    Doubles("whole", 1, 16, 500, 60),
    Doubles("whole", 2, 16, 500, 60),
    Doubles("whole", 2, 16, 3000, 60),
    Doubles("whole", 2, 64, 0, 0),
    Doubles("whole", 4, 64, 1000, 200),
    Doubles("whole", 4, 4, 3000, 1000),
    Doubles("halves", 1, 64, 500, 0),
    Doubles("halves", 2, 16, 3000, 100),
    Doubles("halves", 4, 64, 500, 400),
    Doubles("together", 1, 4, 500, 0),
    Doubles("together", 2, 16, 0, 0),
    Doubles("together", 4, 64, 1000, 0),
    Doubles("straddle", 1, 16, 500, 60),
    Doubles("straddle", 2, 64, 0, 200),
    Doubles("straddle", 4, 16, 3000, 400),
]
SECOND_REPLIES = 20


@pytest.mark.slow
@pytest.mark.parametrize("doubles", MATRIX, ids=str)
def test_second_reply_is_nobodys(
    start: Start, journal: Journal, tmp_path: Path, dice: random.Random, doubles: Doubles
) -> None:
    bridge = start(
        *("run", "--pool-size", doubles.pool_size, "--answer-timeout", 30, "--max-requests", 0, "--"),
        *doubles.command(tmp_path),
        env=journal.environment,
    )
    lines = doubling_lines(SECOND_REPLIES, dice)
    answers = bridge.converse(lines, in_flight=doubles.in_flight)
    bridge.finish()
    found = tally(lines, verdicts_of(answers), journal)
    assert found.second >= SECOND_REPLIES
    found.check()


@pytest.mark.parametrize("manner", ["deaf", "flood"])
@pytest.mark.parametrize("gap", [0, 200])
def test_second_reply_of_one_that_takes_no_more(
    start: Start, journal: Journal, tmp_path: Path, dice: random.Random, manner: str, gap: int
) -> None:
    """It closes its stdin between the two, so the next question stays in the pipe; or it fills its stdout."""
    doubles = Doubles(manner, 2, 16, 300, gap)
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 30, "--max-requests", 0, "--", *doubles.command(tmp_path)),
        env=journal.environment,
    )
    lines = doubling_lines(SECOND_REPLIES, dice)
    answers = bridge.converse(lines, in_flight=16)
    bridge.finish()
    tally(lines, verdicts_of(answers), journal).check()


@pytest.mark.parametrize("manner", ["whole", "halves"])
def test_program_that_is_about_to_be_renewed(
    start: Start, journal: Journal, tmp_path: Path, dice: random.Random, manner: str
) -> None:
    """Every sixth question is replied to twice, every third is a program's last one."""
    doubles = Doubles(manner, 2, 32, 500, 60)
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 30, "--max-requests", 3, "--", *doubles.command(tmp_path)),
        env=journal.environment,
    )
    lines = doubling_lines(SECOND_REPLIES, dice)
    answers = bridge.converse(lines, in_flight=32)
    bridge.finish()
    found = tally(lines, verdicts_of(answers), journal)
    assert (found.wrong, found.uncaught) == (0, 0), found


def test_honest_questions_beside_it_are_not_refused(start: Start, journal: Journal, tmp_path: Path) -> None:
    """Right logins only, one in forty replied to twice: what its program had in hand is asked once more."""
    doubles = Doubles("whole", 4, 16, 500, 60)
    bridge = start(
        *("run", "--pool-size", 4, "--answer-timeout", 30, "--max-requests", 0, "--", *doubles.command(tmp_path)),
        env=journal.environment,
    )
    names = [f"{'twice' if number % 40 == 5 else 'u'}-u{number}" for number in range(400)]
    lines = [f"auth:{name}:h:pw-{name}".encode() for name in names]
    verdicts = verdicts_of(bridge.converse(lines, in_flight=16))
    bridge.finish()
    found = tally(lines, verdicts, journal)
    found.check()
    assert found.refused <= 2, found


BLIND = """
import sys
import bridge.worker.stdinpipe
bridge.worker.stdinpipe.order_is_told = lambda: False
from bridge.entry import main
sys.exit(main())
"""


def test_where_the_kernel_does_not_tell(start: Start) -> None:
    """All goes on with the older look, and the log says so."""
    blind = (sys.executable, "-c", BLIND)
    bridge = start("run", "--pool-size", 2, "--max-line", 32767, "--", *habit("good"), command=blind)
    lines, verdicts = [], []
    for number in range(300):
        right = number % 3 != 0
        user, size = f"u{number}", (0, 5000, 9000)[number % 3]
        lines.append(f"auth:{user}:{'x' * size}h:{'pw-' if right else 'no-'}{user}".encode())
        verdicts.append("1" if right else "0")
    assert verdicts_of(bridge.converse(lines, in_flight=16)) == verdicts
    bridge.finish()
    assert bytes(bridge.log).count(b"replies are looked at less closely") == 1
    assert b"program failed" not in bridge.log


def test_a_question_that_does_harm_is_reported_once(start: Start) -> None:
    """However many programs it ended."""
    bridge = start("run", "--pool-size", 4, "--", *CHAMELEON)
    good = b"auth:bob:example.com:pw-bob"
    assert bridge.ask(good).verdict == "1"
    assert bridge.ask(b"auth:twice-alice:example.com:pw-twice-alice").verdict == "0"
    assert bridge.ask(good).verdict == "1", "so it is nobody else's fault"
    bridge.until(lambda: b"does harm" in bridge.log, "the report")
    bridge.finish()
    assert bridge.log.count(b"program failed") == 2
    assert bridge.log.count(b"does harm") == 1
