"""One Worker and one real program that dies: what happens to its question, and that nothing is left."""

import contextlib
import os
import select
import signal
import subprocess
import sys

import pytest
from support import procfs
from support.process import environment
from support.programs.bad import CHAMELEON, habit

from bridge.protocol.query import Verdict
from bridge.worker.state import State

YES = Verdict.GRANTED
NEVER_READS = ("/bin/sleep", "1000")
PYTHON = (sys.executable, "-I", "-S", "-B", "-c")


def question(user: str) -> bytes:
    return f"auth:{user}:example.com:pw-{user}".encode()


def reads(count: int) -> tuple[str, ...]:
    """A program that reads `count` bytes of its first frame, and is killed."""
    return (*PYTHON, f"import os; os.read(0, {count}); os.kill(os.getpid(), 9)")


# --- what becomes of its question ------------------------------------------------------------------------


def test_a_reply_and_then_gone(stage) -> None:
    worker = stage.start(habit("once", 0))
    assert stage.ask() is YES
    end = stage.until_gone()
    assert end.query is None
    assert worker.status == 0
    assert stage.events == ["replied", "retired", "failing", "ended", "gone"]


def test_a_reply_and_gone_before_anybody_looked(stage) -> None:
    """The exit may be reported first; the reply is still in the pipe, and valid."""
    worker = stage.start(habit("once", 3))
    stage.give()
    _wait_for_exit(worker)
    stage.until_gone()
    assert stage.verdicts == [YES]
    assert worker.status == 3


def test_two_replies_and_gone(stage) -> None:
    stage.start((*PYTHON, "import os; os.read(0, 99); os.write(1, b'\\0\\2\\0\\1' * 2)"))
    query = stage.give()
    _wait_for_exit(stage.worker)
    assert stage.until_gone().query is query
    assert stage.verdicts == []


def test_dead_before_it_read_anything(stage) -> None:
    worker = stage.start(NEVER_READS)
    query = stage.give()
    worker.signal(signal.SIGTERM)
    end = stage.until_gone()
    assert (end.query, end.was_read) == (query, False)
    assert worker.status == -signal.SIGTERM


def test_dead_before_the_question_came(stage) -> None:
    worker = stage.start(habit("stillborn", 4))
    _wait_for_exit(worker)
    query = stage.query()
    assert not worker.give(query)
    assert stage.until_gone().query is None
    assert worker.status == 4


def test_dead_after_it_read_all(stage) -> None:
    stage.start(CHAMELEON)
    query = stage.give(question("die3-alice"))
    end = stage.until_gone()
    assert (end.query, end.was_read) == (query, True)
    assert stage.worker.status == 3


def test_killed_by_a_signal_of_its_own(stage) -> None:
    stage.start(CHAMELEON)
    query = stage.give(question("crash-alice"))
    end = stage.until_gone()
    assert (end.query, end.was_read) == (query, True)
    assert stage.worker.status == -9


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_dead_after_it_read_a_part(stage, count: int) -> None:
    """One byte is enough: it may have acted on the question."""
    stage.start(reads(count))
    query = stage.give()
    end = stage.until_gone()
    assert (end.query, end.was_read) == (query, True)


@pytest.mark.parametrize("count", [1, 10, 30])
def test_a_no_to_a_frame_that_was_read_in_part(stage, count: int) -> None:
    """What is left of the frame would be taken for the next one: the program is out of step."""
    stage.start((*PYTHON, f"import os, signal; os.read(0, {count}); os.write(1, b'\\0\\2\\0\\0'); signal.pause()"))
    query = stage.give()
    end = stage.until_gone()
    assert (end.query, end.was_read) == (query, True)
    assert stage.verdicts == []


def test_it_closes_its_stdin(stage) -> None:
    """EPIPE is no signal for us, and the question is free for another."""
    worker = stage.start(habit("deaf"))
    _wait_until_deaf(worker)
    query = stage.query()
    assert not worker.give(query)
    assert worker.query is None
    assert stage.until_gone().query is None
    assert stage.events == ["retired", "failing", "ended", "gone"]


def test_one_that_never_reads_what_it_answers(stage) -> None:
    """Its pipe fills up; a frame that fits only in part ends it, and so does one that does not fit at all."""
    worker = stage.start((*PYTHON, "import os\nwhile True: os.write(1, b'\\0\\2\\0\\0'); os.read(0, 1)"))
    long = b"auth:alice:example.com:" + b"x" * 32000
    for _ in range(3):
        if worker.state is not State.ASKABLE:
            break
        count = len(stage.events)
        worker.give(stage.query(long))
        stage.until(lambda count=count: len(stage.events) > count)
    assert worker.state is not State.ASKABLE
    stage.until_gone()
    assert Verdict.GRANTED not in stage.verdicts


def test_stopped_it_dies_of_sigkill_only(stage) -> None:
    worker = stage.start(CHAMELEON)
    query = stage.give(question("freeze-alice"))
    stage.until(lambda: procfs.is_stopped(worker.pid))
    worker.signal(signal.SIGTERM)
    stage.reactor.run_once()
    assert worker.state is not State.GONE
    worker.kill("it gave no reply in time")
    assert stage.until_gone().query is query


def test_failing_is_told_once(stage) -> None:
    worker = stage.start(habit("silent"))
    for _ in range(3):
        worker.kill("first")
    worker.close_stdin()
    worker.kill("second")
    stage.until_gone()
    worker.kill("third")
    worker.signal(signal.SIGKILL)
    worker.close_stdin()
    assert stage.events == ["retired", "failing", "ended", "gone"]
    assert stage.reasons == ["first"]


def test_a_signal_after_its_end_reaches_nobody(stage) -> None:
    """Its number may be another process's by now."""
    worker = stage.start(habit("stillborn"))
    stage.until_gone()
    with subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True) as other:
        worker.pid, pid = other.pid, worker.pid
        worker.signal(signal.SIGKILL)
        assert other.poll() is None
        other.kill()
        worker.pid = pid


# --- those it leaves behind ------------------------------------------------------------------------------


def test_a_grandchild_that_keeps_the_pipes(stage) -> None:
    """A dead program's reply counts, its end is seen although no pipe shows it, and the rest of its group is killed."""
    stage.start(habit("orphans"))
    assert stage.ask() is YES
    stage.until_gone()
    (grandchild,) = stage.until_noted("grandchild")
    stage.until(lambda: not procfs.alive(grandchild))


def test_a_grandchild_that_ignores_sigterm(stage) -> None:
    worker = stage.start(habit("grandchild"))
    (grandchild,) = stage.until_noted("grandchild")
    assert stage.ask() is YES
    worker.signal(signal.SIGTERM)
    stage.until_gone()
    stage.until(lambda: not procfs.alive(grandchild))


def test_dead_with_a_question_while_a_grandchild_keeps_the_pipes(stage) -> None:
    stage.start(habit("dies_with_heir"))
    query = stage.give()
    end = stage.until_gone()
    assert (end.query, end.was_read) == (query, True)


def test_a_grandchild_out_of_reach(stage) -> None:
    """In its own session it survives; it costs us no descriptor and no zombie."""
    worker = stage.start(habit("daemon"))
    (grandchild,) = stage.until_noted("grandchild")
    try:
        assert stage.ask() is YES
        worker.kill("enough")
        stage.until_gone()
        assert procfs.alive(grandchild)
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_nothing_is_left_after_many(stage) -> None:
    """The fixture counts processes, zombies and descriptors."""
    for habit_name in ("once", "stillborn", "silent", "good", "deaf", "denies") * 5:
        worker = stage.start(habit(habit_name))
        with contextlib.suppress(AssertionError):
            stage.give()
        worker.kill("enough")
    stage.until(lambda: all(worker.state is State.GONE for worker in stage.workers))


def test_where_children_are_reaped_behind_our_back() -> None:
    """SIGCHLD ignored, as some parents leave it: prepare_for_children() undoes that before the first start."""
    code = """
import signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from bridge.worker.spawn import prepare_for_children
prepare_for_children()
from support.inmemory.pools import made
from bridge.pool.pool import Pool
from bridge.pool.starts import Starts
from bridge.loop.reactor import Reactor
settings = made("/bin/true", pool_size=1)
reactor = Reactor()
starts, attention = Starts(Reactor().call_at, time.monotonic), lambda pool: None
pool = Pool("default", settings.program, settings, reactor, starts, attention)
pool.staff.start()
until = time.monotonic() + 20
while pool.workers and time.monotonic() < until:
    reactor.run_once()
print(pool.figures.starts, len(pool.workers))
"""
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env = environment()
    env["PYTHONPATH"] += os.pathsep + tests
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60, check=False)
    assert done.stdout.decode().strip() == "1 0", done.stderr.decode()


def _wait_for_exit(worker) -> None:
    """Wait until the process has ended, without telling the worker."""
    exited = select.poll()
    exited.register(worker._process.exited, select.POLLIN)
    assert exited.poll(20_000)


def _wait_until_deaf(worker) -> None:
    """Wait until nobody reads the program's stdin any more."""
    broken = select.poll()
    broken.register(worker._process.stdin, 0)
    assert broken.poll(20_000)
