"""The caller's descriptors: files, sockets, pipes, missing ones; and as they were found afterwards."""

import fcntl
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.process import Bridge
from support.programs import oracle
from support.programs.bad import CHAMELEON, Journal, habit

from .conftest import Start

pytestmark = pytest.mark.slow

LINES = [f"isuser:{'no' if number % 3 else 'u'}{number}:example.com".encode() for number in range(2_000)]
ANSWERS = "".join(oracle.best_answer(line) + "\n" for line in LINES)
RUN = ("run", "--pool-size", 2, "--answer-timeout", 10, "--", *CHAMELEON)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A regular file with lines, the last one without its newline."""
    path = tmp_path / "questions"
    path.write_bytes(b"\n".join(LINES))
    return path


def run_to_the_end(bridge: Bridge) -> None:
    assert bridge.wait() == 0, bridge.tail()
    bridge.check_nothing_left()


def test_regular_files(start: Start, questions: Path, tmp_path: Path) -> None:
    """`run < questions > answers`; epoll(7) takes neither."""
    answers = tmp_path / "answers"
    with questions.open("rb") as stdin, answers.open("wb") as stdout:
        run_to_the_end(start(*RUN, stdin=stdin.fileno(), stdout=stdout.fileno()))
    assert answers.read_text() == ANSWERS


def test_regular_files_are_read_and_written_from_where_they_stand(
    start: Start, questions: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "answers"
    answers.write_text("kept\n")
    with questions.open("rb", buffering=0) as stdin, answers.open("ab") as stdout:
        for _ in LINES[:100]:
            stdin.readline()
        run_to_the_end(start(*RUN, stdin=stdin.fileno(), stdout=stdout.fileno()))
    assert answers.read_text() == "kept\n" + ANSWERS[200:]


def test_a_file_in_and_a_pipe_out(start: Start, questions: Path) -> None:
    with questions.open("rb") as stdin:
        bridge = start(*RUN, stdin=stdin.fileno())
    bridge.expect(len(LINES))
    run_to_the_end(bridge)
    assert bytes(bridge.raw).decode() == ANSWERS


def test_a_pipe_in_and_a_file_out(start: Start, tmp_path: Path) -> None:
    """The answers are there while the input is still open."""
    answers = tmp_path / "answers"
    with answers.open("wb") as stdout:
        bridge = start(*RUN, stdout=stdout.fileno())
    bridge.send(b"\n".join(LINES) + b"\n")
    bridge.until(lambda: answers.stat().st_size == len(ANSWERS), "all answers in the file")
    bridge.close_input()
    run_to_the_end(bridge)
    assert answers.read_text() == ANSWERS


def test_nothing_to_read(start: Start) -> None:
    with open("/dev/null", "rb") as null:
        bridge = start(*RUN, stdin=null.fileno())
    run_to_the_end(bridge)
    assert bridge.verdicts == []


@pytest.mark.parametrize("shared", [True, False])
def test_sockets(start: Start, shared: bool) -> None:
    """One socket for both directions, as from inetd, or one for each."""
    ours, theirs = socket.socketpair()
    ours_too, theirs_too = (ours, theirs) if shared else socket.socketpair()
    bridge = start(*RUN, stdin=theirs.fileno(), stdout=theirs_too.fileno(), ends=(ours.fileno(), ours_too.fileno()))
    ours.detach()
    ours_too.detach()
    theirs.close()
    theirs_too.close()
    answers = bridge.converse(LINES)
    assert "".join(answer.verdict + "\n" for answer in answers) == ANSWERS
    bridge.finish()


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)], ids=str)
def test_descriptors_that_are_closed_at_start(start: Start, journal: Journal, closed: tuple[int, ...]) -> None:
    """Pipes to programs may get these numbers; no answer and no log line must end up in one."""

    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    bridge = start(*RUN, prepare=close, env=journal.environment)
    bridge.send(b"isuser:alice:example.com\nbogus\n")
    if closed == (2,):
        assert [answer.verdict for answer in bridge.wait_for_answers(2)] == ["1", "0"]
        bridge.finish()
    else:
        bridge.close_input()
        # The documents leave open whether this is end of input or an error, not that it ends.
        assert bridge.wait() in (0, 2)
        bridge.check_nothing_left()
    assert set(journal.frames()) <= {b"isuser:alice:example.com"}
    assert not journal.events("broken")


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_the_reader_of_the_answers_goes_away(start: Start, kind: str) -> None:
    """While the input stays open and a question is in flight."""
    output, theirs = os.pipe() if kind == "pipe" else (end.detach() for end in socket.socketpair())
    bridge = start(*RUN, stdout=theirs, ends=(None, output))
    os.close(theirs)
    bridge.converse(LINES[:100])
    bridge.queue(b"isuser:slow200-alice:example.com")
    bridge.until(lambda: bridge.sent == 101, "the line to be sent")
    bridge.close_output()
    assert bridge.wait(10) == 0, bridge.tail()
    bridge.check_nothing_left()


def both_ends(kind: str, path: Path) -> tuple[int, int, int, int]:
    """stdin and stdout for a bridge, then this side's ends of them."""
    if kind == "pipe":
        (stdin, mine_in), (mine_out, stdout) = os.pipe(), os.pipe()
        return stdin, stdout, mine_in, mine_out
    ours, theirs = socket.socketpair()
    ours_too, theirs_too = socket.socketpair()
    return theirs.detach(), theirs_too.detach(), ours.detach(), ours_too.detach()


def flags_of(descriptors: tuple[int, int]) -> list[int]:
    return [fcntl.fcntl(descriptor, fcntl.F_GETFL) for descriptor in descriptors]


def end_by_input(bridge: Bridge) -> None:
    bridge.close_input()
    assert bridge.wait() == 0


def end_by_term(bridge: Bridge) -> None:
    bridge.signal(signal.SIGTERM)
    assert bridge.wait() == 0


def end_by_kill(bridge: Bridge) -> None:
    bridge.queue(b"isuser:slow50-alice:example.com")
    bridge.pump(1)
    bridge.signal(signal.SIGKILL)
    assert bridge.wait() == -signal.SIGKILL


@pytest.mark.parametrize("end", [end_by_input, end_by_term, end_by_kill])
@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_blocking_or_not_is_the_callers_choice(
    start: Start, tmp_path: Path, kind: str, blocking: bool, end: Callable[[Bridge], None]
) -> None:
    """O_NONBLOCK belongs to the open file, which the caller shares: during the run, after it, after a crash."""
    stdin, stdout, mine_in, mine_out = both_ends(kind, tmp_path)
    shared = (stdin, stdout)
    for descriptor in shared:
        os.set_blocking(descriptor, blocking)
    before = flags_of(shared)
    bridge = start("run", "--pool-size", 1, "--", *CHAMELEON, stdin=stdin, stdout=stdout, ends=(mine_in, mine_out))
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    assert flags_of(shared) == before
    bridge.converse(LINES[:300])
    assert flags_of(shared) == before
    end(bridge)
    assert flags_of(shared) == before
    for descriptor in shared:
        os.close(descriptor)


def test_the_input_is_not_read_beyond_its_end_twice(start: Start) -> None:
    """Two bridges on one pipe, one after the other: what the first did not read is there for the second."""
    stdin, mine = os.pipe()
    first = start("run", "--pool-size", 1, "--", *habit("good"), stdin=stdin, ends=(mine, None))
    assert first.ask(b"isuser:alice:example.com").verdict == "1"
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    second = start("run", "--pool-size", 1, "--", *habit("good"), stdin=stdin, ends=(os.dup(mine), None))
    os.close(stdin)
    assert second.ask(b"isuser:bob:example.com").verdict == "1"
    first.close_input()
    second.finish()
