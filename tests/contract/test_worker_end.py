"""One Worker and one real program that is to exit: what end of input, SIGTERM and SIGKILL do."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import procfs
from support.programs.bad import CHAMELEON, habit
from support.programs.otheruser import changes_user

from bridge.protocol.query import Verdict
from bridge.worker.state import State

PYTHON = (sys.executable, "-I", "-S", "-B", "-c")
YES = Verdict.GRANTED
OTHER = 65533
"""Some user's number."""


def test_end_of_input(stage) -> None:
    worker = stage.start(habit("good"))
    stage.ask()
    worker.close_stdin()
    end = stage.until_gone()
    assert end.query is None
    assert worker.status == 0
    assert stage.reasons == []
    assert stage.events == ["replied", "retired", "ended", "gone"], "it did not fail"


def test_end_of_input_twice(stage) -> None:
    worker = stage.start(habit("good"))
    worker.close_stdin()
    worker.close_stdin()
    stage.until_gone()
    assert stage.events == ["retired", "ended", "gone"]


def test_a_question_that_was_asked_before_the_end_of_input(stage) -> None:
    """Closing its stdin takes it out of service; a reply does not put it back."""
    worker = stage.start(CHAMELEON)
    query = stage.give(b"auth:slow50-alice:example.com:x")
    worker.close_stdin()
    end = stage.until_gone()
    assert end.query is query
    assert stage.verdicts == []


@pytest.mark.parametrize(
    ("how", "ends_by"),
    [
        ("good", "input"),
        ("leaves_slowly", "input"),
        ("silent", "input"),
        ("ignores_term", "input"),
        ("ignores_end", "term"),
        ("spins", "term"),
        ("ignores_both", "kill"),
    ],
)
def test_what_each_of_them_needs(stage, how: str, ends_by: str) -> None:
    worker = stage.start(habit(how, 50 if how == "leaves_slowly" else 0))
    stage.until_noted("start")
    assert how == "silent" or stage.ask() is Verdict.GRANTED
    worker.close_stdin()
    stage.until_noted("end")
    if ends_by != "input":
        assert worker.state is not State.GONE
        assert procfs.alive(worker.pid)
        worker.signal(signal.SIGTERM)
    if ends_by == "kill":
        stage.until_noted("ignored")
        assert worker.state is not State.GONE
        worker.signal(signal.SIGKILL)
    stage.until_gone()
    assert worker.status == {"input": 0, "term": -15, "kill": -9}[ends_by]
    assert "failing" not in stage.events


def test_the_whole_group_is_told(stage) -> None:
    """The grandchild of a shell script gets its SIGTERM too."""
    worker = stage.start(("/bin/sh", "-c", "sleep 1000; exit 0"))
    stage.until(lambda: procfs.children(worker.pid))
    (sleeper,) = procfs.children(worker.pid)
    worker.signal(signal.SIGTERM)
    stage.until_gone()
    stage.until(lambda: not procfs.alive(sleeper.pid))


def test_what_it_leaves_in_its_group_goes_with_it(stage) -> None:
    worker = stage.start(habit("grandchild"))
    (grandchild,) = stage.until_noted("grandchild")
    worker.close_stdin()
    stage.until_gone()
    stage.until(lambda: not procfs.alive(grandchild))


def test_one_that_closes_its_stdout_first_and_then_saves_its_work(stage, tmp_path) -> None:
    saved = tmp_path / "saved"
    program = f"import os, time\nos.read(0, 1)\nos.close(1)\ntime.sleep(0.3)\nopen({str(saved)!r}, 'w').close()"
    worker = stage.start((*PYTHON, program))
    worker.close_stdin()
    stage.until_gone()
    assert worker.status == 0
    assert saved.exists()


def test_one_that_says_goodbye_and_then_saves_its_work(stage, tmp_path) -> None:
    saved = tmp_path / "saved"
    program = f"import os, time\nos.read(0, 1)\nos.write(1, b'bye')\ntime.sleep(0.3)\nopen({str(saved)!r}, 'w').close()"
    worker = stage.start((*PYTHON, program))
    worker.close_stdin()
    stage.until_gone()
    assert worker.status == 0
    assert saved.exists()


def test_reaping_one_that_nobody_drives_any_more(stage) -> None:
    worker = stage.start(habit("ignores_both"))
    stage.until_noted("start")
    worker.reap(20.0)
    assert worker.state is State.GONE
    assert procfs.process(worker.pid) is None
    worker.reap(20.0)


def test_reaping_does_not_wait_longer_than_it_is_told(stage) -> None:
    """Whether it is dead cannot be told: 0 seconds are for a caller without time left."""
    worker = stage.start(habit("ignores_both"))
    stage.until_noted("start")
    worker.reap(0.0)
    assert worker.state is State.GONE
    with contextlib.suppress(ChildProcessError):  # its zombie is ours to collect
        os.waitpid(worker.pid, 0)


# --- one that we may not kill ----------------------------------------------------------------------------


@contextlib.contextmanager
def as_another_user() -> Iterator[None]:
    """Without the right to kill anybody else's processes."""
    os.setresuid(OTHER, OTHER, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_one_that_has_changed_its_user(stage, tmp_path: Path) -> None:
    """The owner is told once, however often it is killed; the worker is gone when the process is, and not before."""
    worker = stage.start((changes_user(tmp_path),))
    assert stage.ask() is YES  # it has changed it by now
    query = stage.give(b"auth:hang:example.com:x")
    with as_another_user():
        worker.kill("it gave no reply in time")
        worker.kill("again")
        worker.signal(signal.SIGKILL)
        stage.reactor.run_once()
    assert stage.events == ["replied", "retired", "failing", "may not kill"]
    assert procfs.alive(worker.pid)
    worker.signal(signal.SIGKILL)
    assert stage.until_gone().query is query
    assert stage.events[4:] == ["ended", "gone"]


def test_one_that_has_changed_its_user_and_left_a_child_that_has_not(stage, tmp_path: Path) -> None:
    """Killing their group succeeds, as the child may be killed."""
    both = f"setpriv --reuid={OTHER} --clear-groups sleep 1000 <&- >&- 2>&- & exec {changes_user(tmp_path)}"
    worker = stage.start(("/bin/sh", "-c", both))
    assert stage.ask() is YES
    (child,) = procfs.children(worker.pid)
    stage.until(lambda: procfs.arguments(child.pid)[:1] == ["sleep"])
    with as_another_user():
        worker.kill("it gave no reply in time")
    stage.until(lambda: not procfs.alive(child.pid))
    assert stage.events == ["replied", "retired", "failing", "may not kill"]
    assert procfs.alive(worker.pid)
    worker.signal(signal.SIGKILL)
    stage.until_gone()


def test_one_that_has_changed_its_user_and_leaves(stage, tmp_path: Path) -> None:
    """Its group is killed all the same, for the sake of its children; nobody may kill its zombie, nor need to."""
    worker = stage.start((changes_user(tmp_path),))
    assert stage.ask() is YES
    with as_another_user():
        worker.close_stdin()
        stage.until_gone()
    assert stage.events == ["replied", "retired", "ended", "gone"]
