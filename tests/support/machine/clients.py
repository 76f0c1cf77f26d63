"""Clients of a daemon on a machine: plain ones on its socket, and relays as Prosody starts them.

A plain client retries, as the daemon's own relay does: where a connection ends before the answer came, the
question is asked again on a new one.  It never takes anything but one `0` or `1` for an answer.
"""

import select
import socket
import subprocess
import threading
import time
from pathlib import Path

from support.machine.machine import PATIENCE, Machine

AS_PROSODY = ("setpriv", "--reuid=prosody", "--regid=prosody", "--init-groups")


class Client:
    """One plain client, one question at a time.

    Attributes:
      retries: how often a question had to be asked again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: socket.socket | None = None
        self.retries = 0

    def ask(self, line: str, patience: float = PATIENCE) -> str:
        """The answer to `line`.

        Raises:
          TimeoutError: none came within `patience` seconds, however often it was asked.
        """
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                return self._ask_once(line.encode(), end - time.monotonic())
            except (BrokenPipeError, ConnectionResetError, EOFError):
                self.close()
                self.retries += 1
        raise TimeoutError(f"no answer within {patience} s")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask_once(self, line: bytes, patience: float) -> str:
        if self._connection is None:
            self._connection = socket.socket(socket.AF_UNIX)
            self._connection.connect(str(self._path))
        self._connection.settimeout(patience)
        self._connection.sendall(line + b"\n")
        answer = self._connection.recv(64)
        if not answer:
            raise EOFError
        assert answer in (b"0\n", b"1\n"), answer
        return answer.decode().strip()


def ask(path: Path, line: str, patience: float = PATIENCE) -> str:
    """The answer to one question, on a connection of its own."""
    client = Client(path)
    try:
        return client.ask(line, patience)
    finally:
        client.close()


class Relay:
    """What Prosody starts, run as its user: one relay on pipes."""

    def __init__(self, machine: Machine, *command: str, user: tuple[str, ...] = AS_PROSODY) -> None:
        self._process = subprocess.Popen(
            machine.command(*user, *command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def ask(self, line: str, patience: float = PATIENCE) -> str:
        """The answer to `line`.  Raises TimeoutError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        if not select.select([self._process.stdout], [], [], patience)[0]:
            raise TimeoutError(f"no answer within {patience} s")
        answer = self._process.stdout.read(64)
        assert answer in (b"0\n", b"1\n"), answer
        return answer.decode().strip()

    def close(self) -> None:
        """End its input; it must leave by itself, successfully, and say nothing more."""
        try:
            rest, _ = self._process.communicate(timeout=PATIENCE)
            assert (self._process.returncode, rest) == (0, b"")
        finally:
            self._process.kill()
            self._process.wait()


class Load:
    """Asks the same few questions all the time, with one thread for every client, and judges the answers.

    Args:
      clients: with an `ask` and a `close`, plain ones or relays.
      truth: the questions, and their right answers.

    Attributes:
      clients: as given.
      asked: how many questions each client has got an answer to.
      wrong: the questions that were answered otherwise, by client.
      errors: what stopped a client.
    """

    def __init__(self, clients: list[Client] | list[Relay], truth: dict[str, str]) -> None:
        self.clients = clients
        self._truth = truth
        self._stop = threading.Event()
        self.asked = [0] * len(clients)
        self.wrong: list[list[str]] = [[] for _ in clients]
        self.errors: list[Exception] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(len(clients))]
        for thread in self._threads:
            thread.start()

    def all_asked(self, more: int, than: list[int]) -> bool:
        """Has every client got `more` answers since its count was `than`? Raises what stopped one."""
        if self.errors:
            raise self.errors[0]
        return all(now >= before + more for now, before in zip(self.asked, than, strict=True))

    def stop(self) -> None:
        """Let the clients finish their questions and leave.  Raises what stopped one."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _run(self, number: int) -> None:
        client = self.clients[number]
        try:
            while not self._stop.is_set():
                for line, answer in self._truth.items():
                    if client.ask(line) != answer:
                        self.wrong[number].append(line)
                    self.asked[number] += 1
        except Exception as error:
            self.errors.append(error)
        finally:
            try:
                client.close()
            except Exception as error:
                self.errors.append(error)
