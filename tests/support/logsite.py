"""Shared by the tests of log targets: the log daemons around a process, and its log."""

import logging
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from bridge.log.events import log
from bridge.log.setup import configure
from support import canary
from support.clock import Clock

DEADLINE = 15.0
"""Seconds; only a log that waits for somebody needs as long."""

NOWHERE = "/nonexistent/socket"


class Settings:
    def __init__(self, target: str) -> None:
        self.level = "debug"
        self.target = target


class Daemon:
    """A socket like journald's and syslogd's."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.start()

    def start(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    def stop(self) -> None:
        self._socket.close()
        os.unlink(self.path)

    def close(self) -> None:
        self._socket.close()

    def received(self) -> list[bytes]:
        found: list[bytes] = []
        while True:
            try:
                found.append(self._socket.recv(1 << 20))
                canary.look(found[-1], "the log of a stand-in of journald or syslogd")
            except BlockingIOError:
                return found

    def messages(self) -> list[str]:
        """Only the messages."""
        return [
            re.sub(rb"^<\d+>\S+: ", b"", datagram.split(b"\n")[0].removeprefix(b"MESSAGE=")).decode()
            for datagram in self.received()
        ]


class Site:
    """A process's log daemons, and its log."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.journal = Daemon(root / "journal")
        self.syslog = Daemon(root / "syslog")

    def configure(
        self,
        target: str = "auto",
        client_terminal: bool = False,
        *,
        stderr: int = -1,
        journal: str = NOWHERE,
        syslog: str = NOWHERE,
    ) -> None:
        configure(Settings(target), client_terminal, stderr=stderr, journal=journal, syslog=syslog, clock=self.clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()
        self.syslog.close()
        for handler in handlers():
            log.removeHandler(handler)
            handler.close()


def taken(fd: int) -> str:
    """Everything that can be read without blocking."""
    data = b""
    try:
        while more := os.read(fd, 1 << 20):
            data += more
    except BlockingIOError:
        pass
    return data.decode()


def texts(data: str) -> list[str]:
    """The lines without their prefixes."""
    return [re.sub(r"^\S+ \w+ extauth-bridge\[\d+\]: ", "", line) for line in data.splitlines()]


def in_time(what: Callable[[], object]) -> None:
    """Run it, and fail if it never returns."""

    def late(*_: object) -> None:
        pytest.fail("the log waits")  # not an Exception, which the log would swallow

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    try:
        what()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def flood(times: int = 2000, text: str = "flood " * 20) -> None:
    for number in range(times):
        log.info("%s %d", text, number)


def handlers() -> list[logging.Handler]:
    """The handlers that `configure` added."""
    return [handler for handler in log.handlers if type(handler).__module__ == "bridge.log.setup"]


def descriptors() -> set[int]:
    """All open descriptors but the one used to list them."""
    return {int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}
