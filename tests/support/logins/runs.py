"""All of it together: so many logins, and what was broken meanwhile."""

import random
import time
from collections.abc import Iterable

import trio

from support.logins.person import Person, meet
from support.logins.table import Attempt, Table, password
from support.logins.tally import AGAIN, GRANTED, Tally

HARMFUL = 0.01  # of all logins: a secret that harms its program


class Crowd:
    """People who log in at once, until there were enough logins.

    Args:
      port: of Prosody; hosts: on it.
      changing: which share of all conversations is one that changes a password.
      cut: as of `Table`.
    """

    def __init__(
        self, title: str, seed: int, port: int, hosts: Iterable[str], *, changing: float, cut: bool = False
    ) -> None:
        self.tally = Tally(f"{title}, seed {seed}")
        self._hosts = tuple(hosts)
        self._table = Table(seed, self._hosts, HARMFUL, cut=cut)
        self._chance = random.Random(seed + 1)
        self._port, self._changing = port, changing
        self._begun = self._wanted = 0
        self._accounts = 0  # that were made for changes
        self.doubtful: list[tuple[str, str, bytes, bytes]] = []  # host, user, and the two passwords it may have

    async def log_in(self, logins: int, at_once: int) -> None:
        """So many logins, so many of them at once."""
        self._wanted = logins
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(self._come_again)

    async def _come_again(self) -> None:
        while self._begun < self._wanted:
            if self._chance.random() < self._changing:
                await self._change()
            elif self._chance.random() < 0.02:
                await self._leave()
            else:
                await self._try()

    async def attempt(self, person: Person, attempt: Attempt) -> str:
        """One login, which counts."""
        self._begun += 1
        started = time.monotonic()
        outcome = await person.log_in(attempt)
        await self.tally.add(attempt, outcome, time.monotonic() - started)
        return outcome

    async def _try(self) -> None:
        """On one connection up to three, until one is granted."""
        first = next(self._table)
        async with meet(self._port, first.host) as person:
            tries = [first, *self._more(first.host, self._chance.randrange(3))]
            for one in tries:
                outcome = await self.attempt(person, one)
                if outcome == GRANTED:
                    return
                if outcome == AGAIN:  # as clients do, so that all of them do not knock at a closed door all the time
                    await trio.sleep(self._chance.uniform(0.5, 1.5))

    def _more(self, host: str, count: int) -> list[Attempt]:
        found = []
        while len(found) < count:
            one = next(self._table)
            if one.host == host:
                found.append(one)
        return found

    async def _leave(self) -> None:
        """Somebody who does not wait for the answer; counts as nothing."""
        one = next(self._table)
        async with meet(self._port, one.host) as person:
            await person.leave_after(one)
        self.tally.notes["somebody gone before his answer"] += 1

    async def _change(self) -> None:
        """A login, a new password, the old one, the new one; the account is nobody else's."""
        self._accounts += 1
        host, user = self._chance.choice(self._hosts), f"changer{self._accounts}"
        old, new = password(user, host), f"new:{self._accounts}:grün €".encode()
        async with meet(self._port, host) as person:
            if await self.attempt(person, Attempt(host, user, old, "right", True)) != GRANTED:
                return
            if not await person.change(user, new):
                self.doubtful.append((host, user, old, new))
                self.tally.notes["a change of which nobody knows whether it was made"] += 1
                return
        self.tally.notes["a change of a password"] += 1
        async with meet(self._port, host) as person:
            if await self.attempt(person, Attempt(host, user, old, "the old one", False)) != GRANTED:
                await self.attempt(person, Attempt(host, user, new, "right, after a change", True))

    # --- when nothing is broken any more -----------------------------------------------------------------

    async def calm(self, seconds: float = 60.0) -> float:
        """Wait until somebody of every host can log in again; the seconds that it took."""
        started = time.monotonic()
        for host in self._hosts:
            with trio.fail_after(seconds):
                while await self._ask(host, "calm", password("calm", host)) != GRANTED:
                    await trio.sleep(0.05)
        return time.monotonic() - started

    async def _ask(self, host: str, user: str, secret: bytes) -> str:
        async with meet(self._port, host) as person:
            return await person.log_in(Attempt(host, user, secret, "", False))

    async def check_doubtful(self, seconds: float = 60.0) -> None:
        """Of the old and the new password one is right, and never the other."""
        for host, user, old, new in self.doubtful:
            granted: set[bytes] = set()
            with trio.fail_after(seconds):
                while not granted:  # a terminal may refuse a right one
                    granted = {one for one in (old, new) if await self._ask(host, user, one) == GRANTED}
            assert len(granted) == 1, f"both of {user}'s passwords let in"
