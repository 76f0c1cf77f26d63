"""A bridge, daemon or relay that is stopped (SIGSTOP) for longer than `answer_timeout`, while its programs go on."""

import fcntl
import os
import signal
import socket
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import procfs
from support.daemon.serving import read, until
from support.process import Bridge
from support.programs.bad import Journal

TIMEOUT = 0.5
STOP = 0.8
AT_ONCE = 2.0
"""Seconds: as quick as a loaded machine lets it be; a wait for a timeout or a back-off would add to it."""

# epoll_wait, epoll_pwait, epoll_pwait2 and poll, by machine.
WAITS = {"x86_64": {"232", "281", "441", "7", "271"}, "aarch64": {"22", "441", "73"}}


def unread_by_peer(client: socket.socket) -> int:
    """How much of what a client has sent on a Unix socket the daemon has not read; with the buffers' overhead."""
    return int.from_bytes(fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, b"\0" * 4), sys.byteorder)


def received(client: socket.socket) -> bytes:
    """What has arrived for a client, without waiting for more."""
    there = int.from_bytes(fcntl.ioctl(client.fileno(), termios.FIONREAD, b"\0" * 4), sys.byteorder)
    return read(client, there)


def stop(pid: int) -> bool:
    """Stop a process; returns whether it was waiting for events, not working."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: procfs.is_stopped(pid), "the stop")
    try:
        number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    except PermissionError:
        pytest.skip("needs to read the bridge's /proc/PID/syscall")
    return number in WAITS[os.uname().machine]


def stand_still(pid: int, began: float, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Wait until STOP seconds after `began`."""
    meanwhile()
    pause(max(0.0, began + STOP - time.monotonic()))
    os.kill(pid, signal.SIGCONT)


def until_asked(journal: Journal, *lines: bytes) -> None:
    """Return when programs have been given all of these."""
    until(lambda: set(lines) <= set(journal.frames()), "the programs to be asked")


def let_reply(journal: Journal, *lines: bytes) -> None:
    """Have programs reply to all of these, for which they wait at a gate; return when they have, or are about to."""
    journal.open_gate()
    until(lambda: set(lines) <= {event.body for event in journal.events("reply")}, "the programs' replies")
    journal.close_gate()


def pause(seconds: float) -> None:
    """Let time pass, where the time itself is what matters."""
    time.sleep(seconds)


def send(bridge: Bridge, *lines: bytes) -> int:
    """Send lines, and wait until the bridge has read them; returns how many answers there were before."""
    known = len(bridge.verdicts)
    bridge.send(b"".join(line + b"\n" for line in lines))
    bridge.until(lambda: bridge.unread == 0, "the lines to be read")
    return known


def take(bridge: Bridge) -> int:
    """Read what the bridge has written; returns how many answers there are now."""
    while bridge.pump(0):
        pass
    return len(bridge.verdicts)


def verdicts(bridge: Bridge, first: int, last: int) -> str:
    """Wait for all answers, and return them."""
    bridge.wait_for_answers(last)
    return "".join(bridge.verdicts[first:last])


def check_well(bridge: Bridge) -> None:
    """A right and a wrong question are answered rightly and at once."""
    assert bridge.ask(b"auth:u:h:hunter2").verdict == "0"
    answer = bridge.ask(b"isuser:u:h")
    assert answer.verdict == "1"
    assert answer.seconds < AT_ONCE
