"""An error of ours in a Worker ends its real program, and only that; the owner hears of it as of any other death."""

import os
import sys

import pytest
from support.programs.bad import habit

import bridge.worker.worker
from bridge.protocol.query import Query, Verdict
from bridge.worker.state import State
from bridge.worker.stderrlines import Lines
from bridge.worker.worker import Worker

YES = Verdict.GRANTED
PYTHON = (sys.executable, "-I", "-S", "-B", "-c")


class Fault(Exception):
    """Its text is a secret."""


def fail(*_arguments: object) -> None:
    raise Fault("secret")


@pytest.mark.parametrize("name", ["_verdict_of", "_read"])
def test_while_a_reply_is_read(stage, monkeypatch, name: str) -> None:
    worker = stage.start(habit("good"))
    assert stage.ask() is YES
    monkeypatch.setattr(worker if name == "_verdict_of" else bridge.worker.worker, name, fail)
    query = stage.give()
    stage.until(lambda: stage.reasons)
    monkeypatch.undo()
    assert stage.until_gone().query is query, "it is asked again, or given up"
    assert stage.verdicts == [YES]
    assert stage.events == ["replied", "retired", "failing", "ended", "gone"]
    assert stage.reasons[0].startswith("internal error: Fault at bridge/worker/worker.py")
    assert "secret" not in stage.reasons[0]


@pytest.mark.parametrize("hand_over", [Worker.give, Worker.hand_over])
def test_while_a_question_is_handed_over(stage, monkeypatch, hand_over) -> None:
    """The question may be to blame: as it stays with the program, it is not asked over and over."""
    worker, query = stage.start(habit("good")), stage.query()
    monkeypatch.setattr(worker, "_headers", ())  # so that looking one up raises
    assert hand_over(worker, query)
    monkeypatch.undo()
    assert stage.until_gone().query is query
    assert stage.events == ["retired", "failing", "ended", "gone"]


def test_when_its_owner_fails_over_a_reply_before_the_asker_is_told(stage, monkeypatch) -> None:
    stage.start(habit("good"))
    monkeypatch.setattr(stage, "replied", fail)
    query = stage.give()
    assert stage.until_gone().query is query, "it is asked again, or given up"
    assert stage.ended_with.was_read


def test_when_its_owner_fails_over_a_reply_after_the_asker_was_told(stage, monkeypatch) -> None:
    stage.start(habit("good"))

    def fail_late(_worker: Worker, query: Query, verdict: Verdict) -> None:
        query.settle(verdict)
        fail()

    monkeypatch.setattr(stage, "replied", fail_late)
    query = stage.give()
    assert stage.until_gone().query is None
    assert query.verdict is YES


def test_when_its_owner_fails_over_a_program_that_closed_its_stdin(stage, monkeypatch) -> None:
    """Whoever gives it a question must learn whether it was taken."""
    worker, query = stage.start((*PYTHON, "import os, signal; os.close(0); os.close(2); signal.pause()")), stage.query()
    os.set_blocking(worker._process.stderr, True)
    os.read(worker._process.stderr, 1)  # it has closed both
    monkeypatch.setattr(stage, "failing", fail)
    assert worker.hand_over(query)
    assert stage.until_gone().query is query


def test_while_an_idle_program_is_looked_at(stage, monkeypatch) -> None:
    worker = stage.start(habit("good"))
    monkeypatch.setattr(worker, "_look", fail)
    assert not worker.give(stage.query())
    stage.until_gone()
    assert stage.events == ["retired", "failing", "ended", "gone"]


@pytest.mark.parametrize(
    "name, times", [("_read_stderr", 1), ("_read_stderr", 10**9), ("was_read", 1), ("was_read", 3), ("_close", 3)]
)
def test_while_its_end_is_looked_after(stage, monkeypatch, name: str, times: int) -> None:
    """It is tried again until it is done: however far the first try got, nothing of the program is left."""
    worker = stage.start(habit("good"))
    query = stage.give()
    stage.until(lambda: stage.verdicts)
    method, left = getattr(worker, name), [times]

    def fail_at_first() -> object:
        if left[0]:
            left[0] -= 1
            raise Fault("secret")
        return method()

    monkeypatch.setattr(worker, name, fail_at_first)
    query = stage.give(b"setpass:hang-alice:example.com:x")
    os.kill(worker.pid, 9)
    end = stage.until_gone()
    assert end.query is query or stage.verdicts == [YES, YES]
    assert [one for one in stage.events if one != "replied"] == ["retired", "failing", "ended", "gone"]


def test_what_an_error_came_of_is_not_heard_to_its_end(stage, monkeypatch) -> None:
    """After an error, half a line may be half a secret, which could not be recognised."""
    told: list[str] = []

    def fail_to_tell(_worker: Worker, lines: Lines) -> None:
        told.extend(map(str, lines))
        raise Fault("secret")

    monkeypatch.setattr(stage, "complained", fail_to_tell)
    worker = stage.start((*PYTHON, r"import os, signal; os.write(2, b'one\ntwo'); signal.pause()"))
    stage.until(lambda: stage.reasons)
    assert worker.state in (State.MUTED, State.GONE)
    stage.until_gone()
    assert told == ["one"]
    assert stage.events == ["retired", "failing", "ended", "gone"]


def test_an_owner_s_error_does_not_keep_others_from_hearing_of_the_end(stage, monkeypatch) -> None:
    reported: list[Exception] = []
    stage.reactor.report = reported.append
    worker = stage.start(habit("good"))
    monkeypatch.setattr(stage, "ended", fail)
    worker.close_stdin()
    stage.until(lambda: "gone" in stage.events)
    assert worker.state is State.GONE
