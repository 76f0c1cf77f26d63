"""Clients of every kind, which come and go, ask, and check each answer against the truth."""

import itertools
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from soak.truth import Questions

READ, WRITE = select.EPOLLIN, select.EPOLLOUT

PATIENCE = 30.0
"""Seconds without any answer after which there will be none."""

_PAUSE = 0.5
"""Seconds for which a client that does not read goes on not reading."""


@dataclass
class Tally:
    """What was asked and answered. `refused`: right ones that were not granted as nobody could be asked in time."""

    asked: int = 0
    answered: int = 0
    granted: int = 0
    refused: int = 0
    abandoned: int = 0
    clients: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[str] = field(default_factory=Counter[str])

    def judge(self, who: str, true: str, said: str, three: bool) -> None:
        """One answer that may not be the truth; `three`: the client knows a third one, that nobody could be asked."""
        if said == "1" and true != "1":
            self.faults[f"{who}: granted what must be denied"] += 1
        elif said == "0" and true == "1" and three:
            self.faults[f"{who}: denied what must be granted"] += 1
        elif said not in ("012" if three else "01"):
            self.faults[f"{who}: answered {said!r}"] += 1
        elif said != true and true == "1":
            self.refused += 1


@dataclass(frozen=True)
class Manners:
    """How one kind of client behaves.

    `hello`: its first line; `flight`: most questions without an answer; `total`: questions until it leaves, or 0;
    `ending`: close after the last answer, `half`-close before it, or `vanish` amid the questions;
    `late`: reads nothing for a while.
    """

    name: str
    hello: bytes = b""
    flight: int = 64
    total: int = 0
    ending: str = "close"
    late: bool = False


THREE = b"extauth-bridge:answers:3\n"
TAGGED = b"extauth-bridge:tagged:1\n"

STAYING = Manners("plain", flight=48), *[Manners("tagged", TAGGED, 64)] * 3
COMING = (
    Manners("plain, 100 questions", flight=16, total=100),
    Manners("three answers, 60 questions", THREE, 16, 60),
    Manners("tagged, 40 questions", TAGGED, 40, 40),
    Manners("one question", flight=1, total=1),
    Manners("half-closing", flight=20, total=20, ending="half"),
    Manners("vanishing", flight=16, total=100, ending="vanish"),
    Manners("vanishing tagged", TAGGED, 16, 100, ending="vanish"),
    Manners("late reader", THREE, 200, 200, late=True),
)
RELAY = Manners("relay", flight=24)


class Client:
    """One connection; answers are compared with the truth as they come.

    Attributes:
      over: it has left, or was left.
    """

    def __init__(self, stream: socket.socket, manners: Manners, questions: Questions, tally: Tally) -> None:
        self.stream, self.manners, self.over, self.wanted = stream, manners, False, READ | WRITE
        self._questions, self._tally = questions, tally
        self._three = bool(manners.hello)
        self._unsent = bytearray(manners.hello)
        self._half = b""
        self._asked = 0
        self._greeted = not manners.hello
        self._reads_from = time.monotonic() + _PAUSE if manners.late else 0.0
        self._awake = True  # as long as it may ask
        tally.clients[manners.name] += 1
        stream.setblocking(False)

    @property
    def _has_asked_all(self) -> bool:
        return self._asked == self.manners.total

    @property
    def open(self) -> int:
        """Questions without an answer."""
        raise NotImplementedError

    def put(self, lines: list[bytes], truth: str) -> bytes:
        """Note the truth, and return what is to be sent."""
        raise NotImplementedError

    def check(self, answers: list[bytes]) -> None:
        raise NotImplementedError

    def ask(self) -> None:
        """Ask more if few are open: half of what may be, so that it comes in batches."""
        room = self.manners.flight - self.open
        if self.manners.total:
            room = min(room, self.manners.total - self._asked)
        if self._awake and self._greeted and not self.over and room > 0 and self.open <= self.manners.flight // 2:
            lines, truth = self._questions.take(room)
            self._asked += room
            self._tally.asked += room
            self._unsent += self.put(lines, truth)

    def move(self, events: int) -> None:
        """Read and write what is possible, and leave when all is done."""
        try:
            if events & ~WRITE:
                self._receive()
            self.ask()
            if self._unsent:
                del self._unsent[: self.stream.send(self._unsent)]
                if not self._unsent:
                    self._all_sent()
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(f"lost its connection: {error.strerror}")
        if self.manners.total and not (self.open or self._unsent) and (not self._awake or self._has_asked_all):
            self.leave()
        self.wanted = (READ if time.monotonic() >= self._reads_from else 0) | (WRITE if self._unsent else 0)

    def rest(self, rests: bool) -> None:
        """Ask nothing more, or go on."""
        self._awake = not rests

    def leave(self) -> None:
        if not self.over:
            self._tally.abandoned += self.open
            self.over = True
            self.stream.close()

    def _all_sent(self) -> None:
        if self._has_asked_all and self.manners.ending == "half":
            self.stream.shutdown(socket.SHUT_WR)
        elif self._asked > self.manners.flight and self.manners.ending == "vanish":
            self.leave()

    def _receive(self) -> None:
        data = self.stream.recv(65536)
        if not data:
            self._fail(f"was left with {self.open} questions" if self.open else "was left")
            return
        *answers, self._half = (self._half + data).split(b"\n")
        if not self._greeted and answers:
            self._greeted = answers.pop(0) == b"1"
        if len(answers) > self.open:
            self._fail("got more answers than it asked questions")
            return
        self._tally.answered += len(answers)
        self.check(answers)

    def _fail(self, why: str) -> None:
        if not self.over:
            self._tally.faults[f"{self.manners.name}: {why}"] += 1
            self.leave()


class InOrder(Client):
    """Gets its answers in order."""

    _truth = ""

    @property
    def open(self) -> int:
        return len(self._truth)

    def put(self, lines: list[bytes], truth: str) -> bytes:
        self._truth += truth
        return b"\n".join(lines) + b"\n"

    def check(self, answers: list[bytes]) -> None:
        said, true = [answer.decode("latin-1") for answer in answers], self._truth[: len(answers)]
        self._truth = self._truth[len(answers) :]
        self._tally.granted += said.count("1")
        if "".join(said) != true:
            for one, answer in zip(true, said, strict=True):
                self._tally.judge(self.manners.name, one, answer, self._three)


class Tagged(Client):
    """Gets its answers as they come, and asks for somebody with another address each time."""

    def __init__(self, stream: socket.socket, manners: Manners, questions: Questions, tally: Tally) -> None:
        super().__init__(stream, manners, questions, tally)
        self._truth: dict[str, str] = {}
        self._tags = itertools.count()

    @property
    def open(self) -> int:
        return len(self._truth)

    def put(self, lines: list[bytes], truth: str) -> bytes:
        sent, first = bytearray(), self._questions.number - len(lines)
        for number, (line, true) in enumerate(zip(lines, truth, strict=True), first):
            tag = next(self._tags)
            self._truth[f"{tag:x}"] = true
            sent += b"%x %b %b\n" % (tag, address(number), line)
        return bytes(sent)

    def check(self, answers: list[bytes]) -> None:
        for answer in answers:
            tag, _, said = answer.decode("latin-1").partition(" ")
            true = self._truth.pop(tag, "")
            self._tally.granted += said == "1"
            if said != true:
                self._tally.judge(self.manners.name, true, said, True)


def address(number: int) -> bytes:
    """Never the same again; every other one IPv6, in a /64 of its own."""
    high, low = number >> 8 & 0xFF, number & 0xFF
    if number & 1:
        return b"2001:db8:%x:%x::1" % (number >> 16 & 0xFFFF, number & 0xFFFF)
    return b"%d.%d.%d.%d" % (11 + (number >> 24), number >> 16 & 0xFF, high, low)


class Crowd:
    """All clients of one daemon.

    Args:
      connect: a new connection to it.
      relays: streams of relays.
    """

    def __init__(self, connect: Callable[[], socket.socket], relays: Iterable[socket.socket]) -> None:
        self.tally, self.questions = Tally(), Questions()
        self._connect = connect
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        for stream in relays:
            self._welcome(stream, RELAY)
        for manners in STAYING:
            self._welcome(connect(), manners)

    def storm(self, until: int, every: Callable[[], None]) -> None:
        """Ask until so many questions were asked and all are answered; `every` is called now and then."""
        for number, client in [*self._clients.items()]:
            client.rest(False)
            self._move(number, client, 0, True)
        for manners in COMING:
            self._welcome(self._connect(), manners)
        heard, answered = time.monotonic(), self.tally.answered
        while any(client.open or client.manners.total for client in self._clients.values()):
            self._turn(self.tally.asked < until)
            every()
            if self.tally.answered > answered:
                heard, answered = time.monotonic(), self.tally.answered
            elif time.monotonic() > heard + PATIENCE:
                waiting = Counter(client.manners.name for client in self._clients.values() if client.open)
                raise TimeoutError(f"no answer for {PATIENCE:g} s; who waits: {dict(waiting)}")
        for client in self._clients.values():
            client.rest(True)

    def close(self) -> None:
        for client in self._clients.values():
            client.leave()
        self._epoll.close()

    def _welcome(self, stream: socket.socket, manners: Manners) -> None:
        client = (Tagged if manners.hello == TAGGED else InOrder)(stream, manners, self.questions, self.tally)
        self._clients[stream.fileno()] = client
        self._epoll.register(stream, client.wanted)

    def _turn(self, goes_on: bool) -> None:
        """Have everybody move who can, or who might not have noticed that it is time to."""
        ready = dict(self._epoll.poll(0.05))
        for number, client in [*self._clients.items()]:
            if not goes_on:
                client.rest(True)
            if number in ready or not (client.wanted & READ and goes_on):
                self._move(number, client, ready.get(number, 0), goes_on)

    def _move(self, number: int, client: Client, events: int, goes_on: bool) -> None:
        before = client.wanted
        client.move(events)
        if not client.over:
            if client.wanted != before:
                self._epoll.modify(number, client.wanted)
            return
        del self._clients[number]  # the kernel has forgotten it as it was closed
        if goes_on or not client.manners.total:
            self._welcome(self._connect(), client.manners)
