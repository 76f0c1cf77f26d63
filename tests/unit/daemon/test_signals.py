"""Blocked signals are not lost, and end nothing too early; in separate processes."""

import signal
import subprocess
import sys

import pytest
from support.process import environment

from bridge.daemon.signals import OBEYED

BEGIN = """
import os, signal, sys
from bridge.daemon import signals
def leave(number, frame):
    sys.exit(f"left by {number}")
def waiting():
    return sorted(signal.sigpending())
def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)
"""


def said(code: str) -> str:
    """What it prints on stdout and stderr."""
    argv = [sys.executable, "-c", BEGIN + code]
    done = subprocess.run(argv, check=False, env=environment(), capture_output=True, timeout=60, text=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("number", sorted({*OBEYED} - {signal.SIGUSR1}))
def test_one_that_waits_ends_the_process_as_soon_as_it_may(number: signal.Signals) -> None:
    code = f"signals.block(); send({number:d}); print('begun', flush=True); signals.exit_on(leave, True); print('late')"
    assert said(code) == f"begun\nleft by {number:d}\n"


def test_what_is_requested_waits_on_while_others_end_the_process() -> None:
    code = "signals.block(); send(1, 10); signals.exit_on(leave, False); print(waiting(), flush=True); send(15)"
    assert said(code) == f"{[signal.SIGHUP, signal.SIGUSR1]}\nleft by 15\n"


def test_what_we_were_started_to_ignore_stays_ignored() -> None:
    code = "signal.signal(2, signal.SIG_IGN); signals.block(); signals.exit_on(leave, True); send(2); print('here')"
    assert said(code) == "here\n"


def test_they_are_delivered_for_a_while_and_wait_again_whatever_happens() -> None:
    code = """
signals.block()
for number in signals.OBEYED:
    signal.signal(number, lambda number, _frame: print(number))
send(1)
try:
    with signals.unblocked():
        send(15)
        raise OSError
except OSError:
    send(2)
print(waiting())
"""
    assert said(code) == f"1\n15\n{[signal.SIGINT]}\n"


def test_the_end_by_sigterm_does_not_wait() -> None:
    assert said("signals.block(); send(15); signals.end_with(leave)") == "left by 15\n"


def test_every_signal_waits_and_the_mask_is_as_before() -> None:
    code = """
signals.block()
signal.signal(12, leave)
with signals.all_blocked():
    send(12)
    print(waiting(), flush=True)
"""
    assert said(code) == f"{[signal.SIGUSR2]}\nleft by 12\n"
