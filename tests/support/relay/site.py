"""The surroundings of a relay in a test: the daemon behind it, the command a client on a pty starts, its log."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from support.faults import fault
from support.pty.driver import PATIENCE, Client, Emulation, LuaClient
from support.relay.daemon import LineDaemon

ROOT = Path(__file__).parents[3]
LAUNCHER = Path(__file__).parent / "launcher.py"

OPTIONS = {
    "lpty12": (),
    "lpty10": ("--icanon", "--no-ctty"),
    "nonblocking": ("--no-blocking",),
    "raced": ("--race",),
}


def environment() -> dict[str, str]:
    """Ours, with the checkout's package first."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def relay(*arguments: object, **popen: object) -> subprocess.Popen[bytes]:
    """A relay on pipes, or on whatever `popen` says."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
    return subprocess.Popen([sys.executable, str(LAUNCHER), *map(str, arguments)], env=environment(), **pipes)  # type: ignore[call-overload, no-any-return]


class RelaySite:
    """A directory with a daemon, a configuration file with `connect`, and clients on ptys.

    Attributes:
      file: the configuration; `configure` writes it.
      log: where it has the relay log to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.daemon = LineDaemon(root / "auth.sock")
        self.file = root / "relay.toml"
        self.log = root / "relay.log"
        self.configure()
        self.clients: list[Client] = []

    def configure(self, **values: object) -> None:
        """The daemon's socket, the log, and `values`."""
        settings = {"connect": str(self.daemon.path), **values}
        lines = [
            f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in settings.items()
        ]
        self.file.write_text("\n".join([*lines, "[log]", f'target = "file:{self.log}"', ""]))

    def client(self, kind: str = "lpty12", code: str = "") -> Client:
        """A client whose helper is a relay by that file, which runs `code` before anything else."""
        command = self.root / "helper"
        words = shlex.join([sys.executable, str(LAUNCHER), str(self.file)])
        variables = fault(self.root, code) if code else environment()
        path = f"export PYTHONPATH={shlex.quote(variables['PYTHONPATH'])}"
        command.write_text(f"#!/bin/sh\n{path}\nexec {words}\n")
        command.chmod(0o755)
        client: Client = LuaClient(command) if kind == "lua" else Emulation(command, *OPTIONS[kind])
        self.clients.append(client)
        return client

    def ready(self, kind: str = "lpty12", code: str = "") -> Client:
        """As `client`, with a helper that is ready to read: no echo race."""
        client = self.client(kind, code)
        client.start()
        until(lambda: bool(self.relays(client)), "the relay to be ready")
        return client

    def emulation(self, kind: str = "lpty12", code: str = "") -> Emulation:
        """As `ready`, for what only the emulation can do."""
        client = self.ready(kind, code)
        assert isinstance(client, Emulation)
        return client

    def relays(self, client: Client) -> list[int]:
        """The pids of the client's relays that wait in poll(2), ready to read."""
        return [pid for pid in client.children() if waits(pid)]

    def logged(self) -> str:
        """The log so far."""
        return self.log.read_text() if self.log.exists() else ""

    def close(self) -> None:
        """End everything, and check that no secret was logged."""
        pids = [pid for client in self.clients if client.process.returncode is None for pid in client.children()]
        for client in self.clients:
            client.close()
        self.daemon.stop()
        until(lambda: not any(map(alive, pids)), "the relays to go with their client")
        text = self.logged()
        assert "pass-" not in text
        assert "wrong-" not in text
        assert "Traceback" not in text
        assert "internal error" not in text


def waits(pid: int) -> bool:
    """Whether this is a Python that sleeps in poll(2) over its epoll set."""
    with contextlib.suppress(OSError):
        home = Path(f"/proc/{pid}")
        if not (home / "stat").read_text().rpartition(") ")[2].startswith("S"):
            return False
        return any(os.readlink(entry) == "anon_inode:[eventpoll]" for entry in (home / "fd").iterdir())
    return False


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def until(condition: object, what: str, seconds: float = PATIENCE) -> None:
    """Wait for `condition()`."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited for {what}")
        time.sleep(0.002)


@contextlib.contextmanager
def relay_site() -> Iterator[RelaySite]:
    """A RelaySite in a short directory: the name of a socket has at most 107 bytes."""
    root = Path(tempfile.mkdtemp(prefix="relay-"))
    try:
        site = RelaySite(root)
        try:
            yield site
        finally:
            site.close()
    finally:
        shutil.rmtree(root)
