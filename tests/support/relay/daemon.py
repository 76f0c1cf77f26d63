"""A daemon on a Unix socket that behaves according to the user it is asked about.

It answers in order.  The truth about `auth:USER:HOST:SECRET` is whether SECRET is `pass-USER`, about anything else
`0`, except for these users, who may have any number behind their name:

- `pause`: the answer comes when the test says `go`;
- `twice`: the answer comes two times at once; `call_soon`: the second time when the test says `go`;
- `garbage`: `yes` and a line end; `long`: `10` and a line end; `bare`: no line end; `half`: `1`, and the end;
- `unknown`: `2`;
- `close`: no answer, and the end of the connection; `leave`: the answer, then the end.
"""

import contextlib
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

# Seconds; reached only by a test that fails.
PATIENCE = 20.0

WISH = b"extauth-bridge:answers:3"


def question(user: str, right: bool = True) -> bytes:
    """A line, without its line end, and whether its answer is `1`."""
    return f"auth:{user}:example.com:{'pass' if right else 'wrong'}-{user}".encode()


def truth(line: bytes) -> bytes:
    """The answer to a line."""
    command, _, rest = line.partition(b":")
    user, _, secret = rest.partition(b":")[0], b"", rest.rpartition(b":")[2]
    return b"1\n" if command == b"auth" and secret == b"pass-" + user else b"0\n"


class LineDaemon:
    """The daemon, in threads of the test's process.

    Attributes:
      asked: all lines that arrived, in order.
      knows: whether it agrees to a third answer; requests for it count as `wishes`, not as asked.
      unasked: second answers that it has sent.
      connections: how many have been accepted.
      reading: while it is clear, nothing is read.
    """

    def __init__(self, path: Path, backlog: int = 16) -> None:
        self.path = path
        self.backlog = backlog
        self.asked: list[bytes] = []
        self.knows = False
        self.wishes = 0
        self.unasked = 0
        self.connections = 0
        self.reading = threading.Event()
        self.reading.set()
        self._gate = threading.Semaphore(0)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._stopping = False
        self.start()

    def start(self) -> None:
        """Listen; where a listener is left from before, take it over, as from systemd."""
        self._stopping = False
        if self._listener is None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self.path))
            self._listener.listen(self.backlog)
        self._spawn(self._accept)

    def stop(self, keep_listening: bool = False) -> None:
        """Drop all connections at once, whatever is open on them, and go; `keep_listening`: the socket stays."""
        self._stopping = True
        self.reading.set()
        for _ in self._threads:
            self._gate.release()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._threads.clear()
        self._gate = threading.Semaphore(0)
        if not keep_listening and self._listener is not None:
            self._listener.close()
            self._listener = None
            self.path.unlink()

    def go(self) -> None:
        """One of those that pause may answer."""
        self._gate.release()

    def until(self, condition: Callable[[], bool], what: str = "it") -> None:
        """Wait for a condition that the daemon brings about."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited for {what}; asked so far: {len(self.asked)}")
            time.sleep(0.002)

    def until_asked(self, line: bytes, times: int = 1) -> None:
        """Wait until `line` has arrived this often."""
        self.until(lambda: self.asked.count(line) >= times, "a line")

    @property
    def open_connections(self) -> int:
        """Connections that neither side has closed."""
        with self._lock:
            return len(self._open)

    def _spawn(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._stopping:
            if not self.reading.is_set() or not select.select([self._listener], [], [], 0.02)[0]:
                self.reading.wait(0.02)
                continue
            if self._stopping:
                return  # what waits in the queue is for the next one
            connection, _ = self._listener.accept()
            with self._lock:
                self._open.add(connection)
            self.connections += 1
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        rest = b""
        try:
            while not self._stopping:
                if not self.reading.is_set():
                    self.reading.wait()
                data = connection.recv(65536)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if not self._answer(connection, line):
                        return
            # As the real one: the last line counts without its end.
            if rest:
                self.asked.append(rest)
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _answer(self, connection: socket.socket, line: bytes) -> bool:
        """Whether the connection goes on."""
        if line == WISH:
            self.wishes += 1
            connection.sendall(b"1\n" if self.knows else b"0\n")
            return True
        self.asked.append(line)
        user = line.split(b":")[1] if b":" in line else b""
        match = re.match(rb"[a-z]+", user)
        answer = truth(line)
        match match[0] if match else b"":
            case b"pause":
                self._gate.acquire()
                if self._stopping:
                    return False
            case b"twice":
                answer += answer
            case b"afterwards":
                connection.sendall(answer)
                self._gate.acquire()
                connection.sendall(answer)
                self.unasked += 1
                return True
            case b"garbage":
                answer = b"yes\n"
            case b"long":
                answer = b"10\n"
            case b"unknown":
                answer = b"2\n"
            case b"bare":
                answer = b"1"
            case b"half" | b"close" | b"leave" as how:
                connection.sendall({b"half": b"1", b"close": b"", b"leave": answer}[how])
                return False
            case _:
                pass
        connection.sendall(answer)
        return True


def resident(pid: int) -> int:
    """KiB of resident memory."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])
