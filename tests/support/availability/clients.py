"""Clients of a daemon, and a clock that does not count as lateness what they themselves were late."""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import trio

TICK = 0.025
"""Seconds: somebody looks for answers at least so often, see `Watch`."""


class NotOffered(Exception):
    """The bridge under test does not have what a scene is about."""


class Watch(trio.abc.Instrument):
    """When answers came, as far as a loaded machine lets one know.

    An answer that is read may have lain there since the look before; whatever that is longer than a tick, this process
    had no CPU, and the answer may have been in time.

    Attributes:
      lag: seconds, the longest that this process was held up.
    """

    def __init__(self) -> None:
        self.lag = 0.0
        self._looked = time.monotonic()
        self._held = 0.0

    def after_io_wait(self, timeout: float) -> None:
        now = time.monotonic()
        self._held = max(0.0, now - self._looked - TICK)
        self._looked = now
        self.lag = max(self.lag, self._held)

    def answered(self) -> float:
        """The time (of time.monotonic) at which what has just been read was certainly not there yet."""
        return self._looked - self._held


class Answer(NamedTuple):
    """`0`, `1` or `2`, or nothing if the connection ended instead; and when, see `Watch.answered`."""

    verdict: str
    at: float


class Client(Protocol):
    """Somebody who asks."""

    async def ask(self, line: bytes, address: str) -> Answer:
        """What comes of one line."""
        ...


class Plain:
    """A connection a question, answers in order: nobody waits behind anybody."""

    def __init__(self, path: Path, watch: Watch) -> None:
        self._path = path
        self._watch = watch

    async def ask(self, line: bytes, address: str) -> Answer:
        try:
            async with await trio.open_unix_socket(self._path) as stream:
                await stream.send_all(line + b"\n")
                verdict = await _read_line(stream)
                return Answer(verdict, self._watch.answered())
        except (OSError, trio.BrokenResourceError):
            return Answer("", self._watch.answered())


async def _read_line(stream: trio.SocketStream) -> str:
    data = b""
    while not data.endswith(b"\n") and (more := await stream.receive_some(64)):
        data += more
    return data.strip().decode()


class Tagged:
    """One connection for everybody, answers as they come; like Prosody's module, not all of it is for `isuser`."""

    ISUSER_AT_ONCE = 160
    """Of the module's window of 192 it keeps 32 for `auth`."""

    def __init__(self, path: Path, watch: Watch, nursery: trio.Nursery) -> None:
        self._path = path
        self._watch = watch
        self._nursery = nursery
        self._tags = map(str, itertools.count(1))
        self._waiting: dict[str, trio.MemorySendChannel[Answer]] = {}
        self._stream: trio.SocketStream | None = None
        self._sending = trio.Lock()
        self._isuser = trio.Semaphore(self.ISUSER_AT_ONCE)

    async def ask(self, line: bytes, address: str) -> Answer:
        if not line.startswith(b"isuser:"):
            return await self._ask(line, address)
        async with self._isuser:
            return await self._ask(line, address)

    async def _ask(self, line: bytes, address: str) -> Answer:
        tag = next(self._tags)
        give, take = trio.open_memory_channel[Answer](1)
        self._waiting[tag] = give
        try:
            async with self._sending:
                stream = self._stream or await self.connect()
                await stream.send_all(f"{tag} {address} ".encode() + line + b"\n")
            return await take.receive()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel):
            return Answer("", self._watch.answered())
        finally:
            self._waiting.pop(tag, None)

    async def connect(self) -> trio.SocketStream:
        """Connect; a question does it, too, where there is no connection.

        Raises:
          NotOffered: the daemon does not speak `extauth-bridge:tagged:1`.
        """
        stream = await trio.open_unix_socket(self._path)
        await stream.send_all(b"extauth-bridge:tagged:1\n")
        if await _read_line(stream) != "1":
            await stream.aclose()
            raise NotOffered("the tagged protocol")
        self._stream = stream
        self._nursery.start_soon(self._read, stream)
        return stream

    async def _read(self, stream: trio.SocketStream) -> None:
        data = b""
        try:
            while more := await stream.receive_some(65536):
                *lines, data = (data + more).split(b"\n")
                for tag, verdict in (line.decode().split(" ") for line in lines):
                    if waiting := self._waiting.get(tag):  # else its asker gave up
                        waiting.send_nowait(Answer(verdict, self._watch.answered()))
        except trio.BrokenResourceError:
            pass
        finally:
            self._stream = None
            await stream.aclose()
            for waiting in self._waiting.values():
                waiting.close()


class InOrder:
    """One connection that is sent many lines at once; the answers come in order."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask_all(self, lines: Sequence[bytes]) -> list[str]:
        """The answers to all lines; fewer if the connection ended before."""
        answers = b""
        async with await trio.open_unix_socket(self._path) as stream:
            await stream.send_all(b"".join(line + b"\n" for line in lines))
            while answers.count(b"\n") < len(lines) and (more := await stream.receive_some(65536)):
                answers += more
        return answers.decode().split()
