"""End of input, SIGTERM, SIGTERM again: everything is answered, then everybody is gone, within known times."""

import fcntl
import os
import select
import signal
import time
from collections.abc import Callable

import pytest
from support import procfs
from support.process import Bridge
from support.programs.bad import CHAMELEON, Journal, habit

from .conftest import Start

GRACE = 0.5
# Close stdin, wait, SIGTERM, wait, SIGKILL; and a second for a busy machine.
LONGEST = 2 * GRACE + 1.0
FOUR = ("run", "--pool-size", 4, "--pool-max", 4)
RUN = (*FOUR, "--answer-timeout", 10, "--shutdown-grace", GRACE, "--")


def by_end_of_input(bridge: Bridge) -> None:
    bridge.close_input()


def by_sigterm(bridge: Bridge) -> None:
    bridge.signal(signal.SIGTERM)


def by_sigterm_again(bridge: Bridge) -> None:
    """A second SIGTERM, and more of them: two that come too close together are one to the kernel."""
    deadline = time.monotonic() + 1.5
    while bridge.child.poll() is None and time.monotonic() < deadline:
        bridge.signal(signal.SIGTERM)
        bridge.pump(0.1, read=False)


Stop = Callable[[Bridge], None]
both_ways = pytest.mark.parametrize("stop", [by_end_of_input, by_sigterm])


def seconds_to_stop(bridge: Bridge, stop: Stop) -> float:
    """Stop it, and check that it did so with status 0 and left nothing behind."""
    begun = time.monotonic()
    stop(bridge)
    assert bridge.wait() == 0, bridge.tail()
    taken = time.monotonic() - begun
    bridge.check_nothing_left()
    return taken


def kept_busy(bridge: Bridge, journal: Journal, lines: list[bytes]) -> None:
    """Send lines, and wait until programs are at work on them."""
    for line in lines:
        bridge.queue(line)
    busy = min(4, len(lines))
    bridge.until(lambda: bridge.sent == len(lines) and len(journal.frames()) >= busy, "busy programs")


@both_ways
def test_what_is_in_flight_is_answered(start: Start, journal: Journal, stop: Stop) -> None:
    bridge = start(*RUN, *CHAMELEON, env=journal.environment)
    lines = [f"isuser:slow200-{'u' if number % 2 else 'no'}{number}:h".encode() for number in range(8)]
    kept_busy(bridge, journal, lines)
    assert seconds_to_stop(bridge, stop) < 2.5
    assert bridge.verdicts == ["0", "1"] * 4


@pytest.mark.slow
@both_ways
def test_what_hangs_gets_its_no_when_its_time_is_over(start: Start, journal: Journal, stop: Stop) -> None:
    bridge = start(
        *("run", "--pool-size", 2, "--answer-timeout", 0.7, "--shutdown-grace", GRACE, "--", *CHAMELEON),
        env=journal.environment,
    )
    kept_busy(bridge, journal, [b"isuser:hang-alice:h", b"isuser:slow100-alice:h"])
    assert seconds_to_stop(bridge, stop) < 0.7 + LONGEST
    assert bridge.verdicts == ["0", "1"]


@both_ways
def test_an_idle_bridge_stops_at_once(start: Start, stop: Stop) -> None:
    bridge = start("run", "--pool-size", 4, "--shutdown-grace", 10, "--", *CHAMELEON)
    assert bridge.ask(b"isuser:alice:h").verdict == "1"
    bridge.wait_for_programs(4)
    # Faster than the grace, however busy the machine is: good programs leave at the end of their input.
    assert seconds_to_stop(bridge, stop) < 5


def test_sigterm_stops_reading(start: Start, journal: Journal) -> None:
    """What was not in flight is left to whoever reads next; it is neither answered nor asked."""
    bridge = start(*RUN, *CHAMELEON, env=journal.environment)
    kept_busy(bridge, journal, [b"isuser:slow500-alice:h"])
    assert bridge.watches_input()
    bridge.signal(signal.SIGTERM)
    bridge.until(lambda: not bridge.watches_input(), "the bridge to stop reading")
    bridge.send(b"setpass:bob:h:new\n", lines=0)
    assert bridge.wait() == 0
    assert bridge.verdicts == ["1"]
    assert journal.frames() == [b"isuser:slow500-alice:h"]


def sends_nothing_more(bridge: Bridge) -> bool:
    """Has SIGTERM been taken out of the process's pending signals, and has the bridge gone back to sleep?"""
    pending = int(procfs.status(bridge.pid)["ShdPnd"], 16) | int(procfs.status(bridge.pid)["SigPnd"], 16)
    found = procfs.process(bridge.pid)
    return not pending and found is not None and found.state == "S"


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("name", ["ignores_end", "ignores_term", "ignores_both", "spins", "leaves_slowly"])
def test_stubborn_programs(start: Start, journal: Journal, name: str, stop: Stop) -> None:
    """All at once, not one after the other."""
    grace = 5 if name == "ignores_term" else GRACE
    program = habit(name, 60_000 if name == "leaves_slowly" else 0)
    bridge = start(*FOUR, "--shutdown-grace", grace, "--", *program, env=journal.environment)
    bridge.converse([b"isuser:u%d:h" % number for number in range(40)])
    bridge.wait_for_programs(4)
    bridge.until(lambda: len(journal.pids("start")) == 4, "all programs")
    taken = seconds_to_stop(bridge, stop)
    if name == "ignores_term":
        assert taken < grace, "it would have left at the end of its input"
    else:
        assert taken < LONGEST
    if name in ("ignores_end", "ignores_both", "leaves_slowly"):
        assert taken >= GRACE, "no time was given to leave"


def test_a_program_that_needs_a_moment_gets_it(start: Start, journal: Journal) -> None:
    """It is not interrupted by SIGTERM before the grace is over."""
    bridge = start(
        *("run", "--pool-size", 2, "--shutdown-grace", 5, "--"),
        *("/bin/sh", "-c", f'trap "echo killed >> {journal.path}" TERM; cat > /dev/null; sleep 0.4; '),
    )
    bridge.wait_for_programs(2)
    assert 0.4 <= seconds_to_stop(bridge, by_end_of_input) < 3
    assert not journal.path.exists()


@both_ways
def test_a_grandchild_goes_with_its_program(start: Start, journal: Journal, stop: Stop) -> None:
    bridge = start(*RUN, *habit("grandchild"), env=journal.environment)
    bridge.converse([b"isuser:u%d:h" % number for number in range(40)])
    bridge.until(lambda: len(journal.pids("grandchild")) == 4, "four grandchildren")
    assert seconds_to_stop(bridge, stop) < LONGEST


@both_ways
def test_a_daemon_out_of_reach_holds_nothing_up(start: Start, journal: Journal, stop: Stop) -> None:
    """It is in a session of its own and keeps all pipes: it cannot be killed, but need not be waited for."""
    bridge = start(*RUN, *habit("daemon"), env=journal.environment)
    bridge.converse([b"isuser:u%d:h" % number for number in range(40)])
    bridge.until(lambda: len(journal.pids("grandchild")) == 4, "four daemons")
    begun = time.monotonic()
    stop(bridge)
    assert bridge.wait() == 0
    assert time.monotonic() - begun < LONGEST
    assert set(bridge.everybody()) <= set(journal.pids("grandchild"))


@pytest.mark.slow
@both_ways
def test_a_stopped_program(start: Start, journal: Journal, stop: Stop) -> None:
    """SIGTERM does not reach a process that is stopped."""
    bridge = start(*RUN, *CHAMELEON, env=journal.environment)
    assert bridge.ask(b"isuser:alice:h").verdict == "1"
    programs = bridge.wait_for_programs(4)
    bridge.until(lambda: len(journal.pids("start")) == 4, "all programs")
    for pid in programs[:2]:
        os.kill(pid, signal.SIGSTOP)
    assert seconds_to_stop(bridge, stop) < LONGEST


@pytest.mark.parametrize("name", ["ignores_both", "good"])
def test_a_second_sigterm_means_now(start: Start, journal: Journal, name: str) -> None:
    bridge = start(
        *("run", "--pool-size", 3, "--answer-timeout", 60, "--shutdown-grace", 60, "--"),
        *habit(name, 30_000),
        env=journal.environment,
    )
    kept_busy(bridge, journal, [b"isuser:alice:h"])
    if name == "ignores_both":
        bridge.wait_for_answers(1)
    bridge.signal(signal.SIGTERM)
    bridge.until(lambda: sends_nothing_more(bridge), "the first signal to be taken")
    assert bridge.child.poll() is None
    assert seconds_to_stop(bridge, by_sigterm_again) < 1.5


def test_a_second_sigterm_while_nobody_reads_the_answers(start: Start) -> None:
    output, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    bridge = start(*RUN, *CHAMELEON, stdout=theirs, ends=(None, output))
    os.close(theirs)
    for _ in range(5000):
        bridge.queue(b"bogus")
    answered_by = time.monotonic() + 20
    while not select.select([output], [], [], 0)[0]:
        assert time.monotonic() < answered_by, bridge.tail()
        bridge.pump(0.01, read=False)
    while bridge.pump(0.3, read=False):
        pass
    by_sigterm_again(bridge)
    assert bridge.child.poll() == 0, bridge.tail()
    bridge.check_nothing_left()


def test_end_of_input_while_a_program_is_missing(start: Start) -> None:
    """Nothing waits for the next start."""
    bridge = start("run", "--pool-size", 2, "--answer-timeout", 30, "--", "/nonexistent/program")
    assert bridge.ask(b"bogus").verdict == "0"
    assert seconds_to_stop(bridge, by_end_of_input) < 2


@both_ways
def test_a_program_that_has_not_even_started(start: Start, journal: Journal, stop: Stop) -> None:
    bridge = start(*RUN, *habit("starts_slowly", 30_000), env=journal.environment)
    bridge.until(lambda: len(journal.pids("start")) == 4, "four programs")
    assert seconds_to_stop(bridge, stop) < LONGEST


@pytest.mark.slow
def test_sigterm_before_anything_is_up(start: Start) -> None:
    """At whatever moment it comes, no process is left behind, not even one that only SIGKILL ends."""
    for delay in range(0, 420, 30):
        bridge = start("run", "--pool-size", 4, "--shutdown-grace", 0.1, "--", *habit("ignores_both"))
        begun = time.monotonic()
        bridge.until(lambda begun=begun, delay=delay: time.monotonic() - begun > delay / 1000, "the moment")
        bridge.signal(signal.SIGTERM)
        # Before Python has installed a handler, the signal kills it; later the bridge answers for it.
        assert bridge.wait() in (0, -signal.SIGTERM)
        bridge.check_nothing_left()


def test_programs_of_a_bridge_that_is_killed_see_the_end_of_their_input(start: Start) -> None:
    """SIGKILL cannot be caught; but no program inherits another one's pipe, so all of them notice."""
    bridge = start(*RUN, *CHAMELEON)
    bridge.converse([b"isuser:u%d:h" % number for number in range(40)])
    programs = bridge.wait_for_programs(4)
    bridge.signal(signal.SIGKILL)
    assert bridge.wait() == -signal.SIGKILL
    bridge.until(lambda: not any(map(procfs.alive, programs)), "the programs to leave")


@pytest.mark.slow
def test_sigterm_waits_for_no_client_that_does_not_read(start: Start) -> None:
    """More answers than the pipe holds; the end of input alone would wait for its reader."""
    answers, theirs = os.pipe()
    room = select.poll()
    room.register(theirs, select.POLLOUT)
    options = ("--pool-size", 2, "--answer-timeout", 1, "--shutdown-grace", GRACE)
    bridge = start("run", *options, "--", *CHAMELEON, stdout=theirs, ends=(None, answers))
    bridge.queue(b"\n".join([b"bogus"] * 65536))
    begun = time.monotonic()
    while room.poll(0):
        assert time.monotonic() < begun + 20
        bridge.pump(0.02, read=False)
    os.close(theirs)
    begun = time.monotonic()
    bridge.signal(signal.SIGTERM)
    while bridge.child.poll() is None:
        assert time.monotonic() < begun + 1 + GRACE + LONGEST + 1.0
        bridge.pump(0.05, read=False)
    assert bridge.child.returncode == 0
    bridge.check_nothing_left()
