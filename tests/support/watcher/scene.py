"""Real processes for the Watcher: a client that holds masters, and a probe on each of the terminals.

    scene = Scene("import os; os.read(master, 1)")
    scene.probe.until("WAITING")
    scene.close()

The Watcher looks at the ancestors of its own process, so a grandchild of the test has it, the probe.  The test
asks it over a socket.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from support import procfs

ROOT = Path(__file__).parents[3]
# Generous, in seconds: reached only by a test that fails.
PATIENCE = 20.0


class Probe:
    """The test's end of the socket to one probe."""

    def __init__(self) -> None:
        self._socket, self.theirs = socket.socketpair()
        self._socket.settimeout(PATIENCE)
        self._lines = self._socket.makefile("r")

    def ask(self, request: str) -> str:
        self._socket.sendall(f"{request}\n".encode())
        line = self._lines.readline()
        assert line, f"the probe ended at: {request}"
        return line.rstrip("\n")

    @property
    def pid(self) -> int:
        return int(self.ask("pid"))

    def until(self, view: str) -> None:
        """Look until this is seen."""
        deadline = time.monotonic() + PATIENCE
        while (seen := self.ask("look")) != view:
            assert time.monotonic() < deadline, f"saw {seen}, not {view}: {self.ask('describe')}"
            os.sched_yield()

    def always(self, view: str) -> None:
        """Looks a hundred times and more: this is all that is seen."""
        for _ in range(5):
            assert self.ask("looks 25") == view, self.ask("describe")

    def stop(self) -> None:
        """Tell the probe to end."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Wait until it has ended."""
        while self._socket.recv(4096):
            pass
        self._lines.close()
        self._socket.close()


class Scene:
    """One client with its probes.

    Args:
      code: what the client does when the probes are started, see `client`.
      probes: how many.
      wrapper: command and arguments before the probe's own.
      command: the client, if not `client`; the probe's command is appended to it.
      prefix: command and arguments before the client's own.
      python: runs the client and the probes.
      user: of the client and its probes.
      pass_fds: more descriptors for them.
    """

    def __init__(
        self,
        code: str = "",
        *,
        probes: int = 1,
        wrapper: Sequence[str] = (),
        command: Sequence[str] = (),
        prefix: Sequence[str] = (),
        python: str = sys.executable,
        user: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.probes = [Probe() for _ in range(probes)]
        controls = [str(probe.theirs.fileno()) for probe in self.probes]
        if command:
            client = [*command, python, "-m", "support.watcher.probe", *controls]
        else:
            client = [python, "-m", "support.watcher.client", code, "\n".join(wrapper), *controls]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        self.process = subprocess.Popen(
            [*prefix, *client],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[*map(int, controls), *pass_fds],
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        for probe in self.probes:
            probe.theirs.close()
        assert self.line() == "ready"

    @property
    def probe(self) -> Probe:
        return self.probes[0]

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """The next line of the client's output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip("\n")

    def go_on(self) -> None:
        """One line to the client's input."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def until_state(self, states: str) -> None:
        """Waits until the client's main thread is in one of these states (R, S, D, T, Z)."""
        deadline = time.monotonic() + PATIENCE
        while (found := procfs.process(self.pid)) is None or found.state not in states:
            assert time.monotonic() < deadline, f"in state {found.state if found else 'gone'}, not {states}"
            os.sched_yield()

    def close(self) -> None:
        """End everything, and wait for it."""
        self.process.kill()
        self.process.communicate()
        for probe in self.probes:
            probe.stop()
        for probe in self.probes:
            probe.close()


Stage = Callable[..., Scene]


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Make scenes, and end them after the test."""
    scenes: list[Scene] = []

    def enter(*arguments: str, **options: object) -> Scene:
        scenes.append(Scene(*arguments, **options))  # type: ignore[arg-type]
        return scenes[-1]

    yield enter
    for scene in scenes:
        scene.close()


def settle(scene: Scene, view: str) -> None:
    """Waits until the client is where its code stays: it sleeps and is seen so, and that again, as the first
    time may have been on its way."""
    for _ in range(2):
        scene.until_state("S")
        scene.probe.until(view)


def overlay(directory: Path, pids: Sequence[int], without: Sequence[str] = ()) -> Path:
    """A /proc of these processes (links into the real one), the first of them `self`, without some files."""
    for pid in pids:
        home = directory / str(pid)
        home.mkdir()
        for name in os.listdir(f"/proc/{pid}"):
            if name not in without:
                (home / name).symlink_to(f"/proc/{pid}/{name}")
    (directory / "self").symlink_to(str(pids[0]))
    return directory
