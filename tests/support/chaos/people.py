"""Those who just ask, all the time, each kind in its own way; and what they may suffer from somebody's trouble."""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import trio

from support.availability.clients import TICK, Client
from support.availability.crowd import Crowd
from support.availability.verdict import Figures, Login

ANSWER_TIMEOUT = 2.0
"""Seconds; half the default, so that twice as much happens in the same time."""

MARGIN = 0.5
"""Seconds by which an answer may come later, beside the time that a loaded machine takes, see `Site.lag`."""

LOADED = 1.5
"""Seconds of lag from which on nobody can tell whose fault a late answer is, or one that was refused for time."""

PATIENCE = 30.0
"""Seconds after which somebody who asks gives up; only a restart on a loaded machine takes so long."""

LATE = 1.0
"""Seconds from which on an answer is late, as in all that is promised about availability."""

LEAVE = 0.03
"""A share of answers that may be late beyond what is allowed, and one more: for the machine's own moods."""

CLEAN = 1.0
"""Seconds of nothing but right and prompt answers, after which all is well again."""

IN_ORDER = frozenset({"plain", "relay", "terminal"})
"""Whose questions wait for the answer to the one before."""

BY_ITSELF = frozenset({"sqlite", "hashes", "changes", "attack"})
"""Not among those who are owed prompt answers: a hash takes its time, a change is never asked twice."""

SQLITE_USERS = 4


@dataclass(frozen=True)
class Harm:
    """What an action may do to those who have nothing to do with it: nothing, unless it says so.

    Attributes:
      failed: so many right logins may fail, `share`: and this part of all; `late`: this part may be late.
      waits: those who are answered in order may wait for one of theirs that is in trouble.
      cuts: connections may end.
      holds: seconds for which nobody can be answered in time, because the daemon itself stands still.
      named: kinds of clients that it is about.
      barren: no program can be started: together with anything else, that may be the end of all of them.
      recovery: seconds after which all must be granted again, and at once.
    """

    failed: int = 0
    share: float = 0.0
    late: float = 0.0
    waits: bool = False
    cuts: bool = False
    holds: float = 0.0
    named: frozenset[str] = frozenset()
    barren: bool = False
    recovery: float = 1.0

    def __or__(self, other: "Harm") -> "Harm":
        """What two actions at once may do."""
        barren = self.barren or other.barren
        return Harm(
            failed=self.failed + other.failed,
            share=1.0 if barren else self.share + other.share,
            late=1.0 if barren else self.late + other.late,
            waits=barren or self.waits or other.waits,
            cuts=self.cuts or other.cuts,
            holds=self.holds + other.holds,
            named=self.named | other.named,
            barren=barren,
            recovery=5.0 if barren else self.recovery + other.recovery,
        )


EVERYBODY = Harm(share=1.0, late=1.0, waits=True)
"""Nobody can be answered meanwhile."""


def question(kind: str, dice: random.Random) -> Callable[[int], bytes]:
    """Questions, each about somebody else: an answer that is shifted by one is soon a wrong one."""

    def line(number: int) -> bytes:
        user, chance = f"{kind}{number}", dice.random()
        if chance < 0.15:
            return f"isuser:{user}:h".encode()
        return f"auth:{user}:h:{'pw-' + user if chance < 0.7 else f'guess{number}'}".encode()

    return line


def other_question(kind: str, dice: random.Random) -> Callable[[int], bytes]:
    """Those that change something, and those for the bundled program."""

    def line(number: int) -> bytes:
        user = f"s{dice.randrange(SQLITE_USERS)}"
        if kind == "changes":
            return f"setpass:changes{number}:h:pw-changes{number}".encode()
        if kind == "sqlite":
            return f"isuser:{user}:sql".encode()
        command, secret = dice.choice((("auth", f"pw-{user}"), ("setpass", f"pw-{user}"), ("auth", f"guess{number}")))
        return f"{command}:{user}:sql:{secret}".encode()

    return line


class People:
    """All kinds of them, from `start` on until the nursery ends.

    Args:
      clients: how each kind asks.
      breach: told of what must never happen.
    """

    def __init__(self, clients: Mapping[str, Client], nursery: trio.Nursery, breach: Callable[[str], None]) -> None:
        self.crowds = {kind: WatchedCrowd(client, nursery, PATIENCE) for kind, client in clients.items()}
        self.asked = 0
        self._former, self._lag = Harm(), 0.0
        self._nursery = nursery
        self._breach = breach

    def start(self, rates: Mapping[str, float], dice: random.Random) -> None:
        """So many questions a second of each kind; on a terminal, one after the other."""
        for kind, rate in rates.items():
            line = (other_question if kind in BY_ITSELF else question)(kind, random.Random(dice.random()))
            if kind == "terminal":
                self._nursery.start_soon(self._one_by_one, kind, rate, line)
            else:
                self.crowds[kind].load(rate, line, kind, at_random=True)

    async def _one_by_one(self, kind: str, rate: float, line: Callable[[int], bytes]) -> None:
        number = 0
        while True:
            number += 1
            await self.crowds[kind].ask(line(number), kind)
            await trio.sleep(1 / rate)

    async def recovered(self, undone: float, longest: float) -> float:
        """Wait until all is well; seconds that it took.

        For somebody of each kind to ask and be granted it waits no longer than `longest`.
        """
        while True:
            now, last = time.monotonic(), max(undone, self._last_trouble())
            if now - last >= CLEAN and (self._all_granted(undone) or now - undone > longest + CLEAN):
                return last - undone
            if now - undone > longest + CLEAN + PATIENCE:
                return PATIENCE
            await trio.sleep(TICK)

    def _all_granted(self, since: float) -> bool:
        """Somebody of each kind has been."""
        owed = [crowd for kind, crowd in self.crowds.items() if kind not in BY_ITSELF]
        return all(any(it.granted and it.sent >= since for it in crowd.logins) for crowd in owed)

    def _last_trouble(self) -> float:
        """When the last question was asked that was not granted at once, or is not yet."""
        late = time.monotonic() - LATE
        owed = [crowd for kind, crowd in self.crowds.items() if kind not in BY_ITSELF]
        bad = [login.sent for crowd in owed for login in crowd.logins if login.right and not well(login)]
        if any(login.sent < late for crowd in owed for login in crowd.pending):
            return time.monotonic()
        bad += [login.sent for login in self.crowds["sqlite"].logins if not login.granted]
        return max(bad, default=0.0)

    def judge(self, harm: Harm, what: str, began: float, lag: float) -> Figures:
        """Hold all that was answered since the last time against what is allowed, and forget it.

        Args:
          began: when it began to be different; for messages.
          lag: see `Site.lag`.

        Returns:
          what became of the others: those whom nothing names.
        """
        found = {kind: crowd.take() for kind, crowd in self.crowds.items()}
        self.asked += sum(map(len, found.values()))
        for logins in found.values():
            earlier = [login for login in logins if login.sent < began]
            both = harm | self._former, max(lag, self._lag)
            for fault in (*faults(earlier, *both), *faults(set(logins) - set(earlier), harm, lag)):
                self._breach(f"{what}: {fault}")
        self._former, self._lag = harm, lag
        owed = [login for kind in found.keys() - harm.named - BY_ITSELF for login in found[kind] if login.right]
        others = Figures.of(owed, LATE + lag)
        if lag < LOADED:
            bad = [login for login in owed if not login.granted]
            self._want(bad, harm.failed + harm.share * others.asked, f"{what}: failed", began)
            prompt = [login for login in owed if not (harm.waits and login.who in IN_ORDER)]
            slow = [login for login in prompt if login.granted and not well(login, lag)]
            self._want(slow, 1 + (harm.late + LEAVE) * others.asked, f"{what}: late", began)
            bad = [login for login in found["sqlite"] if not login.granted and "sqlite" not in harm.named]
            self._want(bad, harm.failed + harm.share * len(found["sqlite"]), f"{what}: failed at SQLite", began)
        return others

    def _want(self, bad: Sequence[Login], most: float, what: str, began: float) -> None:
        if len(bad) > most:
            self._breach(f"{what}: {len(bad)}, at most {most:.1f} allowed: {said(bad, began)}")


def well(login: Login, lag: float = 0.0) -> bool:
    """Whether it was granted at once."""
    return login.granted and login.seconds <= LATE + lag


def faults(logins: Iterable[Login], harm: Harm, lag: float) -> list[str]:
    """What holds for every single answer, whatever happens."""
    found = []
    for login in logins:
        if login.granted and not login.right:
            found.append(f"{login.who}: A WRONG GRANT after {login.seconds:.2f} s")
        elif lag < LOADED and login.seconds > ANSWER_TIMEOUT + MARGIN + lag + harm.holds:
            found.append(f"{login.who}: an answer ({login.verdict or 'none'}) after {login.seconds:.2f} s")
        elif not login.verdict and login.seconds < PATIENCE and not harm.cuts and login.who not in harm.named:
            found.append(f"{login.who}: no answer, after {login.seconds:.2f} s the end")
    return found


def said(logins: Iterable[Login], began: float) -> str:
    """Some of them, in words: when they were asked, counted from the beginning, and how long they took."""
    some = sorted(logins, key=lambda login: login.sent)[:4]
    return ", ".join(f"{it.who} {it.verdict or '-'} at {it.sent - began:+.2f} in {it.seconds:.2f} s" for it in some)


class WatchedCrowd(Crowd):
    """A crowd of which one sees who still waits; it forgets what was taken."""

    @property
    def client(self) -> Client:
        return self._client

    @property
    def pending(self) -> set[Login]:
        return self._open

    def take(self) -> list[Login]:
        logins, self.logins = self.logins, []
        self.secrets.clear()
        return logins
