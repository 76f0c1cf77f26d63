"""One Worker and one real program: what counts as a reply, and what kills."""

import os
import select
import signal
import sys

import pytest
from support.programs.bad import CHAMELEON, compiled, habit, style

from bridge.protocol.query import StandIn, Verdict
from bridge.worker.state import State

YES, NO = Verdict.GRANTED, Verdict.DENIED
GARBAGE = 12  # of chameleon.py


def question(user: str, *, right: bool = True) -> bytes:
    return f"auth:{user}:example.com:{'pw-' if right else 'wrong-'}{user}".encode()


PROGRAMS = {
    "python": lambda _: habit("good"),
    "reads byte by byte": lambda _: habit("nibbles"),
    "takes one read for one frame": lambda _: habit("one_read"),
    "perl": lambda folder: style("clean.pl", folder),
    "php": lambda folder: style("clean.php", folder),
    "c": compiled,
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_good_ones(stage, tmp_path, program: str) -> None:
    worker = stage.start(PROGRAMS[program](tmp_path))
    for number in range(20):
        right = number % 3 != 1
        assert stage.ask(question("alice", right=right)) is (YES if right else NO)
    assert worker.served == 20
    assert worker.state is State.ASKABLE
    assert stage.events == ["replied"] * 20


@pytest.mark.parametrize("size", [1, 127, 128, 255, 256, 2560, 4096, 8192, 32700])
def test_frames_of_every_size_arrive_whole(stage, size: int) -> None:
    stage.start(habit("one_read"))
    stage.ask(b"auth:alice:example.com:" + b"x" * size)
    assert [event.what for event in stage.journal.events("frame", "broken")] == ["frame"]


def test_slow(stage) -> None:
    stage.start(habit("good", 200))
    assert stage.ask() is YES


def test_a_reply_in_pieces(stage) -> None:
    stage.start(CHAMELEON)
    for right in (True, False, True):
        assert stage.ask(question("dribble30-alice", right=right)) is (YES if right else NO)
    assert stage.events == ["replied"] * 3


def test_silent(stage) -> None:
    """The worker decides nothing; the pool watches the deadline."""
    worker = stage.start(habit("silent"))
    query = stage.give()
    stage.until_noted("frame")
    assert worker.state is State.ASKABLE
    assert stage.events == []
    assert worker.release() is query
    worker.kill("it gave no reply in time")
    end = stage.until_gone()
    assert isinstance(end.query, StandIn)
    assert end.query.of is query
    assert worker.status == -9
    assert stage.events == ["retired", "failing", "ended", "gone"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_partial_reply_is_no_reply(stage, count: int) -> None:
    worker = stage.start(CHAMELEON)
    stage.give(question(f"partial{count}-alice"))
    stage.until_noted("frame")
    for _ in range(3):
        stage.reactor.run_once()
    assert worker.state is State.ASKABLE
    assert stage.verdicts == []
    worker.release()
    worker.kill("it gave no reply in time")
    stage.until_gone()
    assert stage.verdicts == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_partial_reply_and_dead(stage, count: int) -> None:
    stage.start(CHAMELEON)
    query = stage.give(question(f"partialdie{count}-alice"))
    end = stage.until_gone()
    assert (end.query, end.was_read) == (query, True)
    assert stage.verdicts == []


@pytest.mark.parametrize("which", range(GARBAGE))
def test_what_is_no_reply_kills(stage, which: int) -> None:
    worker = stage.start(CHAMELEON)
    query = stage.give(question(f"garbage{which}-alice"))
    end = stage.until_gone()
    assert (end.query, end.was_read) == (query, True)
    assert worker.status == -9
    assert stage.events == ["retired", "failing", "ended", "gone"]
    assert "not a reply" in stage.reasons[0]


def test_two_replies_at_once_kill(stage) -> None:
    """None of them counts: the program is out of step."""
    stage.start(CHAMELEON)
    query = stage.give(question("twice-alice"))
    end = stage.until_gone()
    assert end.query is query
    assert stage.verdicts == []


def test_a_second_reply_a_little_later_kills(stage) -> None:
    """Where both are read together, because we came late, not even the first one counts."""
    worker = stage.start(CHAMELEON)
    stage.give(question("after1-alice"))
    stage.until_gone()
    assert worker.status == -9
    together = "two replies" in stage.reasons[0]
    assert together or "nobody asked for" in stage.reasons[0]
    assert stage.verdicts == ([] if together else [YES])


def test_a_second_reply_that_is_already_there_is_seen_before_the_next_question(stage) -> None:
    """The reactor has not reported it yet: the check before lending finds it."""
    program = """
import os, signal
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"\\0\\2\\0\\1"))
while os.read(0, 999): os.write(1, b"\\0\\2\\0\\1")
"""
    worker = stage.start((sys.executable, "-I", "-S", "-B", "-c", program))
    assert stage.ask() is YES
    os.kill(worker.pid, signal.SIGUSR1)
    _wait_for_output(worker)
    query = stage.query(question("mallory", right=False))
    assert not worker.give(query)
    assert worker.query is None
    end = stage.until_gone()
    assert end.query is None
    assert stage.verdicts == [YES]


def test_a_yes_before_the_first_question(stage) -> None:
    worker = stage.start(habit("yes_ahead"))
    _wait_for_output(worker)
    query = stage.query(question("mallory", right=False))
    assert not worker.give(query)
    stage.until_gone()
    assert stage.verdicts == []


@pytest.mark.parametrize("reply", [0, 1])
def test_a_reply_to_a_question_that_nobody_has_read(stage, reply: int) -> None:
    """A "no" would do no harm to this question, but the program's next reply would go to the one after it."""
    program = f"""
import os, signal, time
os.read(0, 999)
os.write(1, b"\\0\\2\\0\\0")
signal.sigwait([signal.SIGUSR1])
os.write(1, b"\\0\\2\\0\\{reply}")
time.sleep(60)
"""
    argv = (sys.executable, "-I", "-S", "-B", "-c", "import signal\nsignal.pthread_sigmask(0, [10])" + program)
    worker = stage.start(argv)
    assert stage.ask(question("alice", right=False)) is NO
    query = stage.give(question("bob"))
    os.kill(worker.pid, signal.SIGUSR1)
    end = stage.until_gone()
    assert (end.query, end.was_read) == (query, False)
    assert stage.verdicts == [NO]
    assert "not a reply" in stage.reasons[0]


def test_text_before_the_first_question(stage) -> None:
    worker = stage.start(habit("banner"))
    _wait_for_output(worker)
    assert not worker.give(stage.query())
    stage.until_gone()
    assert "PHP Warning" in stage.reasons[0]


def test_text_before_the_first_question_seen_late(stage) -> None:
    """The question was sent before the text arrived: not a reply, whatever follows it."""
    worker = stage.start(habit("banner"))
    if worker.give(stage.query()):
        stage.until_gone()
    assert stage.verdicts == []


def test_endless_text(stage) -> None:
    stage.start(CHAMELEON)
    stage.give(question("babble-alice"))
    stage.until_gone()
    assert stage.verdicts == []
    assert len(stage.reasons) == 1
    assert len(stage.reasons[0]) < 300


def test_it_closes_its_stdout_and_lives_on(stage) -> None:
    stage.start(CHAMELEON)
    query = stage.give(question("mute-alice"))
    end = stage.until_gone()
    assert end.query is query
    assert stage.worker.status == -9


def test_a_program_says_the_frame_s_secret_on_stdout(stage, tmp_path) -> None:
    """The log line of a protocol error is masked, even if only the first part of the secret has arrived."""
    for count in (4, 5, 11, 12):
        program = f"import os; data = os.read(0, 999); os.write(1, b'debug: ' + data[-12:][:{count}]); os.read(0, 1)"
        stage.start((sys.executable, "-I", "-S", "-c", program))
        stage.give(b"auth:alice:example.com:hunter2-8F3x")
        stage.until_gone()
    assert len(stage.reasons) == 4
    for reason in stage.reasons:
        assert "debug" in reason
        assert "hun" not in reason
        assert "8F3" not in reason


def _wait_for_output(worker) -> None:
    """Wait until there is something to read, without telling the worker."""
    waiting = select.poll()
    waiting.register(worker._stdout, select.POLLIN)
    assert waiting.poll(20_000)
