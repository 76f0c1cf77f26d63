"""As many greedy clients as are let in, each sending all it can and reading nothing: the daemon stays small."""

import select
import socket
import time
from collections.abc import Callable

import pytest
from support import procfs
from support.serving import Daemon, ask, until

YES = b"1\n"
TRUE = b"isuser:u:h"
MIB = 1024  # in KiB

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
}


def flood(clients: list[socket.socket], unit: bytes) -> None:
    """Send `unit` over and over to each, until nothing more is taken of any of them, or there is no end to it."""
    ends = b"\n" in unit
    block = unit * (1 + 100_000 // len(unit)) if ends else unit
    sent = dict.fromkeys(clients, 0)
    poll = select.poll()
    for client in clients:
        client.setblocking(False)
        poll.register(client, select.POLLOUT)
    by_number = {client.fileno(): client for client in clients}
    enough = time.monotonic() + 4.0
    while time.monotonic() < enough and (ready := poll.poll(300)):
        for number, _ in ready:
            client = by_number[number]
            try:
                sent[client] += client.send(block[sent[client] % len(block) :])
            except BlockingIOError:
                continue
            except OSError:  # it was let go
                poll.unregister(client)
                continue
            if not ends and sent[client] == len(block):  # half a line is sent once
                poll.unregister(client)


def peak(daemon: Daemon) -> int:
    """KiB that it ever had."""
    return procfs.memory(daemon.process.pid, "VmHWM")


@pytest.mark.parametrize("unit", KINDS.values(), ids=KINDS)
def test_full_of_greedy_clients_it_stays_below_64_mb(serve: Callable[..., Daemon], unit: bytes) -> None:
    daemon = serve("--pool-size", 2)
    client = daemon.connect()
    assert ask(client, TRUE) == YES
    memory = [daemon.resident()]
    for _ in range(2):
        greedy = [daemon.connect() for _ in range(127)]
        flood(greedy, unit)
        memory.append(peak(daemon))
        for other in greedy:
            other.close()
        until(lambda: ask(client, TRUE) == YES, "it is as before")
        until(lambda: daemon.descriptors() < 40, "they are gone")
    before, first, second = memory
    print(f"{before} KiB before, {first} at most, {second} when they come again, {daemon.resident()} afterwards")
    assert second < 64 * MIB
    assert second - first < 4 * MIB, "what was freed and kept is used again"
