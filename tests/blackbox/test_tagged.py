"""The tagged protocol from outside: a real daemon and real programs with different delays."""

import contextlib
import os
import random
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import procfs
from support.daemon.serving import PATIENCE, Daemon, ask, read, until
from support.daemon.tagged import HELLO, TaggedClient
from support.process import Answer
from support.programs import oracle
from support.programs.bad import CHAMELEON, Journal
from support.readme import block

from .conftest import Start
from .test_promise import check_journal, check_verdicts, mix

Serve = Callable[..., Daemon]

USER, NO_USER = b"isuser:u:h", b"isuser:no:h"
GATED = b"isuser:gate-u:h"
"""Answered when the test opens the gate, however busy the machine is."""


def slow(milliseconds: int, name: str = "u") -> bytes:
    return b"isuser:slow%d-%s:h" % (milliseconds, name.encode())


# --- the document ----------------------------------------------------------------------------------------

AS_DOCUMENTED = """
import os, sys, time
def wait(name):
    while not os.path.exists(name):
        time.sleep(0.005)
while header := os.read(0, 2):
    command, user, *_ = os.read(0, int.from_bytes(header, "big")).decode().split(":")
    if user == "alice":
        wait("second")
    if user == "carol":
        wait("first")
        sys.exit()
    os.write(1, b"\\0\\2\\0" + (b"\\0" if (command, user) == ("auth", "bob") else b"\\1"))
    if user == "bob":
        open("second" if command == "isuser" else "first", "x")
"""
"""A program that does what is said of it there, in this order however busy the machine is."""


def test_the_example_of_the_document(serve: Serve, configure: Callable[..., Path], tmp_path: Path) -> None:
    session = re.findall(r"^([<>]) (.+)$", block("client: session")[1], re.MULTILINE)
    assert len(session) == 12
    program = [sys.executable, "-I", "-S", "-c", AS_DOCUMENTED]
    settings = {"program": program, "pool_size": 3, "cwd": tmp_path, "answer_timeout": 20.0}
    client = serve(file=configure(listen=tmp_path / "auth.sock", **settings)).connect()
    client.settimeout(PATIENCE)
    for who, line in session:
        whole = line.encode() + b"\n"
        if who == ">":
            client.sendall(whole)
        else:
            assert read(client, len(whole)) == whole


# --- order -----------------------------------------------------------------------------------------------


def test_nobody_waits_for_somebody_else(serve: Serve, journal: Journal) -> None:
    client = TaggedClient(serve("--pool-size", 3, "--answer-timeout", 3, env=journal.environment).connect())
    tags = client.put(b"isuser:hang-u:h", GATED, *[USER, NO_USER] * 50, b"bogus")
    assert client.wait(tags[2:]) == ["1", "0"] * 50 + ["0"]
    assert client.open == {*tags[:2]}
    journal.open_gate()
    assert client.wait(tags[:2]) == ["2", "1"]
    assert [*client.verdicts][-2:] == [tags[1], tags[0]]


def test_each_address_is_taken(serve: Serve) -> None:
    client = TaggedClient(serve("--pool-size", 2).connect())
    addresses = ["-", "127.0.0.1", "192.0.2.7", "::1", "2001:db8::1", "::ffff:192.0.2.7", "fe80::1%eth0"]
    tags = client.put(*[USER] * len(addresses), addresses=addresses)
    assert client.wait(tags) == ["1"] * len(addresses)


@pytest.mark.parametrize("setting", ["lockstep", "pipelined"])
def test_whatever_other_clients_are(serve: Serve, setting: str) -> None:
    daemon = serve("--pool-size", 2, "--client", setting)
    other, client = daemon.connect(), TaggedClient(daemon.connect())
    tags = client.put(slow(300), USER, NO_USER)
    client.pump()
    assert ask(other, NO_USER) == b"0\n"
    assert client.wait(tags) == ["1", "1", "0"]
    assert ask(other, HELLO[:-1]) == b"0\n", "only as the first line"
    assert ask(other, USER) == b"1\n", "as before"


def test_a_bridge_that_is_no_daemon_refuses_it(start: Start) -> None:
    bridge = start("run", "--demo")
    assert bridge.ask(HELLO[:-1]).verdict == "0"
    assert bridge.ask(b"1 - isuser:alice:example.com").verdict == "0"
    bridge.finish()


@pytest.mark.slow
@pytest.mark.parametrize("in_flight", [1, 7, 60, 1000])
def test_no_answer_is_another_question_s(serve: Serve, journal: Journal, dice: random.Random, in_flight: int) -> None:
    """Programs that answer by what they are asked, after different times, or fail; each question is of another user."""
    count = 300 if in_flight == 1 else 4000
    options = ("--pool-size", 8, "--answer-timeout", 1, "--max-requests", 300)
    client = TaggedClient(serve(*options, env=journal.environment).connect())
    lines = mix(count, dice)
    tags = client.converse(lines, in_flight, piece=dice.choice([700, 65536]))
    answers = [Answer(client.verdicts[tag].replace("2", "0"), client.took[tag]) for tag in tags]
    check_verdicts(lines, answers, allowed_losses=count // 4)  # the machine may be busy
    check_journal(lines, answers, journal)
    if in_flight > 7:
        came = [int(tag) for tag in client.verdicts]
        assert came != sorted(came)
    assert all(oracle.lets_through(line) for line, tag in zip(lines, tags, strict=True) if client.verdicts[tag] == "2")


# --- bytes -----------------------------------------------------------------------------------------------


def test_byte_by_byte(serve: Serve) -> None:
    client = TaggedClient(serve("--pool-size", 2).connect())
    client.stream.setblocking(True)
    client.stream.settimeout(PATIENCE)
    for byte in b"a1 - isuser:u:h\r\nb2 ::1 isuser:no:h\n" + b"c3 - " + b"x" * 40 + b"\nd4 - auth:u:h:pw-u\n":
        client.stream.send(bytes([byte]))
    answers = read(client.stream, 20).splitlines()
    assert sorted(answers) == [b"a1 1", b"b2 0", b"c3 0", b"d4 1"]


def test_a_huge_burst(serve: Serve) -> None:
    """Many windows full, by a client that reads while it writes."""
    client = TaggedClient(serve("--pool-size", 4).connect())
    tags = client.put(*[USER, NO_USER, b"bogus", b"auth:u:h:pw-u"] * 2500)
    assert client.wait(tags) == ["1", "0", "0", "1"] * 2500


def test_lines_that_are_too_long(serve: Serve) -> None:
    daemon = serve("--pool-size", 2, "--max-line", 64)
    client = TaggedClient(daemon.connect())
    fits, too_long = b"auth:u:h:" + b"x" * 55, b"auth:u:h:" + b"x" * 56
    before = daemon.resident()
    tags = client.put(fits, too_long, USER, b"x" * 30_000_000, USER)
    assert client.wait(tags) == ["0", "0", "1", "0", "1"]
    assert daemon.resident() - before < 2048
    log = daemon.log.read_text()
    assert log.count("longer than max_line") == 2
    assert "xxx" not in log


@pytest.mark.parametrize(
    "violation",
    [
        b"first - isuser:u:h\n",
        b"\n",
        b"auth:u:h:hunter2\n",
        b"secret secret secret\n",
        b"9 secret isuser:u:h\n",
        b"12345678901234567 - isuser:secret:h\n",
        b"GET /secret HTTP/1.1\r\nHost: secret\r\n\r\n",
        bytes(range(128, 256)) + b"\n",
        b"secret" * 10_000,
    ],
    ids=lambda violation: repr(violation[:20]),
)
def test_a_violation_ends_the_connection_and_no_other(serve: Serve, journal: Journal, violation: bytes) -> None:
    daemon = serve("--pool-size", 1, env=journal.environment)
    other, client = daemon.connect(), TaggedClient(daemon.connect())
    client.stream.sendall(b"first - " + GATED + b"\nsecond - isuser:u:h\n" + b"third - bogus\n")
    until(lambda: journal.frames() == [GATED], "the program to be asked")
    client.stream.setblocking(True)
    client.stream.settimeout(PATIENCE)
    assert read(client.stream, 8) == b"third 0\n"
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has ended, perhaps before all was sent
        client.stream.sendall(violation)
        assert client.stream.recv(100) == b""
    journal.open_gate()
    assert ask(other, NO_USER) == b"0\n"
    assert journal.frames() == [GATED, NO_USER], "what waited is not asked"
    log = daemon.log.read_text()
    assert log.count("client disconnected: it violated the tagged protocol") == 1
    assert "secret" not in log
    assert "internal error" not in log


# --- clients that go, or do not read ----------------------------------------------------------------------


def test_half_a_close_and_all_is_answered(serve: Serve) -> None:
    client = TaggedClient(serve("--pool-size", 2).connect())
    tags = client.put(slow(200), *[USER, NO_USER] * 400)
    client.finish(b"last - " + USER)
    assert client.wait(tags) == ["1"] + ["1", "0"] * 400, "and nothing for a line that has no end"
    client.wait_for_the_end()


@pytest.mark.slow
def test_a_client_that_does_not_read_gets_no_more_asked_and_holds_nobody_up(serve: Serve, journal: Journal) -> None:
    daemon = serve("--pool-size", 2, "--window", 16, env=journal.environment)
    other, client = daemon.connect(), TaggedClient(daemon.connect())
    tags = client.put(*[b"isuser:u%d:h" % number for number in range(20_000)])
    deadline = time.monotonic() + PATIENCE
    while client.pump(0.5, reads=False):
        assert time.monotonic() < deadline, "it takes in everything"
    before = len(journal.frames())
    for _ in range(20):
        assert ask(other, NO_USER) == b"0\n"
    assert len(journal.frames()) == before + 20, "nothing more of the other's is asked"
    assert before < 10_000
    assert client.wait(tags) == ["1"] * 20_000


def test_one_that_goes_in_the_middle(serve: Serve, journal: Journal) -> None:
    """What no program has is not asked any more, and the next client is served at once."""
    daemon = serve("--pool-size", 2, "--pool-max", 2, env=journal.environment)
    other, client = daemon.connect(), TaggedClient(daemon.connect())
    client.put(*[b"isuser:gate-u%d:h" % number for number in range(100)])
    client.pump(PATIENCE)
    until(lambda: len(journal.frames()) >= 2, "the programs to be asked")
    descriptors = daemon.descriptors()
    client.stream.close()
    until(lambda: daemon.descriptors() < descriptors, "its connection is closed")
    journal.open_gate()
    assert ask(other, USER) == b"1\n"
    assert len(journal.frames()) == 3
    assert "internal error" not in daemon.log.read_text()


@pytest.mark.slow
def test_those_that_go_at_any_moment(serve: Serve, dice: random.Random) -> None:
    """In the middle of a request, of a line, of an answer; meanwhile one that stays gets all of its own answers."""
    daemon = serve("--pool-size", 4, "--pool-max", 4, "--max-requests", 0)  # no other programs come, and stay a while
    staying = TaggedClient(daemon.connect())
    until(lambda: len(daemon.programs()) == 4, "all programs")
    descriptors = daemon.descriptors()
    lines = [b"isuser:%b%d:h" % (dice.choice([b"u", b"no", b"slow3-u"]), number) for number in range(3000)]
    stray = HELLO + b"".join(b"%d ::1 isuser:slow5-stray%d:h\n" % (number, number) for number in range(40))
    tags: list[str] = []
    while len(tags) < len(lines):
        tags += staying.put(*lines[len(tags) : len(tags) + 20])
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(daemon.path))
            sent = client.send(stray[: dice.randrange(1, len(stray))])
            if dice.random() < 0.3:
                client.shutdown(socket.SHUT_WR)
            if sent >= len(HELLO) and dice.random() < 0.3:
                client.settimeout(PATIENCE)
                client.recv(dice.choice([1, 2, 5, 100]))
            staying.pump()
    assert staying.wait(tags) == [oracle.best_answer(line.replace(b"slow3-u", b"u")) for line in lines]
    until(lambda: daemon.descriptors() <= descriptors, "the others are gone")
    assert "internal error" not in daemon.log.read_text()


# --- the operator ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_reload_in_the_middle(serve: Serve, configure: Callable[..., Path], dice: random.Random) -> None:
    """With another window and a lower or higher limit each time: no question is lost, and none changed."""
    daemon = serve(file=configure(program=CHAMELEON, pool_size=3))
    client = TaggedClient(daemon.connect())
    lengths = [30, 100, 1000, 4000]
    for window, limit in [(1, 64), (256, 2000), (3, 100), (40, 4096)]:
        secrets = [b"x" * dice.choice(lengths) for _ in range(400)]
        right = [b"auth:u%d:h:pw-u%d" % (number, number) for number in range(400)]
        wrong = [b"auth:u%d:h:pw-u%d%b" % (number, number, secret) for number, secret in enumerate(secrets)]
        tags = client.put(*[line for pair in zip(right, wrong, strict=True) for line in pair])
        client.pump(PATIENCE, piece=dice.randrange(1, 20_000))
        configure(program=CHAMELEON, pool_size=3, window=window, max_line=limit)
        daemon.process.send_signal(signal.SIGHUP)
        verdicts = client.wait(tags, piece=dice.choice([50, 700, 65536]))
        assert verdicts == ["1", "0"] * 400
    until(lambda: daemon.reloads() == 4, "the reloads are done")
    assert "internal error" not in daemon.log.read_text()


def test_a_stop_in_the_middle(serve: Serve, journal: Journal) -> None:
    """What is in flight is still answered, what had to wait for room is not; then the connection ends."""
    daemon = serve("--pool-size", 2, "--window", 4, env=journal.environment)
    client = TaggedClient(daemon.connect())
    tags = client.put(GATED, b"isuser:gate-no:h", USER, NO_USER, *[USER] * 6)
    client.pump(PATIENCE)
    until(lambda: len(journal.frames()) == 2, "the programs to be asked")
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: not daemon.path.exists(), "it to stop")
    journal.open_gate()
    client.wait_for_the_end()
    assert [client.verdicts[tag] for tag in tags] == ["1", "0", "1", "0"] + ["2"] * 6
    assert daemon.process.wait(PATIENCE) == 0


def test_no_answer_after_the_daemon_stood_still(serve: Serve, journal: Journal) -> None:
    """The program replied in time, but the daemon was stopped until long after."""
    daemon = serve("--pool-size", 2, "--answer-timeout", 0.5, env=journal.environment)
    client = TaggedClient(daemon.connect())
    assert client.ask(USER) == ["1"]
    asked = time.monotonic()
    tags = client.put(GATED)
    client.pump(PATIENCE)
    until(lambda: GATED in journal.frames(), "the program to be asked")
    os.kill(daemon.process.pid, signal.SIGSTOP)
    until(lambda: procfs.is_stopped(daemon.process.pid), "the stop")
    journal.open_gate()
    until(lambda: GATED in [event.body for event in journal.events("reply")], "the program's reply")
    until(lambda: time.monotonic() > asked + 1.0, "the time to be over")
    os.kill(daemon.process.pid, signal.SIGCONT)
    assert client.wait(tags) == ["2"]
    assert client.ask(USER, b"auth:u:h:hunter2") == ["1", "0"]
