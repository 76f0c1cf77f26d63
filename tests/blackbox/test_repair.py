"""Programs that cannot start, die in a loop, talk out of turn or wear out: replaced, at a measured pace."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support import procfs
from support.components import command
from support.process import COMMAND, Bridge
from support.programs.bad import CHAMELEON, Journal, compiled, habit
from support.programs.otheruser import as_somebody_else

from .conftest import Start

pytestmark = pytest.mark.slow

GOOD = b"isuser:alice:example.com"


def ask_for(bridge: Bridge, seconds: float, line: bytes = GOOD) -> list[tuple[float, str, float]]:
    """Ask one line after the other for a while: when, what came, how long it took."""
    begun, rows = time.monotonic(), []
    while (now := time.monotonic() - begun) < seconds:
        answer = bridge.ask(line)
        rows.append((now, answer.verdict, answer.seconds))
        if answer.seconds < 0.01:
            bridge.pump(0.01)  # a `0` at once: no need to ask a thousand times a second
    return rows


# --- nothing can answer ------------------------------------------------------------------------------


def make_missing(path: Path) -> None:
    """Nothing there at all."""


def make_not_executable(path: Path) -> None:
    path.write_text("#!/bin/sh\nexec cat\n")


def make_directory(path: Path) -> None:
    path.mkdir()


def make_empty(path: Path) -> None:
    path.touch(0o755)


BROKEN = [make_missing, make_not_executable, make_directory, make_empty]


@pytest.mark.parametrize("make", BROKEN)
def test_a_program_that_cannot_start(start: Start, tmp_path: Path, make: Callable[[Path], None]) -> None:
    """`0` in time from the first line on, at once while no start is due; right answers once it can start."""
    program = tmp_path / "program"
    make(program)
    bridge = start("run", "--pool-size", 2, "--answer-timeout", 0.3, "--", program)
    bridge.wait_until_up()
    rows = ask_for(bridge, 1.0)
    assert {verdict for _, verdict, _ in rows} == {"0"}
    assert max(seconds for _, _, seconds in rows) < 0.8
    # The back-off has passed the answer timeout by now: most of the time no start is near.
    answers = [bridge.ask(GOOD) for _ in range(40)]
    assert {answer.verdict for answer in answers} == {"0"}
    assert sorted(answer.seconds for answer in answers)[20] < 0.1
    assert b"Traceback" not in bridge.log

    good = tmp_path / "good"
    words = " ".join(f"'{word}'" for word in CHAMELEON)
    good.write_text(f"#!/bin/sh\nexec {words}\n")
    good.chmod(0o755)
    if program.is_dir():
        program.rmdir()
    good.rename(program)
    bridge.until(lambda: bridge.ask(GOOD).verdict == "1", "a good answer", 15)
    bridge.wait_for_programs(2)
    bridge.finish()


def test_an_idle_pool_recovers_without_being_asked(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "program"
    bridge = start("run", "--pool-size", 2, "--", program)
    assert bridge.ask(GOOD, seconds=10).verdict == "0"
    shutil.copy(compiled(tmp_path)[0], tmp_path / "copy")
    (tmp_path / "copy").rename(program)
    bridge.wait_for_programs(2, 40)
    assert bridge.ask(GOOD).verdict == "1"
    bridge.finish()


@pytest.mark.parametrize(("status", "asked"), [(0, False), (1, True)], ids=["idle", "asked"])
def test_a_crash_loop_is_slow(start: Start, journal: Journal, status: int, asked: bool) -> None:
    """At once the first time, then 0.1 s, 0.2 s, 0.4 s …: a handful of starts, whatever the load."""
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 0.5, "--", *habit("stillborn", status)),
        env=journal.environment,
    )
    bridge.until(lambda: journal.events("start"), "the first start")
    begun = time.monotonic()
    if asked:
        ask_for(bridge, 3)
    bridge.until(lambda: time.monotonic() - begun > 3, "three seconds of crashes")
    starts = len(journal.events("start"))
    # For each of the two: 0, 0, 0.1, 0.3, 0.7, 1.5, 3.1 s; twice as many with all jitter to the fast side.
    assert 6 <= starts <= 28
    assert len(bridge.log.splitlines()) < 60, "the log is flooded"
    bridge.finish()


def test_a_backend_that_comes_back(start: Start, journal: Journal) -> None:
    bridge = start(
        *("run", "--pool-size", 3, "--answer-timeout", 0.5, "--", *habit("needs_backend")),
        env=journal.environment,
    )
    assert {verdict for _, verdict, _ in ask_for(bridge, 1)} == {"0"}
    (journal.state / "backend").touch()
    bridge.until(lambda: bridge.ask(GOOD).verdict == "1", "a good answer", 15)
    bridge.wait_for_programs(3, 15)
    bridge.finish()


def test_no_process_left_to_fork(start: Start, journal: Journal) -> None:
    """EAGAIN from fork(2), for a user at the limit; root has none, but may be somebody else for a while."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become a user with no other processes")
    limit = command("prlimit", "util-linux")
    user = as_somebody_else()
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 0.5, "--", *CHAMELEON),
        command=[limit, "--nproc=1:200", *user, *COMMAND],
        env=journal.environment,
    )
    bridge.wait_until_up()
    rows = ask_for(bridge, 1.5)
    assert {verdict for _, verdict, _ in rows} == {"0"}
    assert max(seconds for _, _, seconds in rows) < 1.0
    assert not journal.events("start")
    subprocess.run([*user, limit, f"--pid={bridge.pid}", "--nproc=100:200"], check=True, timeout=10)
    bridge.until(lambda: bridge.ask(GOOD).verdict == "1", "a good answer", 15)
    bridge.finish()


def test_no_descriptor_left_to_start_a_program(start: Start, journal: Journal) -> None:
    """A pool that does not fit under RLIMIT_NOFILE: what fits works, nothing leaks, nothing crashes."""
    bridge = start(
        *("run", "--pool-size", 40, "--answer-timeout", 2, "--", *CHAMELEON),
        prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60)),
        env=journal.environment,
    )
    answers = bridge.converse([b"isuser:u%d:h" % number for number in range(200)])
    assert len(answers) == 200
    verdicts = Counter(answer.verdict for answer in bridge.converse([GOOD] * 100, in_flight=4))
    assert verdicts["1"] == 100
    assert bridge.descriptors() <= 60
    bridge.finish()


# --- out of turn -------------------------------------------------------------------------------------


def test_a_banner_is_no_reply(start: Start) -> None:
    bridge = start("run", "--pool-size", 2, "--answer-timeout", 1, "--", *habit("banner"))
    bridge.wait_until_up()
    answers = bridge.converse([GOOD] * 20, in_flight=1)
    assert {answer.verdict for answer in answers} == {"0"}
    assert max(answer.seconds for answer in answers) < 1.5
    bridge.finish()


def test_a_yes_before_any_question_ends_the_program(start: Start, journal: Journal) -> None:
    bridge = start("run", "--pool-size", 1, "--", *habit("yes_ahead"), env=journal.environment)
    bridge.until(lambda: len(journal.events("start")) >= 3, "three starts")
    bridge.wait_for_deaths(journal.pids("start")[:2], 3)
    bridge.finish()
    assert not journal.frames()


def test_a_second_reply_while_idle_ends_the_program(start: Start, journal: Journal) -> None:
    bridge = start("run", "--pool-size", 1, "--", *habit("afterthought", 50), env=journal.environment)
    for number in range(6):
        exists = number % 2 == 0
        line = b"isuser:%s%d:h" % (b"alice" if exists else b"nobody", number)  # one that did harm is not asked again
        assert bridge.ask(line).verdict == "01"[exists]
        bridge.until(lambda n=number: len(journal.events("unsolicited")) > n, "the second reply")
        bridge.wait_for_deaths([journal.events("unsolicited")[-1].pid], 3)
    assert len(journal.pids("unsolicited")) == 6
    bridge.finish()


def test_a_second_reply_that_is_there_with_the_next_question(start: Start, journal: Journal) -> None:
    """Both are waiting when the bridge looks up: it must see the stray yes before it gives the question out."""
    bridge = start("run", "--pool-size", 1, "--", *habit("afterthought_at_gate"), env=journal.environment)
    for number in range(4):
        assert bridge.ask(b"isuser:alice%d:h" % number).verdict == "1"
        bridge.signal(signal.SIGSTOP)
        bridge.until(lambda: procfs.is_stopped(bridge.pid), "the stop")
        program = journal.events("reply")[-1].pid
        journal.open_gate()
        bridge.until(lambda pid=program: pid in journal.pids("written"), "the second reply")
        journal.close_gate()
        bridge.queue(b"isuser:nobody%d:h" % number)
        bridge.until(lambda n=number: bridge.sent == 2 * n + 2, "the line to be sent")
        bridge.signal(signal.SIGCONT)
        assert bridge.wait_for_answers(2 * number + 2)[-1].verdict == "0"
        # The program that answered this one has an afterthought too.
        journal.open_gate()
        bridge.until(lambda n=number: len(journal.events("unsolicited")) > 2 * n + 1, "the second reply")
        bridge.wait_for_deaths(journal.pids("unsolicited"))
        journal.close_gate()
    bridge.finish()


@pytest.mark.parametrize("status", [0, 1])
@pytest.mark.parametrize("pool_size", [1, 3])
def test_a_reply_and_then_the_end_is_a_good_reply(start: Start, status: int, pool_size: int) -> None:
    """And no reason to wait longer and longer with the next start."""
    bridge = start("run", "--pool-size", pool_size, "--", *habit("once", status))
    bridge.wait_until_up()
    lines = [b"isuser:%s%d:h" % (b"no" if number % 3 else b"u", number) for number in range(60)]
    answers = bridge.converse(lines, in_flight=1)
    assert [answer.verdict for answer in answers] == ["0" if number % 3 else "1" for number in range(60)]
    assert max(answer.seconds for answer in answers) < 1.0
    bridge.finish()


def test_a_reply_and_then_the_end_with_a_child_that_stays(start: Start, journal: Journal) -> None:
    """No end of file tells that the program has left; its child must not stay either."""
    bridge = start(
        *("run", "--pool-size", 2, "--shutdown-grace", 0.5, "--", *habit("orphans")), env=journal.environment
    )
    lines = [b"isuser:%s%d:h" % (b"no" if number % 3 else b"u", number) for number in range(30)]
    answers = bridge.converse(lines, in_flight=1)
    assert [answer.verdict for answer in answers] == ["0" if number % 3 else "1" for number in range(30)]
    bridge.until(lambda: len(bridge.everybody()) == 2, "the children left behind to be gone", 10)
    bridge.finish()
