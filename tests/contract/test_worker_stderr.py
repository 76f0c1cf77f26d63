"""One Worker and one real program that writes on stderr: always drained, never a secret."""

import sys

import pytest
from support.bad_programs import CHAMELEON, habit

from bridge.messages import Verdict

YES = Verdict.GRANTED
PYTHON = (sys.executable, "-I", "-S", "-B", "-c")
SECRET = b"Tr0ub4dor&3:x"
QUERY = b"auth:alice:example.com:" + SECRET


def told(stage) -> str:
    return "\n".join(stage.stderr)


def nothing_of_the_secret(stage) -> None:
    """Not it, and no part of it that would help."""
    text = told(stage) + "".join(stage.reasons)
    for start in range(len(SECRET) - 4):
        assert SECRET[start : start + 5].decode() not in text


def test_lines(stage) -> None:
    stage.start(CHAMELEON)
    assert stage.ask(b"auth:noise3-alice:example.com:pw-noise3-alice") is YES
    stage.until(lambda: len(stage.stderr) == 3)
    assert stage.stderr == ["chameleon: a notice on stderr"] * 3
    assert stage.worker.usable


def test_a_flood_does_not_block_the_program(stage) -> None:
    """Megabytes before each reply: more than any pipe holds."""
    stage.start(habit("floods", 2000))
    for _ in range(2):
        assert stage.ask() is YES
    stage.until(lambda: any("short flood line" in line for line in stage.stderr))
    assert max(len(line.encode()) for line in stage.stderr) <= 512


@pytest.mark.parametrize("how", ["tells_before", "tells_after", "tells_in_pieces", "tells_parts", "tells_far_out"])
def test_the_secret_of_its_question(stage, how: str) -> None:
    stage.start(habit(how, {"tells_in_pieces": 50, "tells_after": 20, "tells_far_out": 505}.get(how, 0)))
    stage.ask(QUERY)
    stage.until(lambda: stage.stderr)
    worker = stage.worker
    worker.close_stdin()
    stage.until_gone()
    assert "***" in told(stage) or "withheld" in told(stage) or how == "tells_far_out"
    nothing_of_the_secret(stage)


def test_the_secret_as_its_last_words(stage) -> None:
    stage.start(habit("tells_without_newline"))
    stage.give(QUERY)
    stage.until_gone()
    assert "fatal: ***" in told(stage)
    nothing_of_the_secret(stage)


def test_the_secret_of_a_question_whose_time_is_over(stage) -> None:
    """It is not its query any more, and may still come out."""
    program = "import os; data = os.read(0, 999); os.read(0, 1); os.write(2, b'too late: ' + data[2:])"
    worker = stage.start((*PYTHON, program))
    stage.give(QUERY)
    worker.release()
    worker.close_stdin()
    stage.until_gone()
    assert "too late" in told(stage)
    nothing_of_the_secret(stage)


def test_the_secret_of_the_question_before(stage) -> None:
    program = (
        "import os\nfirst = os.read(0, 999)\nos.write(1, b'\\0\\2\\0\\0')\nos.read(0, 999)\n"
        "os.write(2, b'the one before: ' + first[2:] + b'\\n')\nos.write(1, b'\\0\\2\\0\\0')\nos.read(0, 1)"
    )
    stage.start((*PYTHON, program))
    stage.ask(QUERY)
    stage.ask(b"isuser:bob:example.com")
    stage.until(lambda: stage.stderr)
    assert "the one before" in told(stage)
    nothing_of_the_secret(stage)


def test_it_cannot_forge_a_line_or_a_sequence(stage) -> None:
    program = "import os; os.write(2, b'\\x1b[2J<0>fake\\r<1>second\\0third\\n<3>kernel: panic\\n'); os.read(0, 1)"
    stage.start((*PYTHON, program))
    stage.until(lambda: len(stage.stderr) == 2)
    for line in stage.stderr:
        assert line.isprintable()
        assert not line.startswith("<")


def test_stderr_closed_early_is_no_failure(stage) -> None:
    program = "import os\nos.close(2)\nwhile os.read(0, 999): os.write(1, b'\\0\\2\\0\\1')"
    stage.start((*PYTHON, program))
    for _ in range(3):
        assert stage.ask() is YES
    assert stage.worker.usable


def test_last_words_without_a_newline(stage) -> None:
    stage.start((*PYTHON, "import os; os.write(2, b'cannot open the database'); os._exit(1)"))
    stage.until_gone()
    assert stage.stderr == ["cannot open the database"]


def test_a_full_pipe_of_last_words(stage) -> None:
    """What was in the pipe when it ended is still read."""
    stage.start((*PYTHON, "import os; os.write(2, b'x' * 60000 + b'\\nlast\\n'); os._exit(1)"))
    stage.until_gone()
    assert stage.stderr[-1] == "last"
