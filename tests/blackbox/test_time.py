"""One clock for each line; the program that overruns it is gone, and so is its answer."""

import os
import signal
import time

import pytest
from support import procfs
from support.programs.bad import CHAMELEON, Journal, habit

from .conftest import Start

pytestmark = pytest.mark.slow

TIMEOUT = 0.5
LATEST = TIMEOUT + 0.5
RUN = ("run", "--pool-size", 2, "--answer-timeout", TIMEOUT, "--shutdown-grace", 1, "--")

# Never a reply in time: each of them ends in a `0` when the time is over, not before and not long after.
OVERRUNNING = ["hang", "freeze", "partial", "partial3", "slow2000"]


@pytest.mark.parametrize("way", OVERRUNNING)
def test_time_over_is_a_no_and_the_end_of_the_program(start: Start, journal: Journal, way: str) -> None:
    bridge = start(*RUN, *CHAMELEON, env=journal.environment)
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    line = f"auth:{way}-bob:example.com:pw-{way}-bob".encode()
    begun = time.monotonic()  # its own seconds begin when the line was written: the bridge may have had it before
    answer = bridge.ask(line)
    assert answer.verdict == "0"
    assert answer.seconds < LATEST
    assert time.monotonic() - begun >= TIMEOUT - 0.05
    (program,) = {event.pid for event in journal.events("frame") if event.body == line}
    bridge.wait_for_deaths([program])
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    bridge.wait_for_programs(2)
    bridge.finish()


def test_a_late_yes_is_nobodys(start: Start) -> None:
    """The program says yes a moment after its time; the next questions are all to be denied."""
    bridge = start("run", "--pool-size", 1, "--answer-timeout", TIMEOUT, "--", *CHAMELEON)
    for delay in (500, 501, 503, 506, 510, 520, 540):
        # Just around the deadline a yes to its own question would be right.
        bridge.ask(f"isuser:late{delay}-alice:example.com".encode())
        denied = bridge.converse([b"isuser:nobody:example.com"] * 5)
        assert [answer.verdict for answer in denied] == ["0"] * 5, delay
    bridge.finish()


def test_the_whole_group_of_a_hung_program_is_killed(start: Start, journal: Journal) -> None:
    """Its grandchild ignores SIGTERM and holds the pipes."""
    bridge = start(
        *("run", "--pool-size", 1, "--answer-timeout", TIMEOUT, "--start-timeout", TIMEOUT),
        *("--shutdown-grace", 0.2, "--"),
        *("/bin/sh", "-c", 'trap "" TERM; sleep 1000 & sleep 1001; :'),
        env=journal.environment,
    )
    bridge.until(lambda: len(bridge.everybody()) >= 3, "the program and its children")
    family = bridge.everybody()
    assert bridge.ask(b"isuser:alice:example.com").verdict == "0"
    bridge.wait_for_deaths(family, 2)
    bridge.finish()


def test_waiting_for_a_program_counts(start: Start, journal: Journal) -> None:
    """The clock starts with the line: what waited too long is denied, and no program ever gets it."""
    bridge = start("run", "--pool-size", 1, "--answer-timeout", 1.5, "--", *CHAMELEON, env=journal.environment)
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    answers = bridge.converse([f"isuser:slow900-u{number}:example.com".encode() for number in range(8)])
    assert answers[0].verdict == "1"
    assert [answer.verdict for answer in answers[2:]] == ["0"] * 6
    assert max(answer.seconds for answer in answers) < 2
    assert bridge.ask(b"isuser:alice:example.com").verdict == "1"
    bridge.finish()
    asked = {frame for frame in journal.frames() if b"slow" in frame}
    assert len(asked) <= 3


def test_a_retry_has_only_the_time_that_is_left(start: Start, journal: Journal) -> None:
    """The first program dies when most of the time is over; the second would need just as long."""
    bridge = start("run", "--pool-size", 2, "--answer-timeout", 2, "--", *CHAMELEON, env=journal.environment)
    bridge.wait_until_up()
    line = b"isuser:slowdie1200-alice:example.com"
    begun = time.monotonic()
    answer = bridge.ask(line)
    assert answer.verdict == "0"
    assert answer.seconds < 2.4, "the second one dies by itself then"
    assert time.monotonic() - begun >= 2 - 0.05
    bridge.finish()
    assert journal.frames() == [line, line]


@pytest.mark.parametrize("pool_size", [1, 3])
@pytest.mark.parametrize("line", [b"isuser:dieonce-alice:h", b"auth:dieonce-alice:h:pw-dieonce-alice"])
def test_a_question_is_asked_once_more(start: Start, journal: Journal, pool_size: int, line: bytes) -> None:
    bridge = start("run", "--pool-size", pool_size, "--", *CHAMELEON, env=journal.environment)
    bridge.wait_until_up()
    answer = bridge.ask(line)
    assert answer.verdict == "1"
    assert answer.seconds < 2
    bridge.finish()
    assert journal.frames() == [line, line]
    assert len(journal.pids("frame")) == 2


@pytest.mark.parametrize("way", ["die", "crash", "exits", "partialdie", "partialdie3", "mute"])
def test_and_not_a_third_time(start: Start, journal: Journal, way: str) -> None:
    line = f"isuser:{way}-alice:h".encode()
    bridge = start("run", "--pool-size", 2, "--", *CHAMELEON, env=journal.environment)
    bridge.wait_until_up()
    answer = bridge.ask(line)
    assert answer.verdict == ("1" if way == "exits" else "0")
    assert answer.seconds < 2
    assert bridge.ask(b"isuser:bob:h").verdict == "1"
    bridge.finish()
    assert journal.frames() == [line] * (1 if way == "exits" else 2) + [b"isuser:bob:h"]


CHANGES = [
    b"setpass:%s:h:new",
    b"tryregister:%s:h:new",
    b"removeuser:%s:h",
    b"removeuser3:%s:h:pw-%s",
    b"certauth:%s:h:cert-%s",
]


@pytest.mark.parametrize("way", ["die", "dieonce", "crash", "partialdie", "garbage1", "twice", "mute", "hang"])
def test_a_change_is_never_asked_twice(start: Start, journal: Journal, configure, way: str) -> None:
    """It may have been made before the program died."""
    commands = ["isuser", *(template.split(b":")[0].decode() for template in CHANGES)]
    file = configure(program=CHAMELEON, pool_size=2, answer_timeout=TIMEOUT, commands=commands)
    bridge = start("run", file, env=journal.environment)
    lines = [template.replace(b"%s", way.encode() + b"-alice") for template in CHANGES]
    for line in lines:
        assert bridge.ask(line).verdict == "0"
        assert bridge.ask(b"isuser:bob:h").verdict == "1"
    bridge.finish()
    assert [frame for frame in journal.frames() if frame != b"isuser:bob:h"] == lines


def test_a_death_is_noticed_behind_a_pipe_that_a_grandchild_keeps_open(start: Start, journal: Journal) -> None:
    """No end of file tells of it: the retry must not wait until the time is over."""
    bridge = start(
        *("run", "--pool-size", 1, "--answer-timeout", 5, "--", *habit("dies_with_heir")),
        env=journal.environment,
    )
    bridge.wait_until_up()
    answer = bridge.ask(b"isuser:alice:example.com")
    assert answer.verdict == "1"
    assert answer.seconds < 2.5
    bridge.until(lambda: journal.pids("grandchild"), "the grandchild")
    bridge.wait_for_deaths(journal.pids("grandchild"), 5)
    bridge.finish()


def test_a_program_that_needs_a_second_to_start(start: Start) -> None:
    bridge = start("run", "--pool-size", 2, "--answer-timeout", 4, "--", *habit("starts_slowly", 1000))
    answers = bridge.converse([b"isuser:u%d:h" % number for number in range(50)])
    assert [answer.verdict for answer in answers] == ["1"] * 50
    assert max(answer.seconds for answer in answers) < 3
    bridge.finish()


def test_garbage_is_a_no_at_once(start: Start) -> None:
    """Not what the program seems to mean, and not what it says next."""
    bridge = start("run", "--pool-size", 1, "--", *CHAMELEON)
    for way in (*(f"garbage{number}" for number in range(12)), "twice", "babble"):
        for line in (f"auth:{way}-alice:h:pw-{way}-alice", f"setpass:{way}-alice:h:x"):
            answer = bridge.ask(line.encode())
            assert answer.verdict == "0", way
            assert answer.seconds < 2, way
            assert bridge.ask(b"isuser:nobody:h").verdict == "0"
            assert bridge.ask(b"isuser:alice:h").verdict == "1", way
    bridge.finish()


def test_a_group_member_cannot_keep_a_killed_program_half_alive(start: Start, journal: Journal) -> None:
    """A reply that a grandchild still sends after its parent was killed is nobody's."""
    script = 'read -r x; (trap "" TERM; sleep 0.8; printf "\\0\\2\\0\\1") & sleep 1000'
    bridge = start(
        *("run", "--pool-size", 1, "--answer-timeout", TIMEOUT, "--", "/bin/sh", "-c", script),
        env=journal.environment,
    )
    begun = time.monotonic()
    while time.monotonic() - begun < 2:
        assert bridge.ask(b"isuser:alice:example.com").verdict == "0"
    bridge.finish()


def test_time_is_kept_while_a_program_takes_no_input(start: Start) -> None:
    """It never reads: large frames fill its pipe, and nothing blocks."""
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", TIMEOUT, "--max-line", 32767, "--shutdown-grace", 0.2, "--"),
        *("/bin/sleep", "1000"),
    )
    bridge.wait_until_up()
    lines = [b"isuser:u%d:" % number + b"h" * 32000 for number in range(6)]
    answers = bridge.converse(lines, in_flight=6)
    assert [answer.verdict for answer in answers] == ["0"] * 6
    assert max(answer.seconds for answer in answers) < LATEST
    bridge.finish()


def test_a_stopped_bridge_does_not_believe_in_time_travel(start: Start) -> None:
    """After the whole bridge stood still beyond the deadline, old questions are denied and new ones work."""
    bridge = start("run", "--pool-size", 2, "--answer-timeout", TIMEOUT, "--", *CHAMELEON)
    assert bridge.ask(b"isuser:alice:h").verdict == "1"
    bridge.queue(b"isuser:hang-alice:h")
    bridge.until(lambda: bridge.sent == 2, "the line to be sent")
    os.kill(bridge.pid, signal.SIGSTOP)
    bridge.until(lambda: procfs.is_stopped(bridge.pid), "the stop")
    begun = time.monotonic()
    bridge.until(lambda: time.monotonic() - begun > TIMEOUT, "the deadline")
    os.kill(bridge.pid, signal.SIGCONT)
    assert [answer.verdict for answer in bridge.wait_for_answers(2)] == ["1", "0"]
    assert bridge.ask(b"isuser:alice:h").verdict == "1"
    bridge.finish()
