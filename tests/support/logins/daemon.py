"""The daemon, started in one of several ways, and the connection to it that can be cut."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import trio

from support import configfile, procfs
from support.components import command
from support.daemon.serving import until
from support.process import environment

PATIENCE = 20.0  # seconds, reached only by a daemon that does not come up

# By itself; by the real systemd-socket-activate, at its first client; with a socket that outlives it, as systemd has.
WAYS = ("alone", "activated", "held")

# What systemd does between fork and exec.
HAND_OVER = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""

KEEPER = Path(__file__).parents[2] / "programs" / "keeper.py"


def keeper(state: Path) -> list[str]:
    """The program, as a command."""
    return [sys.executable, "-I", "-S", "-B", str(KEEPER), str(state)]


class Daemon:
    """`extauth-bridge serve`.

    Attributes:
      path: its socket; file: its configuration; log: what it says; state: what its programs know.
    """

    def __init__(self, directory: Path) -> None:
        self.path, self.file, self.log = directory / "auth.sock", directory / "daemon.toml", directory / "daemon.log"
        self.state = directory / "state"
        self.state.mkdir()
        self._held: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, **settings: object) -> None:
        """Write a configuration; with `program` or a wrong key, a broken one."""
        fixed = {"program": keeper(self.state), "socket_mode": 0o666, "shutdown_grace": 0.2, "pool_size": 4}
        configfile.write(self.file, {**fixed, **settings, "log": {"target": f"file:{self.log}"}})

    def start(self, way: str) -> None:
        """Start it, and wait until it is listening, or somebody is for it."""
        own = [sys.executable, "-m", "bridge", "serve"]
        variables: dict[str, str] = {}
        if way == "held":
            self._held = self._held or self._listening()
            words = [sys.executable, "-I", "-S", "-c", HAND_OVER, str(self._held.fileno()), *own, str(self.file)]
            variables = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "auth"}
        else:
            self._let_go()
            words = [*own, "--listen", str(self.path), str(self.file)]
        if way == "activated":
            self.path.unlink(missing_ok=True)
            activate = command("systemd-socket-activate", "systemd")
            path = environment()["PYTHONPATH"]
            words = [activate, f"--listen={self.path}", f"-EPYTHONPATH={path}", *own, str(self.file)]
        self._process = subprocess.Popen(
            words,
            env=environment(variables),
            umask=0,
            stderr=subprocess.DEVNULL,
            pass_fds=[self._held.fileno()] if self._held else [],
        )

        if way == "activated":  # whose sockets are its own user's
            until(self.path.exists, "systemd-socket-activate listens")
            self.path.chmod(0o666)

    def _listening(self) -> socket.socket:
        self.path.unlink(missing_ok=True)
        one = socket.socket(socket.AF_UNIX)
        before = os.umask(0)  # anybody may connect from the first moment on: Prosody is another user
        try:
            one.bind(str(self.path))
        finally:
            os.umask(before)
        one.listen(128)
        return one

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None
            self.path.unlink(missing_ok=True)

    async def answers(self) -> None:
        """Wait until it does, and is no other process on its way to becoming it."""
        deadline = time.monotonic() + PATIENCE
        while not await trio.to_thread.run_sync(self._greets):
            assert self.running(), f"the daemon has gone: {self.log.read_text()[-1000:]}"
            assert time.monotonic() < deadline, "the daemon does not come up"
            await trio.sleep(0.02)

    def _greets(self) -> bool:
        with socket.socket(socket.AF_UNIX) as one, contextlib.suppress(OSError):
            one.settimeout(5)
            one.connect(str(self.path))
            one.sendall(b"extauth-bridge:answers:3\n")
            return one.recv(2) == b"1\n"
        return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def programs(self) -> list[int]:
        """Their process ids."""
        return [one.pid for one in procfs.children(self.pid) if not one.is_zombie]

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: int) -> None:
        """By SIGTERM, or SIGKILL."""
        assert self._process is not None
        self.signal(number)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Everything goes."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._let_go()

    def reloads(self, what: str) -> int:
        """How often a configuration was `loaded` or `refused`."""
        return self.log.read_text().count(f"configuration {what}")


class Line:
    """The line between Prosody and the daemon, which can be cut.

    Attributes:
      path: where Prosody connects to.
      spoil: what is done with the daemon's next answers, and what is let through of them.
    """

    def __init__(self, path: Path, daemon: Path, chance: random.Random) -> None:
        self.path, self._daemon, self._chance = path, daemon, chance
        self.spoil: Callable[[bytes], tuple[bytes, bool]] | None = None
        self._ends: set[trio.CancelScope] = set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is cancelled."""
        with trio.socket.socket(trio.socket.AF_UNIX) as listening:
            await listening.bind(str(self.path))
            listening.listen(128)
            self.path.chmod(0o666)
            task_status.started()
            async with trio.open_nursery() as nursery:
                while True:
                    client, _ = await listening.accept()
                    nursery.start_soon(self._connect, trio.SocketStream(client))

    async def _connect(self, client: trio.SocketStream) -> None:
        with contextlib.suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            async with client, await trio.open_unix_socket(str(self._daemon)) as daemon:
                with trio.CancelScope() as end:
                    self._ends.add(end)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._copy, client, daemon, end, False)
                        nursery.start_soon(self._copy, daemon, client, end, True)
                self._ends.discard(end)

    async def _copy(
        self, source: trio.SocketStream, target: trio.SocketStream, end: trio.CancelScope, answers: bool
    ) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(65536):
                over = False
                if answers and self.spoil:
                    (data, over), self.spoil = self.spoil(data), None
                for piece in (data[:1], data[1:]) if self._chance.random() < 0.05 else (data,):
                    await target.send_all(piece)
                if over:
                    break
        end.cancel()

    def cut(self) -> None:
        """Both ways, at once."""
        for end in self._ends:
            end.cancel()

    def cut_within_an_answer(self) -> None:
        """The next that comes is the last, and not whole."""

        def part(data: bytes) -> tuple[bytes, bool]:
            return data[: self._chance.randrange(len(data))], True

        self.spoil = part
