"""No `1` after its time: a bridge that stood still finds replies that were good while it did not look.

Only the bridge is stopped, longer than `answer_timeout`; its programs go on, and reply to questions whose time is over
when they are read.  What the client's pipe held when the bridge stopped is another matter: it had been answered.

A round counts if the bridge was stopped in its wait for events.  Elsewhere, within microseconds of a write that was in
time when it was decided on, nobody could do better.
"""

import fcntl
import os
import random
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support import procfs
from support.bad_programs import CHAMELEON, Journal
from support.process import COMMAND, ROOT, Bridge, environment
from support.replies import compiled
from support.serving import Daemon, ask, read, until

from .conftest import Start

TIMEOUT = 0.5
STOP = 0.8
AT_ONCE = 2.0
"""Seconds: as quick as a loaded machine lets it be; a wait for a timeout or a back-off would add to it."""

# epoll_wait, epoll_pwait, epoll_pwait2 and poll, by machine.
WAITS = {"x86_64": {"232", "281", "441", "7", "271"}, "aarch64": {"22", "441", "73"}}


def unread(descriptor: int) -> int:
    """How many bytes of a pipe or a socket's output nobody has read yet."""
    return struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]


def unread_by_peer(client: socket.socket) -> int:
    """The same for what was sent on a Unix socket; buffers count with their overhead."""
    return struct.unpack("i", fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]


def stop(pid: int) -> bool:
    """Stop a process; was it waiting for events, and not at work?"""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: (found := procfs.process(pid)) is not None and found.state == "T", "the stop")
    try:
        number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    except PermissionError:
        pytest.skip("needs to read the bridge's /proc/PID/syscall")
    return number in WAITS[os.uname().machine]


def stand_still(pid: int, began: float, meanwhile: Callable[[], None] = lambda: None) -> None:
    """The rest of a stop that lasts until STOP seconds after `began`."""
    meanwhile()
    pause(max(0.0, began + STOP - time.monotonic()))
    os.kill(pid, signal.SIGCONT)


def until_asked(journal: Journal, *lines: bytes) -> None:
    """Return when programs have been given all of these."""
    until(lambda: set(lines) <= set(journal.frames()), "the programs to be asked")


def until_replied(journal: Journal, *lines: bytes) -> None:
    """Return when programs have replied, or are about to, to all of these."""
    until(lambda: set(lines) <= {event.body for event in journal.events("reply")}, "the programs' replies")


def pause(seconds: float) -> None:
    """Let time go by, for its own sake."""
    time.sleep(seconds)


def send(bridge: Bridge, *lines: bytes) -> int:
    """Send lines, and return when the bridge has read them; how many answers there were before."""
    known = len(bridge.verdicts)
    bridge.send(b"".join(line + b"\n" for line in lines))
    assert bridge._input is not None
    pipe = bridge._input
    bridge.until(lambda: unread(pipe) == 0, "the lines to be read")
    return known


def take(bridge: Bridge) -> int:
    """Read what the bridge has written; how many answers there are now."""
    while bridge.pump(0):
        pass
    return len(bridge.verdicts)


def verdicts(bridge: Bridge, first: int, last: int) -> str:
    """Wait for the answers up to the last one; all of these."""
    bridge.wait_for_answers(last)
    return "".join(bridge.verdicts[first:last])


def check_well(bridge: Bridge) -> None:
    """A right and a wrong question are answered rightly and at once."""
    assert bridge.ask(b"auth:u:h:guess").verdict == "0"
    answer = bridge.ask(b"isuser:u:h")
    assert answer.verdict == "1"
    assert answer.seconds < AT_ONCE


# --- run, pipelined ------------------------------------------------------------------------------------------


def options(pool_size: int, *more: object, timeout: float = TIMEOUT) -> tuple[object, ...]:
    settings = ("--pool-size", pool_size, "--answer-timeout", timeout, "--max-requests", 0)
    return ("run", *more, *settings, "--", *CHAMELEON)


def warmed_up(start: Start, journal: Journal, pool_size: int, *more: object) -> Bridge:
    """A bridge all of whose programs have answered, or could."""
    bridge = start(*options(pool_size, *more), env=journal.environment)
    bridge.wait_for_programs(pool_size)
    until(lambda: len(journal.pids("start")) >= pool_size, "the programs to run")
    assert bridge.ask(b"isuser:u:h").verdict == "1"
    return bridge


def test_pipelined(start: Start, journal: Journal, dice: random.Random) -> None:
    """Programs reply before the stop, during it, after it; what waits in the queue has no time left either."""
    bridge = warmed_up(start, journal, 4)
    counted = 0
    for number in range(6):
        # The first are answered before the others: that is about when the bridge is stopped.
        ways = [0, 20 + 5 * number, 60, 150, 150, 300, 500, 700]
        names = [f"slow{way}-u{number}x{at}" for at, way in enumerate(ways)]
        known = send(bridge, *(f"auth:{name}:h:pw-{name}".encode() for name in names))
        pause(dice.uniform(0, 0.04))
        waiting = stop(bridge.pid)
        before = take(bridge)
        stand_still(bridge.pid, time.monotonic())
        late = verdicts(bridge, before, known + len(names))
        if waiting:
            counted += 1
            assert "1" not in late
        check_well(bridge)
    assert counted >= 3
    bridge.finish()


def test_flood(start: Start, tmp_path: Path, dice: random.Random) -> None:
    """Thirty-two questions in flight at full speed, stopped in the middle of whatever it is doing.

    Only between the decision to write an answer and its write there may be a stop that nobody notices: one in ten.
    """
    settings = ("--pool-size", 4, "--answer-timeout", 0.3, "--max-requests", 0)
    bridge = start("run", *settings, "--", compiled(tmp_path, "pieces"), "greedy", "1", "0")
    line = b"isuser:somebody:example.com\n"
    assert bridge.ask(line[:-1]).verdict == "1"
    bridge.wait_for_programs(4)
    assert bridge._input is not None
    stops, late = 10, []
    for _ in range(stops):
        moment = time.monotonic() + dice.uniform(0.05, 0.1)
        while time.monotonic() < moment:
            while bridge.sent - len(bridge.verdicts) < 32 and bridge.pump(0, read=False) is not None:
                bridge.send(line)
            bridge.pump(0.001)
        os.kill(bridge.pid, signal.SIGSTOP)
        until(lambda: (found := procfs.process(bridge.pid)) is not None and found.state == "T", "the stop")
        before = take(bridge)
        was_read = bridge.sent - -(-unread(bridge._input) // len(line))
        pause(0.5)
        os.kill(bridge.pid, signal.SIGCONT)
        answers = verdicts(bridge, before, bridge.sent)
        late.append(answers[: max(0, was_read - before)].count("1"))
        bridge.until(lambda: bridge.ask(line[:-1]).verdict == "1", "it to go well again", AT_ONCE)
    assert sum(1 for count in late if count) <= 1, f"late grants: {late}"
    bridge.finish()


@pytest.mark.parametrize("pool_size", [1, 4])
@pytest.mark.parametrize("milliseconds", [100, 400])
def test_replies_that_lie_there(start: Start, journal: Journal, pool_size: int, milliseconds: int) -> None:
    """All programs reply in time, as they see it, while the bridge is stopped: nobody is told."""
    bridge = warmed_up(start, journal, pool_size)
    for number in range(3):
        lines = [b"isuser:slow%d-u%dx%d:h" % (milliseconds, number, at) for at in range(pool_size)]
        known = send(bridge, *lines)
        until_asked(journal, *lines)
        stop(bridge.pid)
        assert take(bridge) == known
        stand_still(bridge.pid, time.monotonic(), lambda lines=lines: until_replied(journal, *lines))
        assert verdicts(bridge, known, known + pool_size) == "0" * pool_size
        check_well(bridge)
    bridge.finish()


def test_programs_that_replied_meanwhile_are_not_killed(start: Start, journal: Journal) -> None:
    """They were in time; it was the bridge that was not."""
    bridge = warmed_up(start, journal, 2)
    programs = bridge.programs()
    lines = [b"isuser:slow100-u%d:h" % number for number in range(2)]
    known = send(bridge, *lines)
    until_asked(journal, *lines)
    stop(bridge.pid)
    stand_still(bridge.pid, time.monotonic(), lambda: until_replied(journal, *lines))
    assert verdicts(bridge, known, known + 2) == "00"
    check_well(bridge)
    assert set(programs) <= set(bridge.programs())
    bridge.finish()


def test_whole_machine_stood_still(start: Start, journal: Journal) -> None:
    """A paused virtual machine: programs and bridge go on at the same moment."""
    bridge = warmed_up(start, journal, 4)
    for number in range(3):
        lines = [b"isuser:slow%d-u%dx%d:h" % (50 + 10 * at, number, at) for at in range(4)]
        known = send(bridge, *lines)
        everybody = [bridge.pid, *bridge.programs()]
        waiting = stop(bridge.pid)
        for pid in everybody[1:]:
            os.kill(pid, signal.SIGSTOP)
        before = take(bridge)
        pause(STOP)
        for pid in reversed(everybody):
            os.kill(pid, signal.SIGCONT)
        late = verdicts(bridge, before, known + 4)
        assert "1" not in late or not waiting
        check_well(bridge)
    bridge.finish()


def test_lines_of_the_meantime_are_questions(start: Start, journal: Journal) -> None:
    """Written while the bridge stood still, read afterwards: they have all of their time before them."""
    bridge = warmed_up(start, journal, 2)
    line = b"isuser:slow100-u:h"
    known = send(bridge, line)
    until_asked(journal, line)
    stop(bridge.pid)
    began = time.monotonic()
    pause(STOP - 0.1)
    bridge.send(b"auth:u:h:guess\nisuser:u:h\nauth:u:h:pw-u\n")
    stand_still(bridge.pid, began)
    assert verdicts(bridge, known, known + 4) == "0011"
    bridge.finish()


def test_client_that_stood_still_may_have_its_answers(start: Start) -> None:
    """It is the client that does not read: what is in its pipe was written in time."""
    bridge = start(*options(2))
    assert bridge.ask(b"isuser:u:h").verdict == "1"
    for number in range(50):
        bridge.queue(b"isuser:%s%d:h" % (b"no" if number % 3 else b"u", number))
    began = time.monotonic()
    while time.monotonic() - began < STOP:
        bridge.pump(0.01, read=False)
    assert verdicts(bridge, 1, 51) == "".join("0" if number % 3 else "1" for number in range(50))
    bridge.finish()


# --- run, lockstep -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("milliseconds", [5, 300])
def test_lockstep(start: Start, journal: Journal, milliseconds: int) -> None:
    bridge = warmed_up(start, journal, 1, "--client", "lockstep")
    counted = 0
    for number in range(5):
        line = b"isuser:slow%d-u%d:h" % (milliseconds, number)
        known = send(bridge, line)
        until_asked(journal, line)
        waiting = stop(bridge.pid)
        answered = take(bridge) > known
        stand_still(bridge.pid, time.monotonic())
        verdict = verdicts(bridge, known, known + 1)
        if waiting and not answered:
            counted += 1
            assert verdict == "0"
        check_well(bridge)
    assert counted or milliseconds < 100
    bridge.finish()


def test_lockstep_client_that_asked_again(start: Start, journal: Journal) -> None:
    """It gave up while the bridge stood still, and asks something else: the old reply is not the answer to that."""
    bridge = warmed_up(start, journal, 2, "--client", "lockstep")
    old = b"isuser:slow200-u:h"
    known = send(bridge, old)
    until_asked(journal, old)
    stop(bridge.pid)
    began = time.monotonic()
    pause(STOP - 0.05)
    bridge.send(b"auth:bob:h:guess\n")
    stand_still(bridge.pid, began)
    bridge.wait_for_answers(known + 1)
    bridge.pump(0.3)
    # One answer, or one for each; when it is one, it is the new line's.
    assert bridge.verdicts[known:] in (["0"], ["0", "0"])
    known = len(bridge.verdicts)
    bridge.send(b"isuser:u:h\n")
    assert verdicts(bridge, known, known + 1) == "1"


# --- the daemon and its clients ------------------------------------------------------------------------------


@pytest.mark.parametrize(("hello", "late"), [(b"", b"0\n"), (b"extauth-bridge:answers:3", b"2\n")])
def test_clients_of_the_daemon(
    serve: Callable[..., Daemon], journal: Journal, dice: random.Random, hello: bytes, late: bytes
) -> None:
    """Three clients with lines in flight."""
    daemon = serve("--pool-size", 4, "--answer-timeout", TIMEOUT, "--max-requests", 0, env=journal.environment)
    clients = [daemon.connect() for _ in range(3)]
    for client in clients:
        assert not hello or ask(client, hello) == b"1\n"
        assert ask(client, b"isuser:u:h") == b"1\n"
    counted = 0
    for number in range(5):
        lines = {
            client: [b"isuser:slow%d-u%dx%dx%d:h\n" % (ms, number, mine, ms) for ms in (30, 100, 101, 250)[: mine + 2]]
            for mine, client in enumerate(clients)
        }
        for client in clients:
            client.sendall(b"".join(lines[client]))
        until(lambda: not any(map(unread_by_peer, clients)), "the lines to be read")
        pause(dice.uniform(0, 0.04))
        waiting = stop(daemon.process.pid)
        before = {client: read(client, unread(client.fileno())) for client in clients}
        stand_still(daemon.process.pid, time.monotonic())
        for client in clients:
            rest = read(client, 2 * len(lines[client]) - len(before[client]))
            assert rest == late * (len(rest) // 2) or not waiting
        counted += waiting
        for client in clients:
            began = time.monotonic()
            assert ask(client, b"isuser:u:h") == b"1\n"
            assert ask(client, b"auth:u:h:guess") == b"0\n"
            assert time.monotonic() - began < AT_ONCE
    assert counted >= 2


# --- the relay -----------------------------------------------------------------------------------------------

Relay = Callable[..., Bridge]


@pytest.fixture
def relay(start: Start, tmp_path: Path) -> Relay:
    """Starts relays to the daemon in this test's directory."""

    def start_one(answer_timeout: float) -> Bridge:
        file = tmp_path / "relay.toml"
        file.write_text(f'connect = "{tmp_path / "auth.sock"}"\nanswer_timeout = {answer_timeout}\n')
        return start(file)

    return start_one


@pytest.mark.parametrize("milliseconds", [1, 200])
def test_relay_that_stood_still(
    serve: Callable[..., Daemon], relay: Relay, journal: Journal, milliseconds: int
) -> None:
    """The daemon's answers were in time, and lie in the relay's socket."""
    daemon = serve("--pool-size", 2, "--answer-timeout", 10, "--max-requests", 0, env=journal.environment)
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"
    bridge = relay(TIMEOUT)
    assert bridge.ask(b"isuser:u:h").verdict == "1"
    counted = 0
    for number in range(4):
        lines = [b"isuser:slow%d-u%dx%d:h" % (milliseconds, number, at) for at in range(2)]
        known = send(bridge, *lines)
        until_asked(journal, *lines)
        waiting = stop(bridge.pid)
        before = take(bridge)
        stand_still(bridge.pid, time.monotonic())
        late = verdicts(bridge, before, known + 2)
        counted += waiting and bool(late)
        assert "1" not in late or not waiting
        check_well(bridge)
    assert counted >= 2 or milliseconds < 100
    bridge.finish()


@pytest.mark.parametrize("relays_time", [0.7, 5.0])
def test_daemon_that_stood_still_behind_a_relay(
    serve: Callable[..., Daemon], relay: Relay, journal: Journal, relays_time: float
) -> None:
    """The relay says no when its own time is over; otherwise the daemon does, as soon as it goes on."""
    daemon = serve("--pool-size", 2, "--answer-timeout", TIMEOUT, "--max-requests", 0, env=journal.environment)
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"
    bridge = relay(relays_time)
    assert bridge.ask(b"isuser:u:h").verdict == "1"
    for number in range(3):
        lines = [b"isuser:slow200-u%dx%d:h" % (number, at) for at in range(2)]
        known = send(bridge, *lines)
        until_asked(journal, *lines)
        stop(daemon.process.pid)
        stand_still(daemon.process.pid, time.monotonic(), lambda lines=lines: until_replied(journal, *lines))
        assert verdicts(bridge, known, known + 2) == "00"
        check_well(bridge)
    bridge.finish()


# --- one question by hand ------------------------------------------------------------------------------------


def exit_status_of_ask(
    arguments: Sequence[object], journal: Journal, line: bytes, *, stopped: int | None = None
) -> int:
    """Ask, and stop `ask` (or `stopped`) with the question at the program; the exit status after the standstill."""
    process = subprocess.Popen(
        [*COMMAND, "ask", "isuser", line.split(b":")[1] + b"@h", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(journal.environment),
        cwd=ROOT,
    )
    try:
        until_asked(journal, line)
        pid = stopped or process.pid
        stop(pid)
        stand_still(pid, time.monotonic(), lambda: until_replied(journal, line))
        said, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert b"granted" not in said
    return process.returncode


def test_ask_that_stood_still(journal: Journal) -> None:
    for number in range(3):
        line = b"isuser:slow200-u%d:h" % number
        assert exit_status_of_ask(["--answer-timeout", TIMEOUT, "--", *CHAMELEON], journal, line) == 1


def test_daemon_that_stood_still_asked_by_hand(serve: Callable[..., Daemon], journal: Journal) -> None:
    daemon = serve("--pool-size", 2, "--answer-timeout", TIMEOUT, env=journal.environment)
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"
    for number in range(3):
        line = b"isuser:slow200-u%d:h" % number
        assert exit_status_of_ask([daemon.path], journal, line, stopped=daemon.process.pid) == 1
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"


def test_ask_of_a_daemon_that_stood_still(serve: Callable[..., Daemon], journal: Journal, tmp_path: Path) -> None:
    """By a relay's file, whose time it keeps."""
    daemon = serve("--pool-size", 2, "--answer-timeout", 10, env=journal.environment)
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"
    file = tmp_path / "relay.toml"
    file.write_text(f'connect = "{daemon.path}"\nanswer_timeout = {TIMEOUT}\n')
    for number in range(3):
        line = b"isuser:slow200-u%d:h" % number
        assert exit_status_of_ask([file], journal, line) == 1
