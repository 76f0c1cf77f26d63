"""A shared daemon under test, and its clients: plain sockets."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from support.process import COMMAND, ROOT, environment
from support.programs.bad import CHAMELEON

PATIENCE = 10.0  # seconds

HANDED = ("/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh")
"""What systemd says to nobody but the process that is to have the sockets."""


class Daemon:
    """A daemon of one test, and its clients.

    Args:
      options: those of `serve`.
      file: its configuration, instead of a program that answers as its questions tell it to.
      env: added to its environment.
      descriptors: how many it may have.
      address_space: bytes it may have, and its programs as well.
      handed: a listening socket passed as by systemd, instead of creating one.
      checkout: the directory whose `bridge` it is; the same must be the first of PYTHONPATH.
      command: what to run instead of `python -m bridge`.
    """

    def __init__(
        self,
        folder: Path,
        *options: object,
        file: Path | None = None,
        env: Mapping[str, str] | None = None,
        descriptors: int | None = None,
        address_space: int | None = None,
        handed: socket.socket | None = None,
        checkout: Path = ROOT,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.path = folder / "auth.sock"
        self.status_path = folder / "status.sock"
        self.log = folder / "log"
        own = [] if handed else ["--listen", self.path]
        words = ["serve", *own, "--log-target", f"file:{self.log}", *options]
        words += ["--", *CHAMELEON] if file is None else [file]
        prefix: Sequence[str] = HANDED if handed else ()
        variables = {**(env or {}), **({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "auth"} if handed else {})}

        def prepare() -> None:
            if handed is not None:
                os.dup2(handed.fileno(), 3)
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
            if address_space is not None:
                resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))

        self.process = subprocess.Popen(
            [*prefix, *command, *map(str, words)],
            cwd=checkout,
            env=environment(variables),
            preexec_fn=prepare,  # noqa: PLW1509 (between fork and exec there is nothing but this)
            pass_fds=(3,) if handed else (),
        )
        self.clients: list[socket.socket] = []

    def connect(self) -> socket.socket:
        """A client; waits for the daemon to listen."""
        return self._connected(self.path)

    def connect_status(self) -> socket.socket:
        """A connection to the status socket that has not read yet."""
        return self._connected(self.status_path)

    def _connected(self, path: Path) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        self.clients.append(client)

        def is_connected() -> bool:
            assert self.process.poll() is None, "the daemon is gone"
            try:
                client.connect(os.fspath(path))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            return True

        until(is_connected, "the daemon comes up")
        return client

    def stop(self) -> int:
        """Stop it; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def reload(self) -> None:
        """Have the configuration read again, and wait until it is in force or refused."""
        said = self.reloads()
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self.reloads() > said, "the reload is done")

    def logged(self) -> str:
        """What it has logged so far: it listens, and its programs start, before there is a file."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def reloads(self) -> int:
        """How often a configuration was loaded or refused."""
        text = self.logged()
        return text.count("configuration loaded") + text.count("configuration refused")

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self) -> int:
        """Its resident memory in KiB."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4

    def programs(self) -> list[int]:
        """The programs' process ids."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


def until(true: Callable[[], bool], what: str) -> None:
    """Poll for a condition that has no event."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.005)


def read(client: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, or what came before the end."""
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def ask(client: socket.socket, line: bytes) -> bytes:
    """The answer to one line, its line end included; nothing if the daemon hung up."""
    client.sendall(line + b"\n")
    return read(client, 2)
