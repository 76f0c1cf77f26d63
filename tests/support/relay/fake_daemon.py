"""A daemon on a Unix socket that does what a test tells it to, on trio.

    fake = await FakeDaemon.start(nursery, path)
    connection = await fake.connection(0)
    line = await connection.line()
    assert line == b"auth:alice:h1.example:pw-alice"
    await connection.answer(line, b"1")

The first line of a connection may ask for more than answers in order: for tags, or for a third answer.  The fake does
that part by itself, as `knows` says, and does not count that line as asked.
"""

import os
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import trio

# Seconds; reached only by a test that fails.
PATIENCE = 20.0

ASKS_FOR_TAGS = b"extauth-bridge:tagged:1"
ASKS_FOR_THREE = b"extauth-bridge:answers:3"


def truth(line: bytes) -> bytes:
    """The right answer, by the truth table of tests/programs/wire.py."""
    command, user, _host, *secret = line.split(b":", 3)
    if user.startswith(b"no"):
        return b"0"
    return b"1" if command != b"auth" or secret == [b"pw-" + user] else b"0"


class Connection:
    """One client's connection.

    Attributes:
      asked: its lines, in order, without tags, addresses and the one that asks for more.
      addresses: for whom it asked, of each of these lines.
      negotiated: how often it asked for more; more than once is wrong.
      tagged: whether it has been granted tags.
      ended: set when the client has closed it, or this side has.
    """

    def __init__(self, stream: trio.SocketStream, daemon: "FakeDaemon") -> None:
        self.asked: list[bytes] = []
        self.addresses: list[bytes] = []
        self.negotiated = 0
        self.tagged = False
        self.ended = trio.Event()
        self.unfinished = b""
        self._stream = stream
        self._sending = trio.Lock()
        self._daemon = daemon
        self._tags: defaultdict[bytes, deque[bytes]] = defaultdict(deque)  # of a line, if there are any
        self._used: set[bytes] = set()
        self._lines_in, self._lines_out = trio.open_memory_channel[bytes](10_000)

    async def line(self, seconds: float = PATIENCE) -> bytes:
        """The next line that a test has not taken yet.

        Raises:
          trio.EndOfChannel: the client has closed the connection.
        """
        with trio.fail_after(seconds):
            return await self._lines_out.receive()

    async def send(self, data: bytes) -> None:
        """Write bytes as they are; a client that has gone does not matter."""
        try:
            async with self._sending:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended.set()

    def text(self, line: bytes, verdict: bytes) -> bytes:
        """An answer to the oldest line like this one that has got no text yet."""
        return b"%b %b\n" % (self._tags[line].popleft(), verdict) if self.tagged else verdict + b"\n"

    def next_tag(self) -> bytes:
        """The tag that the client will use next, if it counts."""
        return b"%d" % (max(map(int, self._used), default=0) + 1)

    async def answer(self, line: bytes, verdict: bytes) -> None:
        """Answer the oldest line like this one that has no answer yet."""
        await self.send(self.text(line, verdict))

    async def close(self) -> None:
        """End the connection."""
        await self._stream.aclose()
        self.ended.set()

    async def until_ended(self, seconds: float = PATIENCE) -> None:
        """Wait for the client to close it."""
        with trio.fail_after(seconds):
            await self.ended.wait()

    async def serve(self) -> None:
        """Take lines until the end; then this side is closed too."""
        try:
            async for data in self._stream:
                *lines, self.unfinished = (self.unfinished + data).split(b"\n")
                for line in lines:
                    await self._take(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.ended.set()
            self._lines_in.close()
            self._stream.socket.close()

    async def _take(self, line: bytes) -> None:
        if line in (ASKS_FOR_TAGS, ASKS_FOR_THREE) and not self.asked:
            self.negotiated += 1
            knows = self._daemon.knows
            self.tagged = knows is True and line == ASKS_FOR_TAGS
            if knows is not None:
                await self.send(b"1\n" if self.tagged or (knows and line == ASKS_FOR_THREE) else b"0\n")
            return
        if self.tagged:
            tag, address, line = line.split(b" ", 2)
            assert tag.isalnum() and len(tag) <= 16 and tag not in self._used
            self._used.add(tag)
            self._tags[line].append(tag)
            self.addresses.append(address)
        self.asked.append(line)
        self._lines_in.send_nowait(line)
        if self._daemon.manner is not None:
            await self._daemon.manner(self, line)


Knows = bool | Literal["answers"] | None
Manner = Callable[[Connection, bytes], Awaitable[None]]


async def honest(connection: Connection, line: bytes) -> None:
    """The right answer at once."""
    await connection.answer(line, truth(line))


class FakeDaemon:
    """The daemon.

    Attributes:
      connections: all of them, in the order they came.
      knows: what it grants: True tags, "answers" only a third answer, False neither; None says nothing.
      manner: what it does with a line besides noting it; None leaves the answer to the test.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[Connection] = []
        self.knows: Knows = True
        self.manner: Manner | None = None
        self._news = trio.Condition()
        self._scope = trio.CancelScope()

    @staticmethod
    async def start(
        nursery: trio.Nursery, path: Path, *, knows: Knows = True, manner: Manner | None = None
    ) -> "FakeDaemon":
        """Listen on `path`, which any user may connect to, until the nursery ends."""
        daemon = FakeDaemon(path)
        daemon.knows, daemon.manner = knows, manner
        await nursery.start(daemon._run)
        return daemon

    async def _run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self._scope, trio.socket.socket(trio.socket.AF_UNIX) as listener:
            self.path.unlink(missing_ok=True)
            await listener.bind(str(self.path))
            os.chmod(self.path, 0o666)
            listener.listen(64)
            task_status.started()
            async with trio.open_nursery() as nursery:
                while True:
                    accepted, _ = await listener.accept()
                    connection = Connection(trio.SocketStream(accepted), self)
                    nursery.start_soon(connection.serve)
                    async with self._news:
                        self.connections.append(connection)
                        self._news.notify_all()

    async def connection(self, number: int, seconds: float = PATIENCE) -> Connection:
        """The connection with this number, from 0, once it is there."""
        with trio.fail_after(seconds):
            async with self._news:
                while len(self.connections) <= number:
                    await self._news.wait()
        return self.connections[number]

    def stop(self) -> None:
        """Drop all connections and stop listening; the file stays, as after a crash."""
        self._scope.cancel()

    @property
    def asked(self) -> list[bytes]:
        """All lines of all connections."""
        return [line for connection in self.connections for line in connection.asked]
