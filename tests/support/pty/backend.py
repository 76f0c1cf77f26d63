"""The test's side of the programs behind a bridge on a pty (tests/pty/program.py): what they were asked; the gate."""

import contextlib
import selectors
import socket
import threading
import time
from pathlib import Path

from support.pty.driver import PATIENCE


class Backend:
    """Listens on a Unix socket at `path` from a thread of its own; close it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        path.chmod(0o777)
        self.listener.listen(64)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.buffers: dict[socket.socket, bytes] = {}
        self.pids: list[int] = []
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.holders: dict[str, list[socket.socket]] = {}
        self.gone: set[socket.socket] = set()
        self.lock = threading.Lock()
        self.closed = False
        # Somebody must always listen: a program whose report fills the socket's buffer stands still.
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def close(self) -> None:
        """Programs at the gate end now."""
        self.closed = True
        with socket.socket(socket.AF_UNIX) as knock:  # wakes the thread
            knock.connect(str(self.path))
        self.thread.join()
        self.selector.close()
        for connection in (self.listener, *self.buffers):
            connection.close()

    def listen(self) -> None:
        """The thread."""
        while not self.closed:
            self.selector.select(1)
            self.settle()

    def settle(self) -> list[str]:
        """Take in all that the programs have said; every question they were asked so far."""
        with self.lock:
            while events := self.selector.select(0):
                for key, _ in events:
                    assert isinstance(key.fileobj, socket.socket)
                    self.take_in(key.fileobj)
        return self.asked

    def take_in(self, connection: socket.socket) -> None:
        """What one program says, or a new program."""
        if connection is self.listener:
            new, _ = self.listener.accept()
            self.buffers[new] = b""
            self.selector.register(new, selectors.EVENT_READ)
            return
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = connection.recv(65536)
        if not data:
            self.selector.unregister(connection)
            self.gone.add(connection)
        *lines, self.buffers[connection] = (self.buffers[connection] + data).split(b"\n")
        for line in lines:
            self.note(connection, line.decode().split())

    def note(self, connection: socket.socket, words: list[str]) -> None:
        """One line of a program."""
        if words[0] == "hello":
            self.pids.append(int(words[1]))
            return
        body = bytes.fromhex(words[1]).decode()
        if words[0] == "asked":
            self.asked.append(body)
            self.holders.setdefault(body, []).append(connection)
        else:
            self.answered.append(body)

    def until(self, body: str, where: str = "asked") -> None:
        """Return when a program has been asked `body`, or has `answered` it."""
        end = time.monotonic() + PATIENCE
        while body not in getattr(self, where):
            if time.monotonic() > end:
                raise TimeoutError(f"no program has {where} it; asked so far: {self.asked}")
            self.settle()
            time.sleep(0.002)

    def go(self, body: str) -> None:
        """Open the gate for the program that holds `body`; return when it has answered (or was killed meanwhile)."""
        self.until(body)
        before = self.answered.count(body)
        holder = self.holders[body].pop(0)
        with contextlib.suppress(BrokenPipeError):
            holder.sendall(b"go\n")
        end = time.monotonic() + PATIENCE
        while self.answered.count(body) == before and holder not in self.gone:
            if time.monotonic() > end:
                raise TimeoutError("the program does not answer")
            self.settle()
            time.sleep(0.002)
