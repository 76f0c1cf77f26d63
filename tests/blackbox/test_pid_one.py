"""The bridge as PID 1 of a container: what nobody else reaps, and signals that the kernel drops unless handled."""

import ctypes
import os
import re
import signal
from pathlib import Path

import pytest
from support import procfs
from support.faults import fault
from support.pidone import as_pid_1
from support.process import Bridge
from support.programs.bad import CHAMELEON, habit

from .conftest import Start

ALICE = b"isuser:alice:example.com"
GONE = b"isuser:gone:example.com"
ORPHANS = habit("forks_twice", 20)
"""Each orphan it leaves ends after 20 ms."""


AT_THE_START = """
    import os, signal, sys
    class Finder:
        def find_spec(self, name, path, target=None):
            if name in ("bridge.commands.cli", "bridge.commands.connect"):
                os.kill(1, signal.SIGTERM)
    sys.meta_path.insert(0, Finder())
"""
"""A signal, before anything but the terminal has been looked at."""


RUN = ("run", "--pool-size", 2, "--pool-max", 2)  # a spare would stay for a minute


def run_as_pid_1(start: Start, *options: object, program: tuple[str, ...] = ORPHANS, **more: object) -> Bridge:
    return as_pid_1(start, *RUN, "--answer-timeout", 10, *options, "--", *program, **more)


def until_no_zombie_is_left(bridge: Bridge) -> None:
    bridge.until(lambda: len(bridge.programs()) == 2 and not bridge.zombies(), "only the programs to be left")


def exit_statuses(bridge: Bridge) -> list[str]:
    return re.findall(r"status=(-?\d+)", bridge.log.decode())


def be_a_subreaper() -> None:
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


@pytest.mark.parametrize("as_what", ["PID 1", "subreaper"])
def test_orphans_are_reaped(start: Start, as_what: str) -> None:
    bridge = run_as_pid_1(start) if as_what == "PID 1" else start(*RUN, "--", *ORPHANS, prepare=be_a_subreaper)
    assert {answer.verdict for answer in bridge.converse([ALICE] * 100)} == {"1"}
    until_no_zombie_is_left(bridge)
    assert exit_statuses(bridge) == []
    bridge.finish()


def test_programs_keep_their_exit_status(start: Start) -> None:
    """Orphans and programs end at the same time."""
    bridge = run_as_pid_1(start, "--max-requests", 10)
    for _ in range(4):
        answers = bridge.converse([*[ALICE] * 20, GONE])
        assert [answer.verdict for answer in answers] == ["1"] * 20 + ["0"]
    until_no_zombie_is_left(bridge)
    assert set(exit_statuses(bridge)) == {"3"}, bridge.tail()
    bridge.finish()


def test_a_relay_reaps_too(start: Start, tmp_path: Path) -> None:
    """What an entry point of a container left running, say."""
    wrapper = ("/bin/sh", "-c", 'sleep 0.2 & exec "$@"', "sh")
    bridge = as_pid_1(start, "connect", tmp_path / "none.sock", wrapper=wrapper)
    assert bridge.ask(ALICE).verdict == "0"
    bridge.until(lambda: not procfs.children(bridge.pid), "nothing to be left")
    bridge.finish()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(start: Start, number: signal.Signals) -> None:
    bridge = run_as_pid_1(start)
    assert bridge.ask(ALICE).verdict == "1"
    bridge.signal(number)
    assert bridge.wait() == 0, bridge.tail()
    bridge.check_nothing_left()


def test_a_signal_ends_the_daemon(start: Start, tmp_path: Path) -> None:
    listener = tmp_path / "auth.sock"
    bridge = as_pid_1(start, "serve", "--listen", listener, "--pool-size", 2, "--", *ORPHANS)
    bridge.until(lambda: b"serving" in bridge.log, "the daemon to serve")
    bridge.signal(signal.SIGTERM)
    assert bridge.wait() == 0, bridge.tail()
    assert not listener.exists()
    bridge.check_nothing_left()


@pytest.mark.parametrize("command", ["run", "connect"])
def test_a_signal_right_at_the_start_ends_it(start: Start, tmp_path: Path, command: str) -> None:
    words = ("run", "--", *CHAMELEON) if command == "run" else ("connect", tmp_path / "none.sock")
    bridge = as_pid_1(start, *words, env=fault(tmp_path, AT_THE_START))
    assert bridge.wait() == 0, bridge.tail()
    assert not bridge.log


def test_a_signal_is_no_yes(start: Start, tmp_path: Path) -> None:
    """The exit status of `ask` is its answer."""
    words = ("ask", "isuser", "nobody@example.com", "--", *CHAMELEON)
    with open(os.devnull, "wb") as null:
        bridge = as_pid_1(start, *words, stdout=null.fileno(), env=fault(tmp_path, AT_THE_START))
    assert bridge.wait() == 1, bridge.tail()


@pytest.mark.slow
def test_a_signal_at_any_moment_ends_it(start: Start) -> None:
    """Once there is a handler; a signal that comes while it is blocked is not lost."""
    for milliseconds in range(0, 200, 20):
        bridge = run_as_pid_1(start, "--shutdown-grace", 0.2)
        bridge.until(lambda bridge=bridge: handles_sigterm(bridge.pid), "a handler")
        bridge.pump(milliseconds / 1000)
        bridge.signal(signal.SIGTERM)
        assert bridge.wait() == 0, bridge.tail()
        bridge.check_nothing_left()


def handles_sigterm(pid: int) -> bool:
    """Whether SIGTERM is caught, by whoever is started as that process."""
    try:
        fields = Path(f"/proc/{pid}/status").read_text()
    except ProcessLookupError:
        return True
    caught = re.search(r"^SigCgt:\t(\w+)", fields, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)
