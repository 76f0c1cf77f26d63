"""One Worker and one real program that writes on stderr: always drained, never a secret."""

import array
import fcntl
import math
import signal
import statistics
import sys
import termios
import time
from collections.abc import Callable

import pytest
from support.programs.bad import CHAMELEON, habit

from bridge.protocol.query import Verdict
from bridge.worker.state import State
from bridge.worker.stderrlines import FORGOTTEN

YES = Verdict.GRANTED
PYTHON = (sys.executable, "-I", "-S", "-B", "-c")
SECRET = b"Tr0ub4dor&3:x"
QUERY = b"auth:alice:example.com:" + SECRET


def told(stage) -> str:
    return "\n".join(stage.stderr)


def unread(worker) -> int:
    """Bytes in the pipe from its stderr."""
    count = array.array("i", [0])
    fcntl.ioctl(worker._process.stderr, termios.FIONREAD, count)
    return count[0]


def nothing_of_the_secret(stage) -> None:
    """Neither it nor a part of it that would help."""
    text = told(stage) + "".join(stage.reasons)
    for start in range(len(SECRET) - 4):
        assert SECRET[start : start + 5].decode() not in text


def test_lines(stage) -> None:
    stage.start(CHAMELEON)
    assert stage.ask(b"auth:noise3-alice:example.com:pw-noise3-alice") is YES
    stage.until(lambda: len(stage.stderr) == 3)
    assert stage.stderr == ["chameleon: a notice on stderr"] * 3
    assert stage.worker.state is State.ASKABLE


def test_a_dump_does_not_block_the_program(stage) -> None:
    """Hundreds of kilobytes before each reply: more than any pipe holds."""
    stage.start(habit("floods", 400))
    for _ in range(2):
        assert stage.ask() is YES
    stage.until(lambda: any("short flood line" in line for line in stage.stderr))
    assert max(len(line.encode()) for line in stage.stderr) <= 512
    assert stage.worker.state is State.ASKABLE


def replies_at_its_pace(stage) -> Callable[[], bool]:
    """Have time pass only in pauses; whether it has replied, or gone.

    A pause is over once the program has filled its pipe: on a busy machine, too, it writes as fast as it may.
    """
    now = [0.0]
    stage.clock = lambda: now[0]

    def done() -> bool:
        pause = stage.worker._stderr._pause
        if stage.worker.state is State.ASKABLE and pause.when < math.inf and unread(stage.worker) > 55_000:
            now[0] = pause.when
        return bool(stage.verdicts) or stage.worker.state is State.GONE

    return done


def test_a_flood_is_slowed_and_then_ended(stage) -> None:
    """Its answers count meanwhile; only its stderr waits."""
    done = replies_at_its_pace(stage)
    worker = stage.start(habit("floods_beside"))
    stage.until(lambda: stage.pauses)
    assert stage.ask() is YES
    stage.verdicts.clear()
    stage.until(done)
    assert stage.reasons == ["it floods its stderr"]
    assert stage.clock() == 10
    assert worker.status == -signal.SIGKILL
    assert stage.pauses[:40] == [number * 0.25 for number in range(40)]


def test_a_flood_that_ends_in_time_is_only_slowed(stage) -> None:
    """Two megabytes, then silence: it blocks in its write until all is read."""
    done = replies_at_its_pace(stage)
    worker = stage.start(habit("floods", 2000))
    stage.give()
    stage.until(done)
    assert stage.verdicts == [YES]
    assert stage.pauses
    assert worker.state is State.ASKABLE


def question(number: int, secret: bytes) -> bytes:
    return b"auth:alice%d:example.com:%s" % (number, secret)


def said(stage, count: int) -> list[str]:
    """The next lines, once there are that many."""
    stage.until(lambda: len(stage.stderr) >= count)
    lines, stage.stderr[:] = stage.stderr[:], []
    return lines


@pytest.mark.parametrize("count", [1, 5, 64])
def test_the_secrets_of_many_questions_that_come_out_together(stage, count: int) -> None:
    stage.start(habit("tells_late", count))
    for _ in range(2):
        for number in range(count):
            stage.ask(question(number, b"zq7:%d:Tr0ub4dor" % number))
        assert said(stage, count) == ["debug: the password was ***"] * count


@pytest.mark.parametrize("count", [67, 200])
def test_the_secrets_of_more_questions_than_are_remembered(stage, count: int) -> None:
    stage.start(habit("tells_late", count))
    for number in range(count):
        stage.ask(question(number, b"Tr0ub4dor%d" % number))
    lines = said(stage, count)
    assert lines == [FORGOTTEN] * count


def test_words_after_a_long_silence_are_withheld_and_what_follows_is_not(stage) -> None:
    program = (
        "import os\nfor number in range(106):\n os.read(0, 999)\n"
        " if number >= 100: os.write(2, b'number %d\\n' % number)\n"
        " os.write(1, b'\\0\\2\\0\\1')\nos.read(0, 1)"
    )
    stage.start((*PYTHON, program))
    for _ in range(106):
        stage.ask(QUERY)
    assert said(stage, 6) == [FORGOTTEN] * 3 + ["number 103", "number 104", "number 105"]


@pytest.mark.parametrize("secret", [b":".join(b"%04d" % n for n in range(61)), b"x:" * 2000], ids=["60", "2000"])
def test_secrets_of_many_colons_take_no_time(stage, secret: bytes) -> None:
    """64 of them, for each line of a program that writes one for each question."""
    stage.start(habit("tells_before"), max_line=8192)
    took: list[float] = []
    complained = stage.complained

    def timed(worker, lines) -> None:
        began = time.thread_time()
        complained(worker, lines)
        took.append(time.thread_time() - began)

    stage.complained = timed
    for number in range(100):
        stage.ask(question(number, secret + b"%d" % number))
    assert len(took) >= 64
    assert statistics.median(took[64:]) < 0.015
    assert "0012" not in told(stage)


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
    """The program no longer has the query, but may still print its secret."""
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
    assert stage.worker.state is State.ASKABLE


def test_last_words_without_a_newline(stage) -> None:
    stage.start((*PYTHON, "import os; os.write(2, b'cannot open the database'); os._exit(1)"))
    stage.until_gone()
    assert stage.stderr == ["cannot open the database"]


def test_a_full_pipe_of_last_words(stage) -> None:
    """What was in the pipe when it ended is still read."""
    stage.start((*PYTHON, "import os; os.write(2, b'x' * 60000 + b'\\nlast\\n'); os._exit(1)"))
    stage.until_gone()
    assert stage.stderr[-1] == "last"
