"""As many greedy clients as are let in, each sending all it can and reading nothing: the daemon stays small."""

import contextlib
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import procfs
from support.daemon.serving import Daemon, ask, until

pytestmark = pytest.mark.slow

YES = b"1\n"
TRUE = b"isuser:u:h"
MIB = 1024  # in KiB

TAGGED = b"extauth-bridge:tagged:1\n"

LONG = b"auth:slow300-u:h:" + b"x" * (4096 - 18) + b"\n"
SHORT = b"isuser:slow300-u:h\n"
KINDS = {
    "longest lines": LONG,
    "short lines": SHORT,
    "both": SHORT * 192 + LONG * 64,
    "lines of one byte": b"x\n",
    "lines of two bytes": b"ab\n",
    "empty lines": b"\n",
    "lines that end as on Windows": b"a\r\n",
    "lines that are refused for what they say": b"auth:u:h:" + b"\x01" * 4000 + b"\n",
    "lines that are too long": b"x" * 5000 + b"\n",
    "one that never ends": b"x" * 4000,
    "answers at once": b"isuser:u:h\n",
    "longest lines with tags": b"%016d 2001:db8:1234:5678:9abc:def0:1234:5678 " + LONG,
    "short lines with tags": b"%d - " + SHORT,
    "empty lines with tags": b"%d - \n",
    "answers at once with tags": b"%d - isuser:u:h\n",
}
"""A unit with a `%` is a line with a tag, another each time."""


def flood(daemon: Daemon, clients: list[socket.socket], unit: bytes) -> None:
    """Send `unit` over and over to each, until nothing more is taken of any of them, or there is no end to it."""
    ends = b"\n" in unit and b"%" not in unit
    block = unit * (1 + 100_000 // len(unit)) if ends else unit
    if b"%" in unit:
        block = TAGGED + b"".join(unit % number for number in range(2_000_000 // len(unit)))
    sent = dict.fromkeys(clients, 0)
    poll = select.poll()
    for client in clients:
        client.setblocking(False)
        poll.register(client, select.POLLOUT)
    by_number = {client.fileno(): client for client in clients}
    enough = time.monotonic() + 4.0
    while time.monotonic() < enough and ((ready := poll.poll(300)) or is_at_work(daemon)):
        for number, _ in ready:
            client = by_number[number]
            try:
                sent[client] += client.send(block[sent[client] % len(block) :])
            except BlockingIOError:
                continue
            except OSError:  # it was let go
                poll.unregister(client)
                continue
            if not ends and sent[client] == len(block):  # half a line, or each tag, is sent once
                poll.unregister(client)


def is_at_work(daemon: Daemon) -> bool:
    """Whether it has something to do, and perhaps no CPU to do it with."""
    found = procfs.process(daemon.process.pid)
    return found is not None and found.state == "R"


def peak(daemon: Daemon) -> int:
    """KiB that it ever had."""
    return procfs.memory(daemon.process.pid, "VmHWM")


@pytest.mark.parametrize("unit", KINDS.values(), ids=KINDS)
def test_full_of_greedy_clients_it_stays_below_64_mb(serve: Callable[..., Daemon], unit: bytes) -> None:
    daemon = serve("--pool-size", 2, "--pool-max", 2)
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    memory = [daemon.resident()]
    for _ in range(3):
        greedy = [daemon.connect() for _ in range(127)]
        flood(daemon, greedy, unit)
        memory.append(peak(daemon))
        for other in greedy:
            other.close()
        until(lambda: ask(client, TRUE) == YES, "it is as before")
        until(lambda: daemon.descriptors() < 40, "they are gone")
    before, _, second, third = memory  # the first time it may not have got to all of it
    print(f"{before} KiB before, {second} at most, {third} when they come again, {daemon.resident()} afterwards")
    assert third < 64 * MIB
    assert third - second < 4 * MIB, "what was freed and kept is used again"


@pytest.mark.parametrize("unit", [LONG, SHORT, SHORT * 192 + LONG * 64], ids=["long", "short", "both"])
@pytest.mark.parametrize("room", [1, 2, 4, 8, 16, 32], ids=lambda mib: f"{mib} MB more")
def test_without_memory_it_goes_on_or_leaves(serve: Callable[..., Daemon], unit: bytes, room: int) -> None:
    """It may have so much more address space than when it was idle.  Never again a process that sleeps for ever."""
    daemon = serve("--pool-size", 2, "--pool-max", 2)
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    seen = {*daemon.programs()}
    limit = (procfs.memory(daemon.process.pid, "VmSize") + room * MIB) * 1024
    resource.prlimit(daemon.process.pid, resource.RLIMIT_AS, (limit, limit))
    greedy: list[socket.socket] = []
    with contextlib.suppress(OSError, AssertionError, IndexError):  # it has left already
        greedy = [daemon.connect() for _ in range(124)]
        flood(daemon, greedy, unit)
        seen |= {*daemon.programs()}
    for other in greedy:
        other.close()
    with contextlib.suppress(OSError, AssertionError):  # this client may have been let go, or all of them
        until(lambda: ask(client, TRUE) == YES, "it serves")
    with contextlib.suppress(OSError, IndexError):
        seen |= {*daemon.programs()}
    leaves(daemon, seen)


@pytest.mark.parametrize("limit", [120, 150, 180, 220])
def test_with_a_limit_greedy_clients_do_not_reach_it_serves(serve: Callable[..., Daemon], limit: int) -> None:
    daemon = serve("--pool-size", 2, "--pool-max", 2, address_space=limit << 20)
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    flood(daemon, [daemon.connect() for _ in range(124)], LONG)
    until(lambda: ask(client, TRUE) == YES, "it serves")
    for number in range(20):
        assert ask(client, b"isuser:no:h" if number % 2 else TRUE) in (YES, b"0\n")
    assert "internal error" not in daemon.log.read_text()


def leaves(daemon: Daemon, programs: set[int]) -> None:
    """It does, within its bound, and so do its programs; whatever its status: Python itself may have ended it."""
    with contextlib.suppress(ProcessLookupError):
        daemon.process.send_signal(signal.SIGTERM)
    daemon.process.wait(4 + 2 * 2 + 4 + 5)
    print(f"status {daemon.process.returncode}")
    until(lambda: not any(map(is_alive, programs)), "the programs are gone")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(daemon.path)  # left there if Python itself has ended it


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
