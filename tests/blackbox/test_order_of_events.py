"""Did the reply come before its question was taken?  The bridge looks away while it happens, then has to tell.

It is stopped with the question in the program's pipe, the program does its steps, and the bridge goes on: what it
finds is the same bytes in the same places for an honest program and for one that replied to the question before.
"""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import procfs
from support.components import command
from support.process import Bridge
from support.programs.bad import PROGRAMS, Journal
from support.programs.replies import Doubles, lengthened

from .conftest import Start

pytestmark = pytest.mark.slow

RIGHT, WRONG = b"auth:alice:example.com:pw-alice", b"auth:bob:example.com:hunter2"
ALSO_RIGHT = b"auth:carol:example.com:pw-carol"

# Before 6.14 Linux wakes the writer of a pipe at a read of the header alone, too: then a reply that is followed by the
# rest of the reading looks like one that came after it.
TELLS_PARTS = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (6, 14)

# What a program does after its right reply to the first question, the second one being in its pipe.
OUT_OF_TURN = [
    "yes read stay",
    "yes read truth stay",
    "yes_first read yes_last stay",
    "yes_first yes_last read stay",
    "yes_first read truth stay",
    "yes close stay",
    "yes leave",
    "yes_first close yes_last leave",
    *(["header yes rest stay", "header part yes rest stay", "header yes_first rest yes_last stay"] * TELLS_PARTS),
    "read yes yes stay",
]
IN_TURN = [
    "read truth honest",
    "read truth leave",
    "read close truth leave",
    "read close truth stay",
    "read truth_first truth_last honest",
    "header part rest truth_first truth_last leave",
]
# Bytes of the second question: far below a page; its frame exactly a page, and a byte more; the default's longest;
# two pages, a byte more, and longer than any pipe of that size.
PAGE = 4096
SIZES = [40, PAGE - 2, PAGE - 1, PAGE, 2 * PAGE - 2, 2 * PAGE - 1, 3 * PAGE, 32000]
# Three pages do not fill a pipe, which has two or four: such a frame is looked at less closely.
FILLING = [size for size in SIZES if size != 2 * PAGE - 1]
# A program that has read a part of its own question and answers it is early, not out of turn: told up to a page.
ABOUT_THE_ONE_BEFORE = [what for what in OUT_OF_TURN if not what.startswith(("header", "read"))]


def steps(text: str) -> tuple[str, ...]:
    return (command("python3", "python3"), "-I", "-S", "-B", str(PROGRAMS / "steps.py"), *text.split())


def until_asleep(bridge: Bridge) -> None:
    """The bridge has done all it could do."""
    bridge.until(lambda: (found := procfs.process(bridge.pid)) and found.state == "S", "the bridge to sleep")


def look_away(bridge: Bridge, journal: Journal) -> None:
    """Stop the bridge, let the program at the gate do its steps, and let the bridge go on."""
    bridge.until(lambda: journal.events("gate"), "the program to be at the gate")
    until_asleep(bridge)
    bridge.signal(signal.SIGSTOP)
    bridge.until(lambda: procfs.is_stopped(bridge.pid), "the stop")
    (journal.state / "open").touch()
    # A program that was not trusted with the question may wait for it: then there is nothing to be seen.
    bridge.until(lambda: journal.events("done") or waits_for_input(journal), "the program to be done")
    bridge.signal(signal.SIGCONT)


def waits_for_input(journal: Journal) -> bool:
    """Is the first program in a read that finds nothing?"""
    pid = journal.pids("start")[0]
    try:
        with open(f"/proc/{pid}/wchan") as file:
            return "pipe" in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return True


def run(start: Start, journal: Journal, program: Sequence[str]) -> Bridge:
    settings = ("--pool-size", 1, "--answer-timeout", 3, "--max-line", 32767, "--shutdown-grace", 0.2)
    return start("run", *settings, "--", *program, env=journal.environment)


@pytest.mark.parametrize(
    ("what", "size"),
    [
        *((OUT_OF_TURN[0], size) for size in FILLING),
        *((what, size) for what in OUT_OF_TURN[1:] for size in (40, PAGE)),
        *((what, 3 * PAGE) for what in ABOUT_THE_ONE_BEFORE[1:]),
    ],
)
def test_reply_before_its_question_was_taken(start: Start, journal: Journal, what: str, size: int) -> None:
    """The next question is a wrong one: whatever becomes of it, it is not granted."""
    bridge = run(start, journal, steps(f"read truth gate {what}"))
    bridge.send(RIGHT + b"\n" + lengthened(WRONG, size) + b"\n")
    assert bridge.wait_for_answers(1)[0].verdict == "1"
    look_away(bridge, journal)
    assert [answer.verdict for answer in bridge.wait_for_answers(2)] == ["1", "0"]
    assert bridge.ask(ALSO_RIGHT).verdict == "1"
    bridge.finish()
    assert len(journal.pids("start")) >= 2, "the program must be gone"


@pytest.mark.parametrize("what", ABOUT_THE_ONE_BEFORE)
def test_its_innocent_successor_is_asked_again(start: Start, journal: Journal, what: str) -> None:
    """A right login whose program was caught at the question before."""
    bridge = run(start, journal, steps(f"read truth gate {what}"))
    bridge.send(RIGHT + b"\n" + ALSO_RIGHT + b"\n")
    assert bridge.wait_for_answers(1)[0].verdict == "1"
    look_away(bridge, journal)
    assert bridge.wait_for_answers(2)[1].verdict == "1"
    bridge.finish()


@pytest.mark.parametrize(
    ("what", "size", "truth"),
    [
        *((what, size, True) for what in IN_TURN for size in (40, PAGE)),
        *((IN_TURN[0], size, truth) for size in SIZES for truth in (True, False)),
        *((what, 40, False) for what in IN_TURN),
    ],
)
def test_honest_reply_meanwhile(start: Start, journal: Journal, what: str, size: int, truth: bool) -> None:
    """The same with honest programs: the reply counts, and nobody is asked a second time."""
    bridge = run(start, journal, steps(f"read truth gate {what}"))
    second = lengthened(ALSO_RIGHT if truth else WRONG, size)
    bridge.send(RIGHT + b"\n" + second + b"\n")
    assert bridge.wait_for_answers(1)[0].verdict == "1"
    look_away(bridge, journal)
    assert [answer.verdict for answer in bridge.wait_for_answers(2)] == ["1", "1" if truth else "0"]
    bridge.finish()
    assert journal.frames()[:2] == [RIGHT, second]
    assert journal.frames().count(second) == 1, "it was asked again"
    if "honest" in what:
        assert len(journal.pids("start")) == 1, "an honest program was replaced"


@pytest.mark.parametrize(
    ("what", "size"),
    [
        *((what, 40) for what in OUT_OF_TURN if what.startswith(("yes", "header"))),
        *((what, 3 * PAGE) for what in ("yes read stay", "yes_first read yes_last stay", "yes leave")),
    ],
)
def test_reply_before_the_very_first_question_was_taken(start: Start, journal: Journal, what: str, size: int) -> None:
    """A valid reply at its start, the first question being in its pipe already."""
    bridge = run(start, journal, steps(f"gate {what}"))
    bridge.send(lengthened(WRONG, size) + b"\n")
    look_away(bridge, journal)
    assert bridge.wait_for_answers(1)[0].verdict == "0"
    bridge.until(lambda: bridge.ask(ALSO_RIGHT).verdict == "1", "another program")
    bridge.finish()


@pytest.mark.parametrize("what", ABOUT_THE_ONE_BEFORE)
def test_a_change_that_was_in_the_pipe_is_not_asked_again(start: Start, journal: Journal, what: str) -> None:
    """Nobody can tell whether the program that was caught has made it."""
    bridge = run(start, journal, steps(f"read truth gate {what}"))
    change = b"setpass:carol:example.com:new"
    bridge.send(RIGHT + b"\n" + change + b"\n")
    assert bridge.wait_for_answers(1)[0].verdict == "1"
    look_away(bridge, journal)
    bridge.wait_for_answers(2)
    bridge.finish()
    assert journal.frames().count(change) <= 1
    # With a program that took it, it may have been made: no is the answer. With one that did not, any other may do it.
    assert bridge.verdicts[1] == "0" or "read" not in what


@pytest.mark.parametrize(
    "what",
    ["header part yes stay", *(["header yes rest honest", "header yes_first rest yes_last stay"] * TELLS_PARTS)],
)
@pytest.mark.parametrize("line", [WRONG, ALSO_RIGHT], ids=["wrong", "right"])
def test_reply_to_a_part_of_a_question(start: Start, journal: Journal, what: str, line: bytes) -> None:
    """Nobody looks away, the program just does not read to the end: refused, and asked of another one."""
    bridge = run(start, journal, steps(f"read truth {what}"))
    assert bridge.ask(RIGHT).verdict == "1"
    answer = bridge.ask(line)
    assert answer.verdict == ("1" if line == ALSO_RIGHT else "0")
    assert len(journal.pids("start")) >= 2
    bridge.finish()


@pytest.mark.parametrize("what", IN_TURN)
def test_honest_first_reply_meanwhile(start: Start, journal: Journal, what: str) -> None:
    bridge = run(start, journal, steps(f"gate {what}"))
    bridge.send(ALSO_RIGHT + b"\n")
    look_away(bridge, journal)
    assert bridge.wait_for_answers(1)[0].verdict == "1"
    bridge.finish()
    assert journal.frames() == [ALSO_RIGHT], "it was asked again"


@pytest.mark.parametrize("manner", ["ahead", "aheadhalf"])
@pytest.mark.parametrize("size", [40, PAGE])
@pytest.mark.parametrize("gap", [0, 2000])
def test_reply_at_each_start(start: Start, journal: Journal, tmp_path: Path, manner: str, size: int, gap: int) -> None:
    """Every program says yes when it starts, the question being there or not: nobody gets in."""
    program = Doubles(manner, 1, 1, 0, gap).command(tmp_path)
    bridge = start("run", "--pool-size", 2, "--answer-timeout", 0.3, "--", *program, env=journal.environment)
    line = lengthened(b"auth:u:example.com:hunter2", size)
    while len(journal.pids("start")) < 6:
        assert bridge.ask(line).verdict == "0"
    bridge.finish()
