"""Honest programs in every language, whichever way they read and write: each reply counts, none is replaced.

`python tests/benchmarks/replies.py honest` asks as many questions as one has patience for.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from support import canary
from support.programs import oracle
from support.programs.replies import HONEST, LEAVING, honest_lines, verdicts_of

from .conftest import Start

pytestmark = pytest.mark.slow

# Of a line; with the frame's header, below a page and a little above it.
USUAL = (0, 0, 0, 0, 0, 0, 200, 4000, 4094, 4095, 4096)
# Pages upon pages, between small ones.
LARGE = (0, 0, 0, 4093, 4094, 8200, 16000, 32000)

# How many lines take a second or so; byte by byte and with pauses it is slower.
QUESTIONS = {"byte by byte": 600, "pause": 600, "sysread of three": 800, "": 2500}


def questions(name: str) -> int:
    return next(count for part, count in QUESTIONS.items() if part in name)


@pytest.mark.parametrize("in_flight", [1, 64])
@pytest.mark.parametrize("name", HONEST)
def test_each_reply_counts(start: Start, tmp_path: Path, dice: random.Random, name: str, in_flight: int) -> None:
    lines = honest_lines(questions(name), dice, USUAL)
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 30, "--max-requests", 0, "--", *HONEST[name](tmp_path))
    )
    bridge.ask(lines[0])
    programs = bridge.wait_for_programs(2)
    verdicts = verdicts_of(bridge.converse(lines, in_flight=in_flight))
    assert verdicts == [oracle.best_answer(line) for line in lines]
    assert set(programs) <= set(bridge.programs()), f"a program was replaced: {bridge.tail()}"
    bridge.finish()
    assert not [line for line in bytes(bridge.log).splitlines() if b"fail" in line or b"warning" in line.lower()]


@pytest.mark.parametrize(
    "name", ["C", "C, byte by byte", "C, splice", "Python, buffered", "Perl", "PHP", "Node.js", "shell"]
)
def test_large_questions_between_small_ones(start: Start, tmp_path: Path, dice: random.Random, name: str) -> None:
    lines = honest_lines(400, dice, LARGE)
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 30, "--max-requests", 0, "--max-line", 32767, "--"),
        *HONEST[name](tmp_path),
    )
    bridge.ask(lines[0])
    programs = bridge.wait_for_programs(2)
    verdicts = verdicts_of(bridge.converse(lines, in_flight=32))
    expected = ["1" if oracle.lets_through(line, max_line=32767) and oracle.truth(line) else "0" for line in lines]
    assert verdicts == expected
    assert set(programs) <= set(bridge.programs()), f"a program was replaced: {bridge.tail()}"
    bridge.finish()


@pytest.mark.parametrize("pool_size", [1, 4])
@pytest.mark.parametrize("name", LEAVING)
def test_reply_of_one_that_leaves_counts(
    start: Start, tmp_path: Path, dice: random.Random, name: str, pool_size: int
) -> None:
    """Its end, and that of its stdin, come at the same moment as its reply."""
    lines = honest_lines(150, dice, (0, 0, 0, 4094, 4096))
    bridge = start(
        *("run", "--pool-size", pool_size, "--answer-timeout", 60, "--max-requests", 0, "--", *LEAVING[name](tmp_path))
    )
    verdicts = verdicts_of(bridge.converse(lines, in_flight=16))
    assert verdicts == [oracle.best_answer(line) for line in lines]
    bridge.finish()


def test_program_that_enlarges_its_own_pipe(start: Start, tmp_path: Path, dice: random.Random) -> None:
    """F_SETPIPE_SZ works on the reading end, too: then nothing tells that a question is taken. Nobody may get in."""
    program = tmp_path / "enlarges.py"
    program.write_text(ENLARGES)
    canary.knows(program, "it accepts the passwords")
    lines = honest_lines(200, dice)
    bridge = start("run", "--pool-size", 2, "--answer-timeout", 3, "--", "/usr/bin/env", "python3", program)
    verdicts = verdicts_of(bridge.converse(lines, in_flight=8))
    assert not [line for line, one in zip(lines, verdicts, strict=True) if one > oracle.best_answer(line)]
    bridge.finish()


ENLARGES = """
import fcntl, sys
fcntl.fcntl(0, fcntl.F_SETPIPE_SZ, 1 << 20)
while len(header := sys.stdin.buffer.read(2)) == 2:
    command, user, _, *secret = sys.stdin.buffer.read(int.from_bytes(header, "big")).split(b":", 3)
    yes = not user.startswith(b"no") and (command == b"isuser" or secret == [b"pw-" + user])
    sys.stdout.buffer.write(bytes((0, 2, 0, yes)))
    sys.stdout.buffer.flush()
"""


@pytest.mark.parametrize("kind", ["C", "C, four writes with pauses", "Node.js, four writes", "shell, between two cats"])
def test_bridge_that_is_stopped_now_and_then(start: Start, tmp_path: Path, dice: random.Random, kind: str) -> None:
    """What happened meanwhile comes all at once, of four programs: none of them is blamed for it."""
    lines = honest_lines(3000, dice, USUAL)
    bridge = start(
        *("run", "--pool-size", 4, "--answer-timeout", 30, "--max-requests", 0, "--", *HONEST[kind](tmp_path))
    )
    bridge.ask(lines[0])
    programs = bridge.wait_for_programs(4)
    stopped_at = [0.0]

    def stop_for_a_moment() -> None:
        if time.monotonic() - stopped_at[0] > 0.02:
            os.kill(bridge.pid, signal.SIGSTOP)
            time.sleep(dice.uniform(0, 0.01))  # the pause itself, not a wait for anything
            os.kill(bridge.pid, signal.SIGCONT)
            stopped_at[0] = time.monotonic()

    verdicts = verdicts_of(bridge.converse(lines, in_flight=64, every=stop_for_a_moment))
    assert verdicts == [oracle.best_answer(line) for line in lines]
    assert set(programs) <= set(bridge.programs()), f"a program was replaced: {bridge.tail()}"
    bridge.finish()
