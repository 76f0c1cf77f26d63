"""Orphans are reaped, and nobody else; in separate processes, which would otherwise reap what other tests started."""

import ctypes
import subprocess
import sys

import pytest
from support.process import environment

SET_CHILD_SUBREAPER = 36

BEGIN = """
import os, select, sys
from bridge.loop.orphans import left_to_us, reap_orphans
from bridge.loop.reactor import Reactor
from bridge.worker.spawn import programs, start

def ended(pid):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
def child(status):
    "As good as an orphan: a child that nobody waits for, and that has ended."
    pid = os.fork()
    if pid == 0:
        os._exit(status)
    ended(pid)
def program(status):
    process = start(("/bin/sh", "-c", f"exit {status}"), "/", {})
    ended(process.pid)
    return process
def zombies():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return len(file.read().split())

now = 0.0
reactor = Reactor(clock=lambda: now)
"""


def said(code: str, subreaper: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code],
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
        preexec_fn=(lambda: ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)) if subreaper else None,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("subreaper", [False, True])
def test_whether_they_are_left_to_us(subreaper: bool) -> None:
    assert said("print(left_to_us())", subreaper) == f"{subreaper}\n"


def test_they_are_reaped_again_and_again() -> None:
    code = """
reap_orphans(reactor)
for _ in range(3):
    for status in range(5):
        child(status)
    before = zombies()
    now += 1
    reactor.run_once()
    print(before, zombies())
"""
    assert said(code) == "5 0\n" * 3


def test_a_programs_exit_status_is_for_its_owner() -> None:
    """Those that ended after it have to wait until it is reaped; those before it do not."""
    code = """
child(1)
process = program(3)
child(2)
reap_orphans(reactor, programs)
reactor.run_once()
print(zombies(), process.wait(), programs)
now += 1
reactor.run_once()
print(zombies())
"""
    assert said(code) == "2 3 {}\n0\n"


def test_a_program_without_an_owner_is_an_owned_one_no_longer() -> None:
    code = """
process = start(("/bin/sleep", "1000"), "/", {})
print([*programs] == [process.pid])
process.discard()
print(programs, zombies())
"""
    assert said(code) == "True\n{} 0\n"


def test_no_child_at_all() -> None:
    assert said("reap_orphans(reactor); reactor.run_once(); now += 1; reactor.run_once(); print(zombies())") == "0\n"
