"""What a throw-away database server is, whichever it is: a process, a folder, a socket in it, a port of 127.0.0.1."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

from support import canary, procfs
from support.ports import free_ports

PATIENCE = 60.0
"""Seconds; reached only by a test that fails."""

LOGIN, PASSWORD = "site", "tr%es@ecret:/"
"""A role over TCP, with a password that a URL cannot hold as it is."""


class Failed(Exception):
    """The server refused a statement."""


class Server(ABC):
    """One server; its methods have it crash, stand still, stop and come back.

    Args:
      folder: for its data, socket and log; created, and removed by `remove`.
      template: such data to start from instead of making it.

    Attributes:
      kind: its name in tests.
      user: whom it runs as where the test run is root's, which no database server accepts.
    """

    kind: ClassVar[str]
    user: ClassVar[str]

    def __init__(self, folder: Path | None = None, template: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix=f"{self.kind[:2]}-"))  # a socket's path is short
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = pwd.getpwnam(self.user) if os.geteuid() == 0 else None
        canary.knows(self.data, "some servers keep passwords as they are, and so do their databases")
        self._give(self.folder)
        if template is not None:
            self.run(["cp", "-a", str(template), str(self.data)])
        else:
            self.make()

    def _give(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)

    # --- what differs ------------------------------------------------------------------------------------

    @abstractmethod
    def make(self) -> None:
        """Make the data of an empty server."""

    @abstractmethod
    def words(self) -> list[str]:
        """The command that serves it."""

    @abstractmethod
    def client(self, database: str) -> list[str]:
        """The command that executes what it reads, as the superuser, and prints rows with tabs."""

    @abstractmethod
    def create(self, database: str) -> None:
        """Make a database, in which LOGIN may do everything."""

    @abstractmethod
    def copy(self, database: str, new: str, table: str) -> None:
        """Make a database, as `create`, with all that is in another one: this table."""

    @abstractmethod
    def url(self, database: str, *, tcp: bool = False) -> str:
        """The URL of a database: over the socket, as the superuser, or over TCP as LOGIN."""

    # --- its life ----------------------------------------------------------------------------------------

    def run(self, words: Sequence[str], **options: Any) -> None:
        """Run one of its commands as its user."""
        with self.log.open("ab") as log:
            subprocess.run(words, check=True, timeout=PATIENCE, stdout=log, stderr=log, **self.as_user(), **options)

    def as_user(self) -> dict[str, Any]:
        surroundings = {"cwd": self.folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}}
        if self._owner is None:
            return surroundings
        return surroundings | {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}

    def start(self) -> Self:
        """Start it if it does not run, and wait until it answers."""
        if self._process is None or self._process.poll() is not None:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.words(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.as_user()
                )
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            assert self._process.poll() is None, f"it does not come up: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"it does not answer: {self.log.read_text()[-2000:]}"
            time.sleep(0.02)
        return self

    def answers(self) -> bool:
        try:
            self.sql("SELECT 1;", database=self.maintenance)
        except Failed:
            return False
        return True

    maintenance: ClassVar[str]
    """A database that is always there."""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def everybody(self) -> list[int]:
        """The pids of the server and of its own processes, one for each session perhaps."""
        return [self.pid, *(child.pid for child in procfs.children(self.pid))]

    def _send(self, number: int, pids: Iterable[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # a session has ended meanwhile
                os.kill(pid, number)

    def stop(self, number: int = signal.SIGKILL) -> None:
        """Send this to the server, and wait until nothing of it is left; SIGKILL, to all of it, is a power failure."""
        if self._process is None:
            return
        if number == signal.SIGKILL:
            self.freeze()
        everybody = self.everybody()
        self._send(number, everybody if number == signal.SIGKILL else (self.pid,))
        self._process.wait(PATIENCE)
        self._process = None
        deadline = time.monotonic() + PATIENCE
        while any(map(procfs.alive, everybody)):
            assert time.monotonic() < deadline, "a process of the server outlives it"
            time.sleep(0.01)

    def shut_down(self) -> None:
        """Stop it in good order, but at once: sessions are closed."""
        self.stop(signal.SIGTERM)

    def freeze(self) -> None:
        """It is there, and does nothing: first who starts the others stands still, so that they are known, then all."""
        self._stop_all([self.pid])
        self._stop_all(self.everybody())

    def _stop_all(self, pids: Sequence[int]) -> None:
        self._send(signal.SIGSTOP, pids)
        deadline = time.monotonic() + PATIENCE
        while not all(map(procfs.stands_still, pids)):
            assert time.monotonic() < deadline, "the server cannot be stopped"
            time.sleep(0.001)

    def thaw(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._send(signal.SIGCONT, self.everybody())

    def remove(self) -> None:
        """Stop it, and remove its folder."""
        self.thaw()
        self.stop()
        shutil.rmtree(self.folder)

    # --- statements --------------------------------------------------------------------------------------

    def sql(self, statements: str, database: str) -> list[list[str]]:
        """Execute these as the superuser; they are never arguments, as they may hold passwords.

        Returns:
          the rows of all results.

        Raises:
          Failed: one was refused, or nobody answers.
        """
        with tempfile.TemporaryFile() as rows:  # not a pipe: that is looked through, and rows may hold passwords
            done = subprocess.run(
                self.client(database),
                input=statements.encode(),
                stdout=rows,
                stderr=subprocess.PIPE,
                timeout=PATIENCE,
                check=False,
            )
            if done.returncode:
                raise Failed(done.stderr.decode(errors="replace"))
            rows.seek(0)
            return [line.split("\t") for line in rows.read().decode().splitlines()]

    @contextlib.contextmanager
    def holding(self, statements: str, database: str) -> Any:
        """Another session that has executed these, ending in an open transaction, and does nothing more."""
        held = subprocess.Popen(
            self.client(database), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        assert held.stdin is not None and held.stdout is not None
        held.stdin.write(f"{statements} SELECT 'held';\n".encode())
        said = b""
        while b"held" not in said:
            said += (more := held.stdout.read(4096))
            assert more, "the other session has ended"
        try:
            yield
        finally:
            held.stdin.write(b"ROLLBACK;\n")
            held.communicate(timeout=PATIENCE)


def quoted(text: str) -> str:
    """Text as a URL can hold it."""
    return quote(text, safe="")
