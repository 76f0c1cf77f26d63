"""A client that asks with tags, written from nothing but extauth-bridge-client(7)."""

import select
import socket
import time
from collections.abc import Iterable, Sequence

PATIENCE = 30.0
"""Seconds; reached only by a test that fails."""

HELLO = b"extauth-bridge:tagged:1\n"


class Broken(Exception):
    """The daemon has sent what is no answer to an open question."""


class TaggedClient:
    """Asks a daemon, and checks that each answer belongs to an open question.

    Args:
      stream: connected; closed by its owner.

    Attributes:
      verdicts: the answers read so far, by tag, in the order in which they came.
      took: seconds from the sending of a question to its answer.
      ended: the daemon has closed the connection.
    """

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.verdicts: dict[str, str] = {}
        self.took: dict[str, float] = {}
        self.ended = False
        self._asked: dict[str, float] = {}  # open questions: when they were sent
        self._count = 0
        self._unsent = b""
        self._half = b""
        stream.setblocking(True)
        stream.settimeout(PATIENCE)
        stream.sendall(HELLO)
        agreed = stream.recv(2)
        assert agreed == b"1\n", "an older daemon"
        stream.setblocking(False)

    @property
    def open(self) -> set[str]:
        """The tags of questions without an answer."""
        return {*self._asked}

    def put(self, *questions: bytes, addresses: Iterable[str] = ()) -> list[str]:
        """Queue questions to be sent, the first for these addresses; returns their tags."""
        tags, given = [], iter(addresses)
        for question in questions:
            self._count += 1
            tags.append(str(self._count))
            self._asked[tags[-1]] = time.monotonic()
            self._unsent += b"%d %s %b\n" % (self._count, next(given, "-").encode(), question)
        return tags

    def pump(self, seconds: float = 0.0, piece: int = 65536, reads: bool = True) -> bool:
        """Send what there is room for, at most a piece, and read what has come; returns whether anything happened."""
        writers = [self.stream] if self._unsent else []
        readable, writable, _ = select.select([self.stream] if reads else [], writers, [], seconds)
        try:
            if writable:
                self._unsent = self._unsent[self.stream.send(self._unsent[:piece]) :]
            if readable:
                self._read(self.stream.recv(65536))
        except (ConnectionResetError, BrokenPipeError):
            self.ended = True
        return bool(readable or writable)

    def _read(self, data: bytes) -> None:
        if not data:
            self.ended = True
        *answers, self._half = (self._half + data).split(b"\n")
        for answer in answers:
            tag, space, verdict = answer.decode().partition(" ")
            if tag not in self._asked or space != " " or verdict not in ("0", "1", "2"):
                raise Broken(answer)
            self.verdicts[tag] = verdict
            self.took[tag] = time.monotonic() - self._asked.pop(tag)

    def wait(self, tags: Iterable[str] | None = None, piece: int = 65536) -> list[str]:
        """Wait for the answers to these, or to all open questions; returns them in the order of the tags."""
        wanted = [*self.open] if tags is None else [*tags]
        until = time.monotonic() + PATIENCE
        while not self.verdicts.keys() >= {*wanted}:
            assert time.monotonic() < until, f"no answer to {len(self.open)} questions"
            assert not self.ended, f"the daemon hung up, with {len(self.open)} open questions"
            self.pump(1.0, piece)
        return [self.verdicts[tag] for tag in wanted]

    def wait_for_the_end(self) -> None:
        """Read until the daemon closes the connection."""
        until = time.monotonic() + PATIENCE
        while not self.ended:
            assert time.monotonic() < until, "it is still connected"
            self.pump(1.0)

    def send(self) -> None:
        """Send all that is queued, and read meanwhile."""
        until = time.monotonic() + PATIENCE
        while self._unsent:
            assert time.monotonic() < until and not self.ended
            self.pump(1.0)

    def finish(self, begun: bytes) -> None:
        """Send what is queued and the beginning of a line, and close the sending half."""
        self._unsent += begun
        self.send()
        self.stream.shutdown(socket.SHUT_WR)

    def ask(self, *questions: bytes) -> list[str]:
        """The answers to these."""
        return self.wait(self.put(*questions))

    def converse(self, questions: Sequence[bytes], in_flight: int, piece: int = 65536) -> list[str]:
        """Ask with so many questions open at most; returns their tags when all are answered."""
        tags: list[str] = []
        while len(tags) < len(questions):
            room = in_flight - len(self._asked)
            tags += self.put(*questions[len(tags) : len(tags) + room])
            assert not self.ended
            self.pump(PATIENCE, piece)
        self.wait(tags, piece)
        return tags
