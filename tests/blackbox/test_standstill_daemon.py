"""No `1` after its time where several have a part in it: the daemon, its clients, the relay, `ask`."""

import random
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.daemon.serving import Daemon, ask, read, until
from support.daemon.standstill import (
    AT_ONCE,
    TIMEOUT,
    check_well,
    let_reply,
    pause,
    received,
    send,
    stand_still,
    stop,
    take,
    unread_by_peer,
    until_asked,
    verdicts,
)
from support.process import COMMAND, ROOT, Bridge, environment
from support.programs.bad import CHAMELEON, Journal

from .conftest import Start

pytestmark = pytest.mark.slow

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
        before = {client: received(client) for client in clients}
        stand_still(daemon.process.pid, time.monotonic())
        for client in clients:
            rest = read(client, 2 * len(lines[client]) - len(before[client]))
            assert rest == late * (len(rest) // 2) or not waiting
        counted += waiting
        for client in clients:
            began = time.monotonic()
            assert ask(client, b"isuser:u:h") == b"1\n"
            assert ask(client, b"auth:u:h:hunter2") == b"0\n"
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


@pytest.mark.parametrize("way", [b"slow1", b"gate"])
def test_relay_that_stood_still(serve: Callable[..., Daemon], relay: Relay, journal: Journal, way: bytes) -> None:
    """The daemon's answers were in time, and lie in the relay's socket."""
    daemon = serve("--pool-size", 2, "--answer-timeout", 10, "--max-requests", 0, env=journal.environment)
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"
    bridge = relay(TIMEOUT)
    assert bridge.ask(b"isuser:u:h").verdict == "1"
    counted = 0
    for number in range(4):
        lines = [b"isuser:%b-u%dx%d:h" % (way, number, at) for at in range(2)]
        known = send(bridge, *lines)
        until_asked(journal, *lines)
        waiting = stop(bridge.pid)
        before = take(bridge)
        stand_still(bridge.pid, time.monotonic(), lambda lines=lines: let_reply(journal, *lines))
        late = verdicts(bridge, before, known + 2)
        counted += waiting and bool(late)
        assert "1" not in late or not waiting
        check_well(bridge)
    assert counted >= 2 or way != b"gate"
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
        lines = [b"isuser:gate-u%dx%d:h" % (number, at) for at in range(2)]
        known = send(bridge, *lines)
        until_asked(journal, *lines)
        stop(daemon.process.pid)
        stand_still(daemon.process.pid, time.monotonic(), lambda lines=lines: let_reply(journal, *lines))
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
        stand_still(pid, time.monotonic(), lambda: let_reply(journal, line))
        said, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert b"granted" not in said
    return process.returncode


def test_ask_that_stood_still(journal: Journal) -> None:
    for number in range(3):
        line = b"isuser:gate-u%d:h" % number
        assert exit_status_of_ask(["--answer-timeout", TIMEOUT, "--", *CHAMELEON], journal, line) == 1


def test_daemon_that_stood_still_asked_by_hand(serve: Callable[..., Daemon], journal: Journal) -> None:
    daemon = serve("--pool-size", 2, "--answer-timeout", TIMEOUT, env=journal.environment)
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"
    for number in range(3):
        line = b"isuser:gate-u%d:h" % number
        assert exit_status_of_ask([daemon.path], journal, line, stopped=daemon.process.pid) == 1
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"


def test_ask_of_a_daemon_that_stood_still(serve: Callable[..., Daemon], journal: Journal, tmp_path: Path) -> None:
    """By a relay's file, whose time it keeps."""
    daemon = serve("--pool-size", 2, "--answer-timeout", 10, env=journal.environment)
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"
    file = tmp_path / "relay.toml"
    file.write_text(f'connect = "{daemon.path}"\nanswer_timeout = {TIMEOUT}\n')
    for number in range(3):
        line = b"isuser:gate-u%d:h" % number
        assert exit_status_of_ask([file], journal, line) == 1
