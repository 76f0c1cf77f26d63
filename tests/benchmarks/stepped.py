"""Plays everybody outside a bridge, step by step, so that two runs of the same code do exactly the same.

The bridge, its pipes, its sockets and its epoll set are real. It stands still at each look at epoll (stepped.c) until,
in an order that never changes, every program has answered what it was asked, and every client has read its answers and
asked as many questions again. So each look finds all that can be there, as under full load, where the programs are
quicker than the bridge. Every answer is checked.

Linux only: a program is a process that sleeps, and its ends of the pipes are opened through /proc.
"""

import os
import select
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import direct

PATIENCE = 120.0  # s until the next look; far from what starting takes under valgrind
HERE = struct.Struct("Q")  # stepped.c: ns
SLEEPER = ["/bin/sleep", "3600"]  # should everything fail, it ends by itself
FILE = 65536
TAGGED_HELLO = b"extauth-bridge:tagged:1\n"
ADDRESSES = 200

# Valgrind (3.19, for one) lacks pidfd_open. As no program ends, a pipe that stays open says the same.
BRIDGE = """
import os, runpy
del os.environ["LD_PRELOAD"], os.environ["STEPPED"]  # not for programs
os.pidfd_open = lambda pid, flags=0: os.pipe()[0]
runpy.run_module("bridge", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Scenario:
    """Who asks how much at a time.

    Attributes:
      clients: of a daemon; 0 is one on pipes.
    """

    name: str
    pool: int
    in_flight: int
    clients: int = 0
    tagged: bool = False


SCENARIOS = (
    Scenario("pool4", 4, 64),
    Scenario("pool8", 8, 64),
    Scenario("mux64", 64, 64),
    Scenario("single", 4, 1),
    Scenario("shared", 4, 4, clients=32),
    Scenario("tagged", 4, 4, clients=32, tagged=True),
)


class Wrong(Exception):
    """The bridge ended, or answered what it should not have."""


class Client:
    """Asks in order, on two descriptors that may be one; the answers are checked."""

    def __init__(self, to: int, from_: int, first: int, tagged: bool) -> None:
        self._to, self._from, self._tagged = to, from_, tagged
        self._asked = self._answered = first
        self._pairs = direct.pairs()
        self._rest = b""
        self._due: dict[bytes, bytes] = {}
        self.ready = not tagged
        if tagged:
            os.write(to, TAGGED_HELLO)

    def ask(self, count: int) -> None:
        """Write as many more questions, in one write."""
        lines = [self._question() for _ in range(count)]
        os.write(self._to, b"".join(lines))

    def _question(self) -> bytes:
        frame, _ = self._pairs[self._asked % direct.QUESTIONS]
        number, self._asked = self._asked, self._asked + 1
        if not self._tagged:
            return frame[2:] + b"\n"
        tag = b"%d" % number
        self._due[tag] = b"%d" % (frame[-1] & 1)
        return b"%b 192.0.2.%d %b\n" % (tag, number % ADDRESSES, frame[2:])

    def take(self) -> int:
        """Read what there is; how many answers that were."""
        try:
            data = os.read(self._from, FILE)
        except BlockingIOError:
            return 0
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines and not self.ready:
            self.ready = lines.pop(0) == b"1"
        for line in lines:
            self._check(line)
        return len(lines)

    def _check(self, line: bytes) -> None:
        if self._tagged:
            tag, _, answer = line.partition(b" ")
            right = self._due.pop(tag, None)
        else:
            frame, _ = self._pairs[self._answered % direct.QUESTIONS]
            self._answered += 1
            right, answer = b"%d" % (frame[-1] & 1), line
        if answer != right:
            raise Wrong(f"an answer is wrong: {line!r}")


class Program:
    """The other ends of the pipes of a process that sleeps."""

    def __init__(self, pid: int) -> None:
        self._from = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._to = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY | os.O_CLOEXEC)

    def answer(self) -> None:
        """Answer the question, if there is one, with the reads and the write of program.c."""
        with suppress(BlockingIOError):
            if head := os.read(self._from, 2):
                body = os.read(self._from, int.from_bytes(head, "big"))
                os.write(self._to, bytes((0, 2, 0, body[-1] & 1)))


def sleepers(parent: int) -> list[int]:
    """The programs of a bridge, those that are more than a fork of it, in the order in which they were started."""
    found = []
    with suppress(OSError):
        for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():  # pids begin anew at times
            with suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(SLEEPER[0].encode()):
                    found.append(int(pid))
    return found


@dataclass
class Outside:
    """All clients and programs of one bridge."""

    scenario: Scenario
    bridge: subprocess.Popen[bytes]
    asks: int  # the bridge's, to be told when it may go on
    answers: int
    path: str  # of a daemon's socket
    answered: int = 0
    looks: int = 0
    time: int = 0  # ns, the bridge's
    pids: list[int] = field(default_factory=list)
    _programs: list[Program] = field(default_factory=list)
    _clients: list[Client] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)

    def run_until(self, answered: int) -> None:
        """Play on until so many questions were answered; the bridge stands still afterwards."""
        while self.answered < answered:
            if self.looks:
                os.write(self.answers, b"g")
            self._next_look()
            self._step()

    def tell(self, what: str) -> None:
        """While the bridge stands still: have it go on later with a `steady` clock, `count`, or `dump` the count."""
        os.write(self.answers, what[:1].encode())
        os.read(self.asks, HERE.size)

    def _next_look(self) -> None:
        """Wait until the bridge looks at epoll."""
        if not select.select([self.asks], [], [], PATIENCE)[0]:
            raise Wrong("the bridge does nothing any more")
        here = os.read(self.asks, HERE.size)
        if len(here) < HERE.size:
            raise Wrong("the bridge has ended")
        (self.time,) = HERE.unpack(here)
        self.looks += 1

    def _step(self) -> None:
        for program in self._programs or self._started():
            program.answer()
        for client in self._clients or self._connected():
            if not client.ready:
                client.take()
                if client.ready:
                    client.ask(self.scenario.in_flight)
            elif count := client.take():
                self.answered += count
                client.ask(count)

    def _started(self) -> list[Program]:
        """All programs at once, as soon as the last of them has been started."""
        self.pids = sleepers(self.bridge.pid)
        if len(self.pids) == self.scenario.pool:
            self._programs = [Program(pid) for pid in self.pids]
        return self._programs

    def _connected(self) -> list[Client]:
        """All clients at once, as soon as they can be and there are programs."""
        if not self._programs:
            return []
        if self.scenario.clients == 0:
            assert self.bridge.stdin and self.bridge.stdout
            ends = [(self.bridge.stdin.fileno(), self.bridge.stdout.fileno())]
        elif not Path(self.path).exists():
            return []
        else:
            self._sockets = [self._connect() for _ in range(self.scenario.clients)]
            ends = [(one.fileno(), one.fileno()) for one in self._sockets]
        for number, (to, from_) in enumerate(ends):
            os.set_blocking(from_, False)
            # Any distance: what matters is that the clients' answers differ.
            self._clients.append(Client(to, from_, number * 61, self.scenario.tagged))
        for client in self._clients:
            if client.ready:
                client.ask(self.scenario.in_flight)
        return self._clients

    def _connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        return client

    def close(self) -> None:
        for one in self._sockets:
            one.close()


def command(scenario: Scenario, python: str, path: str, prelude: str = "") -> list[str]:
    """The bridge's, with nothing in it that depends on time; `prelude` is Python for its very beginning."""
    verb = ["serve", "--listen", path] if scenario.clients else ["run"]
    quiet = ["--max-requests", "0", "--log-level", "warning"]
    return [python, "-c", prelude + BRIDGE, *verb, "--pool-size", str(scenario.pool), *quiet, "--", *SLEEPER]


@contextmanager
def playing(
    scenario: Scenario,
    argv: Sequence[str],
    library: Path,
    checkout: Path,
    path: str,
    tick: int,
) -> Iterator[Outside]:
    """`argv`, the bridge, is running under `library`, and stands still. Afterwards it is ended.

    Raises Wrong.
    """
    asks, asking = os.pipe()
    answering, answers = os.pipe()
    same = {"PATH": os.defpath, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    same |= {"LD_PRELOAD": str(library), "STEPPED": f"{asking},{answering},{tick}"}
    bridge = subprocess.Popen(
        ["setarch", "-R", *argv],
        cwd=checkout,
        env=same,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(asking, answering),
    )
    os.close(asking)
    os.close(answering)
    outside = Outside(scenario, bridge, asks, answers, path)
    try:
        yield outside
    finally:
        for pid in [*sleepers(bridge.pid), bridge.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        bridge.communicate()
        outside.close()
        os.close(asks)
        os.close(answers)
