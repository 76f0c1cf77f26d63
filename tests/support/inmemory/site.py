"""A site in virtual time: a back end, its programs, those who log in, and those who make programs hang or exit.

site = Site(starts=6.0)
async with site.pool(pool_size=2):
    async with site.attack(1, "hang"):
        others = await site.crowd(rate=5, seconds=60)
assert others.failed == 0
"""

import contextlib
import itertools
import math
import random
import signal
from collections.abc import AsyncIterator, Collection, Sequence

import pytest
import trio

from bridge.protocol.frames import DENIED, GRANTED
from bridge.protocol.query import Query, Verdict
from support.inmemory.pools import Answer, Bench, InMemoryWorker, Play, bench

LATE = 1.0
"""Seconds: whoever waits longer is late."""

PAUSE = 0.05
"""Seconds from an answer to the next try on a login that is always open."""

ANSWER_TIMEOUT = 4.0


def slow_but_for(default_run: Collection[tuple[object, ...]], *each: Collection[object]) -> list[object]:
    """All combinations as parameters of a test, of which only these are in the default run."""
    combinations = [*itertools.product(*each)]
    assert set(default_run) <= set(combinations)
    return [pytest.param(*these, marks=() if these in default_run else pytest.mark.slow) for these in combinations]


class Logins(list[Answer]):
    """Some people's."""

    def since(self, when: float) -> "Logins":
        """Those that came then or later."""
        return Logins(login for login in self if login.asked >= when)

    @property
    def failed(self) -> float:
        """Share of those that were not let in."""
        return sum(login.verdict is not Verdict.GRANTED for login in self) / len(self)

    @property
    def late(self) -> float:
        """Share of those that waited for longer than a second."""
        return sum(login.seconds > LATE for login in self) / len(self)

    @property
    def refused_last(self) -> float:
        """When the last one came that was not let in."""
        return max((login.asked for login in self if login.verdict is not Verdict.GRANTED), default=-math.inf)


class Site:
    """A pool with programs that know right passwords: those that begin with `right`.

    A password that begins with `hang` hangs the program, one with `exit` ends it.  One with `cling` hangs it so that
    it cannot even be killed.

    Args:
      starts: seconds a program takes to start; it reads nothing before.
      seconds: a question takes.

    Attributes:
      there: the bench.
      hung: programs that were asked to hang.
      leaving, hanging: programs that do so at their next question, whatever it is.
      asked: by programs, in order: when, and what.
      others: everybody who is to be let in, that is all but the attackers.
    """

    there: Bench

    def __init__(self, starts: float = 0.1, seconds: float = 0.01) -> None:
        self.starts = starts
        self.seconds = seconds
        self.hung: set[InMemoryWorker] = set()
        self.leaving: set[InMemoryWorker] = set()
        self.hanging: set[InMemoryWorker] = set()
        self.asked: list[tuple[float, bytes]] = []
        self.others = Logins()
        self._wrong = Logins()
        self._stalled_until = -math.inf
        self._starts_stalled = True
        self._numbers = itertools.count()
        self._over = math.inf

    @contextlib.asynccontextmanager
    async def pool(self, *plays: Play, **changes: object) -> AsyncIterator[Bench]:
        """Its pool, as it is by default but for these keys; in the end, nobody may have been let in wrongly.

        Args:
          plays: if not all programs are its own, see `Bench`.
        """
        async with bench(plays or self.play, **{"pool_max": None, **changes}) as self.there:
            yield self.there
            await self.settled()
            self._over = self.there.clock()
            most = max(change.alive for change in self.there.changes)
            assert most <= self.there.pool.program.pool_max + 1, "and one that is being replaced"
        assert not [login for login in self._wrong if login.verdict is Verdict.GRANTED]

    async def play(self, program: InMemoryWorker) -> int:
        """One of its programs."""
        await trio.sleep(self.starts)
        if self._starts_stalled:
            await trio.sleep_until(self._stalled_until)
        while (body := await program.frame()) is not None:
            self.asked.append((trio.current_time(), body))
            command, _, _, *secret = body.split(b":", 3)
            word = secret[0] if secret else b""
            if word.startswith(b"exit") or program in self.leaving:
                return 1
            if word.startswith((b"hang", b"cling")) or program in self.hanging:
                self.hung.add(program)
                program.ignores.update({signal.SIGKILL} if word.startswith(b"cling") else ())
                await trio.sleep_forever()
            await trio.sleep(self.seconds)
            await trio.sleep_until(self._stalled_until)
            program.say(GRANTED if command != b"auth" or word.startswith(b"right") else DENIED)
        return 0

    def stall(self, seconds: float, starts: bool = True) -> None:
        """From now on, the back end does not answer for so long; if `starts`, no program starts without it."""
        self._stalled_until, self._starts_stalled = trio.current_time() + seconds, starts

    @property
    def innocent(self) -> list[InMemoryWorker]:
        """Programs that were killed although they would have answered."""
        return [program for program in self.killed if program not in self.hung]

    @property
    def killed(self) -> list[InMemoryWorker]:
        """Programs that were killed, but for the end."""
        return [
            program
            for program in self.there.programs
            if any(number == signal.SIGKILL and when < self._over for when, number in program.signals)
        ]

    # --- who logs in -------------------------------------------------------------------------------------

    def login(self, password: str = "right", user: str = "", address: str = "", command: str = "auth") -> Answer:
        """Somebody logs in, or somebody else each time."""
        user = user or f"user{next(self._numbers)}"
        answer = Answer()
        body = f"{command}:{user}:example.com" + (f":{password}" if command != "isuser" else "")
        answer.query = Query(body.encode(), self.there.clock() + ANSWER_TIMEOUT, answer, address)
        if command == "auth" and not password.startswith("right"):
            self._wrong.append(answer)
        self.there.pool.ask([answer.query])
        return answer

    async def crowd(
        self, rate: float, seconds: float, *, chance: random.Random | None = None, commands: Sequence[str] = ("auth",)
    ) -> Logins:
        """People log in, at random intervals if there is a `chance`, and a stranger a second tries to.

        Returns:
          theirs, without the strangers', when all are answered.
        """
        logins, until, stranger = Logins(), self.there.clock() + seconds, -math.inf
        commands_in_turn = itertools.cycle(commands)
        while self.there.clock() < until:
            if self.there.clock() >= stranger + 1.0:
                stranger = self.there.clock()
                self.login("guess")
            logins.append(self.login(command=next(commands_in_turn)))
            await trio.sleep(chance.expovariate(rate) if chance else 1.0 / rate)
        self.others += logins
        for login in logins:
            await login.done()
        return logins

    async def settled(self) -> None:
        """Everybody has an answer."""
        for login in (*self.others, *self._wrong):
            await login.done()

    @contextlib.asynccontextmanager
    async def attack(
        self,
        logins: int,
        word: str,
        *,
        user: str = "mallory",
        users: bool = False,
        secrets: bool = False,
        pause: float = PAUSE,
    ) -> AsyncIterator[Logins]:
        """So many logins are always open, with another user or another secret each time, or the same.

        Args:
          word: how the password begins.
          pause: seconds from an answer to the next try.
        """
        numbers, tries = itertools.count(), Logins()

        async def keep_asking() -> None:
            while True:
                number = next(numbers)
                name = f"{user}{number}" if users else user
                tries.append(self.login(f"{word}-{number if secrets else 0}", name))
                await tries[-1].done()
                await trio.sleep(pause)

        async with trio.open_nursery() as nursery:
            for _ in range(logins):
                nursery.start_soon(keep_asking)
            yield tries
            nursery.cancel_scope.cancel()
