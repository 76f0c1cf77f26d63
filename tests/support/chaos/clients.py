"""Clients that hold each answer against the question it belongs to; what is no such answer is a breach."""

import collections
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import trio

from support.availability.clients import Answer, Watch
from support.pty.driver import Client as Terminal

Breach = Callable[[str], None]
"""Told of something that must never happen."""

_LOST = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel)
"""The connection, or the relay, is gone."""


async def _each_answer(stream: trio.abc.HalfCloseableStream) -> AsyncIterator[bytes]:
    """What comes, line by line, until the connection is gone, which is then closed."""
    data = b""
    try:
        while more := await stream.receive_some(65536):
            *answers, data = (data + more).split(b"\n")
            for answer in answers:
                yield answer
    except _LOST:
        pass
    finally:
        await trio.aclose_forcefully(stream)


class Single:
    """A connection a question, half-closed behind it: exactly one answer comes, and then the end."""

    def __init__(self, path: Path, watch: Watch, breach: Breach) -> None:
        self._path = path
        self._watch = watch
        self._breach = breach

    async def ask(self, line: bytes, _address: str) -> Answer:
        data = b""
        try:
            async with await trio.open_unix_socket(self._path) as stream:
                await stream.send_all(line + b"\n")
                await stream.send_eof()
                while more := await stream.receive_some(64):
                    data += more
        except _LOST:
            pass
        at = self._watch.answered()
        if data not in (b"", b"0\n", b"1\n"):
            self._breach(f"one question was answered {data!r}")
        return Answer(data.decode().strip()[:1], at)


class InOrder:
    """One connection, or one relay, for many questions; the answers come in order, and there is one for each.

    Args:
      connect: makes the connection anew whenever there is none.
      name: of this client, for breaches.

    Attributes:
      stream: the connection, while there is one.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[trio.abc.HalfCloseableStream]],
        watch: Watch,
        nursery: trio.Nursery,
        breach: Breach,
        name: str,
    ) -> None:
        self.stream: trio.abc.HalfCloseableStream | None = None
        self._connect = connect
        self._watch = watch
        self._nursery = nursery
        self._breach = breach
        self._name = name
        self._waiting: collections.deque[trio.MemorySendChannel[Answer]] = collections.deque()
        self._sending = trio.Lock()

    async def ask(self, line: bytes, _address: str) -> Answer:
        give, take = trio.open_memory_channel[Answer](1)
        try:
            async with self._sending:
                stream = self.stream or await self._open()
                self._waiting.append(give)  # it stays there, whether its asker has the patience or not
                await stream.send_all(line + b"\n")
            return await take.receive()
        except _LOST:
            return Answer("", self._watch.answered())

    async def _open(self) -> trio.abc.HalfCloseableStream:
        self.stream = stream = await self._connect()
        self._waiting = collections.deque()
        self._nursery.start_soon(self._read, stream, self._waiting)
        return stream

    async def _read(
        self, stream: trio.abc.HalfCloseableStream, waiting: collections.deque[trio.MemorySendChannel[Answer]]
    ) -> None:
        try:
            async for answer in _each_answer(stream):
                self._take(answer, waiting)
        finally:
            if self.stream is stream:
                self.stream = None
            for give in waiting:
                give.close()

    def _take(self, answer: bytes, waiting: collections.deque[trio.MemorySendChannel[Answer]]) -> None:
        if answer not in (b"0", b"1"):
            self._breach(f"{self._name}: {answer!r} instead of an answer")
        elif not waiting:
            self._breach(f"{self._name}: an answer {answer!r} to nothing")
        else:
            waiting.popleft().send_nowait(Answer(answer.decode(), self._watch.answered()))


class Tagged:
    """One connection for everybody; every answer bears the tag of a question that has none yet."""

    def __init__(self, path: Path, watch: Watch, nursery: trio.Nursery, breach: Breach) -> None:
        self._path = path
        self._watch = watch
        self._nursery = nursery
        self._breach = breach
        self._tags = map(str, itertools.count(1))
        self._open: dict[str, trio.MemorySendChannel[Answer]] = {}
        self._stream: trio.SocketStream | None = None
        self._sending = trio.Lock()

    async def ask(self, line: bytes, address: str) -> Answer:
        tag = next(self._tags)
        give, take = trio.open_memory_channel[Answer](1)
        try:
            async with self._sending:
                stream = self._stream or await self._connect()
                self._open[tag] = give  # until it is answered, whether its asker has the patience or not
                await stream.send_all(f"{tag} {address} ".encode() + line + b"\n")
            return await take.receive()
        except _LOST:
            return Answer("", self._watch.answered())

    async def _connect(self) -> trio.SocketStream:
        stream = await trio.open_unix_socket(self._path)
        await stream.send_all(b"extauth-bridge:tagged:1\n")
        agreed = b""
        while len(agreed) < 2:
            if not (more := await stream.receive_some(2 - len(agreed))):
                raise trio.BrokenResourceError
            agreed += more
        if agreed != b"1\n":
            self._breach(f"tagged: {agreed!r} to the first line")
        self._stream, self._open = stream, {}
        self._nursery.start_soon(self._read, stream, self._open)
        return stream

    async def _read(self, stream: trio.SocketStream, waiting: dict[str, trio.MemorySendChannel[Answer]]) -> None:
        try:
            async for answer in _each_answer(stream):
                self._take(answer, waiting)
        finally:
            if self._stream is stream:
                self._stream = None
            for give in waiting.values():
                give.close()

    def _take(self, answer: bytes, waiting: dict[str, trio.MemorySendChannel[Answer]]) -> None:
        tag, _, verdict = answer.decode(errors="replace").partition(" ")
        if tag not in waiting or verdict not in ("0", "1", "2"):
            self._breach(f"tagged: {answer!r} answers no open question")
        else:
            waiting.pop(tag).send_nowait(Answer(verdict, self._watch.answered()))


class OnTerminal:
    """A client on a pty, which is a process of its own and has one question at a time; a new one if its relay died.

    Args:
      start: starts the client and its relay.
      timeout: seconds that it waits for an answer, as `external_auth_timeout`.

    Attributes:
      terminal: the client at present.
    """

    def __init__(self, start: Callable[[], Terminal], timeout: float, watch: Watch, breach: Breach) -> None:
        self.terminal = start()
        self._start = start
        self._timeout = timeout
        self._watch = watch
        self._breach = breach
        self._asking = trio.Lock()

    async def ask(self, line: bytes, _address: str) -> Answer:
        async with self._asking:
            try:
                reply = await trio.to_thread.run_sync(self.terminal.query, line + b"\n", self._timeout)
            except (OSError, EOFError):
                self._renew()
                return Answer("", self._watch.answered())
            if reply.verdict == "garbage":
                self._breach(f"terminal: {reply.text!r} instead of an answer")
            if reply.verdict == "dead":
                self._renew()
            return Answer(reply.verdict if reply.verdict in ("0", "1") else "", self._watch.answered())

    def _renew(self) -> None:
        self.terminal.close()
        self.terminal = self._start()

    def close(self) -> None:
        self.terminal.close()
