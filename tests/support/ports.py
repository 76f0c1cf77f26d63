"""Ports for servers that are started a moment later, and again perhaps: nobody else takes them meanwhile."""

import contextlib
import secrets
import socket
from pathlib import Path

_FIRST = 10_000
"""Below are those of well-known services."""

_LAST = 30_000
"""At least so many are there to choose from, where the kernel itself gives almost any."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has, and that no other test run is given while this process lives.

    The kernel gives none of them to anybody who wants just any port, as clients do.
    """
    last = max(int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]), _LAST)
    ports: list[int] = []
    while len(ports) < count:
        port = _FIRST + secrets.randbelow(last - _FIRST)
        if _is_ours(port):
            ports.append(port)
    return ports


def _is_ours(port: int) -> bool:
    """Take it if it is free: a name says so to other test runs, for as long as it is bound."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as name, socket.socket() as listener:
        name.bind(f"\0extauth-test-port-{port}")
        listener.bind(("127.0.0.1", port))
        name.detach()  # until this process ends
        return True
    return False
