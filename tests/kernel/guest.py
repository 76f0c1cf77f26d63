"""What runs on the kernel under test: real Workers with programs that reply twice, and with honest ones.

    python3 guest.py TWICE

TWICE is tests/programs/twice.c, compiled.  Needs nothing but the standard library and `bridge`, as nothing else is
there.  Says what became of it in lines of `name number`, for test_older_kernel.py to judge.
"""

import array
import fcntl
import itertools
import platform
import random
import select
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from bridge.loop.reactor import Reactor
from bridge.protocol import frames
from bridge.protocol.query import Query, Verdict
from bridge.worker.spawn import Process, start
from bridge.worker.worker import Worker

PATIENCE = 60.0
"""Seconds for one run; reached only by one that hangs."""

HONEST = 20_000
"""Questions to honest programs, in all."""

TWICE = 4
"""Questions of each kind of run that are replied to with two times yes, and as many with two times no."""

OTHERS = 7
"""Questions after each of them whose answer is the other one."""

EARLY = 5
"""Programs of each kind that reply to their first question before they read it; each is caught, so it gets no other."""

PROGRAMS = (1, 2, 4)
READS = ("whole", "header", "byte")
WRITES = ("whole", "halves")
WORK = (0, 500, 3000)
GAP = (0, 60, 400, 1000, 2000)
"""Microseconds; in a short gap, both replies are read at once."""

TRUTH = {True: Verdict.GRANTED, False: Verdict.DENIED}


class Run:
    """Programs that have a question as long as there is one: each gets the next one with its reply, as in a busy pool.

    Args:
      argv: the command.
      programs: how many of them.
      bodies: of the questions.
      meanwhile: called between a program's first question and the next look at the events.

    Attributes:
      count: `right` and `wrongly granted` or `wrongly denied` verdicts; `first replies`, those of them that were taken
        though a second one is to come; `failed`, the programs that were ended for what they did.
    """

    def __init__(
        self,
        argv: Sequence[str],
        programs: int,
        bodies: Iterator[bytes],
        meanwhile: Callable[[Process], None] = lambda process: None,
    ) -> None:
        self.count: Counter[str] = Counter()
        self._argv = argv
        self._bodies = bodies
        self._meanwhile = meanwhile
        self._reactor = Reactor()
        self._workers: dict[Worker, Process] = {}
        self._idle: set[Worker] = set()
        for _ in range(programs):
            self._start_one()
        self._drive()

    def _drive(self) -> None:
        waiting = select.poll()
        waiting.register(self._reactor.fileno(), select.POLLIN)
        until = time.monotonic() + PATIENCE
        while self._workers:
            for worker in [*self._idle]:
                self._ask(worker)
            waiting.poll(20)
            self._reactor.run_once()
            if time.monotonic() > until:
                raise TimeoutError(f"it hangs: {self._argv} {self.count}")
        self._reactor.close()

    def _start_one(self) -> None:
        process = start(self._argv, "/", {})
        worker = Worker(process, self._reactor, self, 4096, frames)
        self._workers[worker] = process
        self._idle.add(worker)

    def _ask(self, worker: Worker) -> None:
        """Give the next question to an idle program, or have it leave."""
        body = next(self._bodies, None)
        if body is None:
            self._idle.discard(worker)
            worker.close_stdin()
        elif worker.give(self._query(body)):
            self._idle.discard(worker)
            self._meanwhile(self._workers[worker])
        else:  # not asked, or not yet
            self._bodies = itertools.chain([body], self._bodies)

    def _query(self, body: bytes) -> Query:
        return Query(body, time.monotonic() + PATIENCE, self)

    # --- as the owner of the workers ---------------------------------------------------------------------

    def replied(self, worker: Worker, query: Query, verdict: Verdict) -> None:
        right = verdict is TRUTH[b"good" in query.body]
        self.count["right" if right else f"wrongly {verdict.value}"] += 1
        self.count["first replies"] += b"twice" in query.body
        body = next(self._bodies, None)
        if body is None:
            worker.close_stdin()
        else:
            worker.hand_over(self._query(body))

    def replies_in_pieces(self) -> None:
        for worker in self._workers:
            worker.careful = True

    def failing(self, worker: Worker, reason: str) -> None:
        self.count["failed"] += 1

    def retired(self, worker: Worker) -> None:
        self._idle.discard(worker)

    def ended(self, worker: Worker, query: Query | None, was_read: bool) -> None:
        del self._workers[worker]
        if (body := next(self._bodies, None)) is not None:
            self._bodies = itertools.chain([body], self._bodies)
            self._start_one()

    def complained(self, worker: Worker, lines: list[str]) -> None:
        """Such programs do not."""

    def may_not_kill(self, worker: Worker) -> None:
        """Such programs stay what they are."""

    def settled(self, query: Query) -> None:
        """As an asker: nothing is settled here."""


def second_replies(program: str) -> Counter[str]:
    """Questions after which a second reply comes, which is the wrong answer to whatever is asked next."""
    count: Counter[str] = Counter()
    good, bad = b"good", b"bad"
    kinds = itertools.product(PROGRAMS, WORK, GAP, WRITES)
    for number, (programs, work, gap, writes) in enumerate(kinds):
        argv = [program, str(work), str(gap), READS[number % len(READS)], writes]
        bodies = [
            body
            for twice, others in ((good, bad), (bad, good))
            for body in [b"auth:twice:example.com:" + twice, *[b"auth:once:example.com:" + others] * OTHERS] * TWICE
        ]
        count += Run(argv, programs, iter(bodies)).count
        count["second replies"] += 2 * TWICE
    return count


def early_replies(program: str) -> Counter[str]:
    """Programs that say yes when they have a question, then read it, all before anybody has looked at the events."""
    count: Counter[str] = Counter()
    for reads, writes in itertools.product(READS, WRITES):
        argv = [program, "50000", "0", reads, writes, "early"]
        count += Run(argv, 1, itertools.repeat(b"auth:once:example.com:bad", EARLY), until_taken).count
        count["early replies"] += EARLY
    return count


def until_taken(process: Process) -> None:
    """Wait until the program has read all that was given to it."""
    unread = array.array("i", [1])
    while unread[0]:
        time.sleep(0.001)
        fcntl.ioctl(process.stdin, termios.FIONREAD, unread)


def honest(program: str, reads: str, writes: str) -> Counter[str]:
    """Programs that reply once, as fast as they can."""
    count: Counter[str] = Counter()
    questions = HONEST // len(PROGRAMS) // len(READS) // len(WRITES)
    for programs in PROGRAMS:
        some = random.Random(programs)
        bodies = [b"auth:once:example.com:" + some.choice([b"good", b"bad"]) for _ in range(questions)]
        count += Run([program, "0", "0", reads, writes], programs, iter(bodies)).count
    return count


def report(name: str, count: Counter[str], began: float) -> None:
    for what, number in sorted(count.items()):
        print(f"{name}: {what} {number}")
    print(f"{name}: seconds {time.monotonic() - began:.1f}", flush=True)


def main(program: str) -> None:
    print(f"\nkernel {platform.release()}")
    began = time.monotonic()
    report("second", second_replies(program), began)
    began = time.monotonic()
    report("early", early_replies(program), began)
    for reads, writes in itertools.product(READS, WRITES):
        began = time.monotonic()
        report(f"honest {reads} {writes}", honest(program, reads, writes), began)


if __name__ == "__main__":
    main(*sys.argv[1:])
