"""A relay between a client and any daemon.

Each line is answered once, `1` only if the daemon granted this very line, on a connection on which it had said nothing
wrong.
"""

import contextlib
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.clock import Clock

from bridge.clients.lockstep import LockstepSession
from bridge.clients.pipelined import PipelinedSession
from bridge.loop.reactor import Reactor
from bridge.protocol.query import nothing
from bridge.relay.settings import RelaySettings
from bridge.relay.upstream import Upstream
from fuzz.engine import Check
from fuzz.source import Source
from fuzz.streams import Stream, until_each_timer

TOKENS = (b"1\n", b"0\n", b"2\n", b"1", b"0", b"\n", b"1\r\n", b"11", b"1\n1\n", b"\x00\x02\x00\x01", b"yes\n", b" 1\n")
_TIMES = (0.001, 0.02, 0.06, 1.0, 4.6)


@contextlib.contextmanager
def target() -> Iterator[Check]:
    with tempfile.TemporaryDirectory(prefix="fuzz-relay-") as directory:
        path = Path(directory, "s")

        def check(data: bytes) -> None:
            source = Source(data)
            scene = Scene(path, bool(source.below(2)))
            try:
                while source:
                    step(scene, source)
                scene.ends()
            finally:
                scene.close()
                path.unlink()

        yield check


class Connection:
    """The daemon's end of one, and what went over it."""

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        self.socket = accepted
        self.said = b""
        self.heard = b""
        self.ended = False

    def hear(self) -> list[bytes]:
        """The lines so far."""
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while data := self.socket.recv(65536):
                self.heard += data
            self.ended = True
        assert self.heard == b"" or self.heard.endswith(b"\n"), "part of a line was sent"
        return self.heard.split(b"\n")[:-1]

    def say(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.socket.send(data)
            self.said += data

    @property
    def is_wrong(self) -> bool:
        """Whether it said what is no answer, or nobody's."""
        lines = len(self.hear())
        return not re.fullmatch(rb"([01]\n)*[01]?", self.said) or (len(self.said) + 1) // 2 > lines

    def grants(self, line: bytes) -> bool:
        lines = self.hear()
        before = 2 * lines.index(line) if line in lines else 0
        return (
            line in lines and bool(re.fullmatch(rb"([01]\n)*", self.said[:before])) and self.said[before:][:2] == b"1\n"
        )


class Scene:
    def __init__(self, path: Path, lockstep: bool) -> None:
        self.clock = Clock()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(8)
        self.listener.setblocking(False)
        self.lockstep = lockstep
        self.connections: list[Connection] = []
        self.lines: list[bytes] = []
        self.answers = 0
        self.open = b""  # the line that a lockstep client waits for
        self.last = 0.0
        self.over = 0
        self.reactor = Reactor(clock=self.clock)
        self.stream = Stream(self.written, lambda _: None)
        settings = RelaySettings(str(path))
        self.upstream = Upstream(settings, lambda: settings, lockstep, self.reactor, self.warned, nothing)
        both = self.stream.source, self.stream.sink
        if lockstep:
            self.session: LockstepSession | PipelinedSession = LockstepSession(
                *both, self.upstream, self.reactor, self.finished, None
            )
        else:
            self.session = PipelinedSession(*both, self.upstream, self.reactor, self.finished)

    def close(self) -> None:
        self.upstream.close()
        self.session.close()
        self.reactor.close()
        self.stream.close()
        for thing in (self.listener, *(connection.socket for connection in self.connections)):
            thing.close()

    def finished(self) -> None:
        self.over += 1

    def warned(self, message: str, **fields: object) -> None:
        if isinstance(error := fields.get("error"), Exception):
            raise error
        assert message.isprintable() and "isuser" not in f"{message}{fields}"

    # --- the client -------------------------------------------------------------------------------------------

    def ask(self, count: int, ending: bytes) -> None:
        if self.lockstep and self.clock.now - self.last <= 0.06:
            self.wait(0.06)  # or it would be an injection
        new = [b"isuser:u%d:h" % (len(self.lines) + number) for number in range(1 if self.lockstep else count)]
        self.lines += new
        self.open, self.last = new[-1], self.clock.now
        self.stream.arrive(b"".join(line + ending for line in new))
        self.run()

    def written(self, data: bytes) -> None:
        assert re.fullmatch(rb"([01]\n)+", data)
        self.accept()
        for digit in data[::2]:
            if self.lockstep:
                assert self.open, "answered twice, or nobody asked"
                line, self.open = self.open, b""
            else:
                assert self.answers < len(self.lines), "nobody asked"
                line = self.lines[self.answers]
            self.answers += 1
            granted = any(connection.grants(line) for connection in self.connections)
            assert digit == b"0"[0] or granted, "granted by nobody"

    # --- the daemon -------------------------------------------------------------------------------------------

    def accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.connections.append(Connection(self.listener.accept()[0]))

    def answer(self, count: int, digit: bytes) -> None:
        """Answer as a daemon does, lines that it has not yet answered."""
        if self.connections and not (last := self.connections[-1]).is_wrong:
            owed = len(last.hear()) - len(last.said) // 2
            last.say((digit + b"\n")[len(last.said) % 2 :] * min(1, owed) + (digit + b"\n") * (min(count, owed) - 1))

    def say(self, data: bytes, which: int) -> None:
        if self.connections:
            self.connections[-1 - which % len(self.connections)].say(data)

    def hang_up(self, which: int) -> None:
        if self.connections:
            with contextlib.suppress(OSError):
                self.connections[-1 - which % len(self.connections)].socket.shutdown(socket.SHUT_WR)

    # --- time -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        for _ in range(4):
            self.reactor.run_once()
        self.accept()
        lines = [line for connection in self.connections for line in connection.hear()]
        assert lines == [line for line in self.lines if line in lines], "not the client's lines, or not in their order"
        for connection in self.connections:
            if connection.is_wrong:
                assert connection.ended, "a daemon that says what is wrong was listened to"

    def wait(self, seconds: float) -> None:
        for _ in until_each_timer(self.clock, self.reactor, seconds):
            self.run()

    def ends(self) -> None:
        """Everything was answered, and the next line is, by a daemon that does as it should."""
        self.wait(10.0)
        assert self.lockstep or self.answers == len(self.lines)
        assert self.session.idle and self.upstream.idle
        before = self.answers
        self.ask(1, b"\n")
        self.answer(1, b"1")
        self.run()
        assert self.answers == before + 1
        assert self.connections[-1].grants(self.lines[-1])
        self.stream.hang_up()
        self.run()
        assert self.over == 1


def step(scene: Scene, source: Source) -> None:
    kind = source.below(12)
    if kind < 3:
        scene.ask(1 + source.below(3), source.pick((b"\n", b"\r\n")))
        return
    if kind < 6:
        scene.answer(1 + source.below(3), source.pick((b"1", b"0")))
    elif kind == 6:
        scene.say(source.pick(TOKENS), source.below(3))
    elif kind == 7:
        scene.say(source.take(source.below(8)), source.below(3))
    elif kind == 8:
        scene.hang_up(source.below(3))
    elif kind < 11:
        scene.wait(source.pick(_TIMES))
    if source.below(2):
        scene.run()
