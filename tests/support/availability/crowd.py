"""Those who ask: people who just log in, and the trouble among them."""

import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable

import trio

from support.availability.clients import TICK, Answer, Client
from support.availability.verdict import Login

PAUSE = 0.05
"""Seconds from an answer to the next try on a login that is always open: a new stream with TLS takes no less."""


def right(user: str) -> bytes:
    """A login that a program grants."""
    return f"auth:{user}:h:pw-{user}".encode()


class Crowd:
    """All that is asked in a scene, until the nursery ends.

    Args:
      client: how everybody asks.
      patience: seconds after which somebody who asks gives up.
      held_up: seconds that are not the daemon's doing, so far: nobody's login is late by these.

    Attributes:
      logins: all questions, once they are answered or given up.
      secrets: all that were sent.
    """

    def __init__(
        self, client: Client, nursery: trio.Nursery, patience: float, held_up: Callable[[], float] = float
    ) -> None:
        self._client = client
        self._held_up = held_up
        self.logins: list[Login] = []
        self.secrets: set[bytes] = set()
        self._nursery = nursery
        self._patience = patience
        self._open: set[Login] = set()
        self._loads: list[trio.CancelScope] = []
        self._attempts = 0

    async def ask(self, line: bytes, who: str, address: str = "-") -> Login:
        """Ask one question, and wait for what becomes of it."""
        command, user, _host, *secret = line.split(b":", 3)
        self.secrets.update(secret)
        login = Login(who, command == b"isuser" or secret == [b"pw-" + user], time.monotonic())
        self._open.add(login)
        held_up = self._held_up()
        try:
            answer = Answer("", login.sent + self._patience)
            with trio.move_on_after(self._patience):
                answer = await self._client.ask(line, address)
            held_up = max(0.0, self._held_up() - held_up)  # it may be another daemon by now
            login.verdict, login.seconds = answer.verdict, max(0.0, answer.at - login.sent - held_up)
            self.logins.append(login)
        finally:
            self._open.remove(login)
        return login

    async def settled(self) -> None:
        """Everything that has been asked by now is answered, or given up."""
        asked = set(self._open)
        while asked & self._open:
            await trio.sleep(TICK)

    def stop(self) -> None:
        """Nobody asks anything more."""
        for load in self._loads:
            load.cancel()

    # --- people ------------------------------------------------------------------------------------------

    def load(self, rate: float, line: Callable[[int], bytes], who: str, *, at_random: bool = False) -> trio.CancelScope:
        """Ask `rate` questions a second, each from another address, until the returned scope is cancelled."""
        scope = trio.CancelScope()
        self._loads.append(scope)
        self._nursery.start_soon(self._ask_on, scope, rate, line, who, at_random)
        return scope

    async def _ask_on(
        self, scope: trio.CancelScope, rate: float, line: Callable[[int], bytes], who: str, at_random: bool
    ) -> None:
        dice = random.Random(rate)  # the same arrivals in every run
        due, number = time.monotonic(), 0
        with scope:
            while True:
                number += 1
                self._nursery.start_soon(self.ask, line(number), who, f"198.51.100.{number % 200 + 1}")
                due += dice.expovariate(rate) if at_random else 1 / rate
                await trio.sleep(max(0.0, due - time.monotonic()))

    def others(
        self, rate: float = 5.0, *, isuser: bool = False, at_random: bool = False, who: str = "others"
    ) -> trio.CancelScope:
        """Right logins of people who have nothing to do with any trouble; `isuser`: every second question is one."""

        def line(number: int) -> bytes:
            user = f"u{number % 97}"
            return f"isuser:{user}:h".encode() if isuser and number % 2 else right(user)

        return self.load(rate, line, who, at_random=at_random)

    def strangers(self) -> trio.CancelScope:
        """A wrong password a second: never to be granted, whatever happens."""
        return self.load(1, lambda number: f"auth:u{number % 97}:h:guess{number}".encode(), "strangers")

    # --- trouble -----------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def attack(
        self,
        logins: int,
        secret: str,
        *,
        pause: float = PAUSE,
        user: str = "mallory",
        users: bool = False,
        secrets: bool = False,
        addresses: bool = False,
    ) -> AsyncIterator[None]:
        """So many logins are always open: `pause` seconds after its answer each is tried again.

        Args:
          secret: what it begins with says what the program does, see tests/programs/troubled.py.
          users, secrets, addresses: another one for each try.
        """

        async def keep_asking() -> None:
            while True:
                self._attempts += 1
                number = self._attempts
                name = f"{user}{number}" if users else user
                word = f"{secret}-x{number if secrets else 0}x"
                address = f"203.0.{number // 250 % 250}.{number % 250 + 1}" if addresses else "203.0.113.9"
                await self.ask(f"auth:{name}:h:{word}".encode(), "attack", address)
                await trio.sleep(pause)

        async with trio.open_nursery() as nursery:
            for _ in range(logins):
                nursery.start_soon(keep_asking)
            yield
            nursery.cancel_scope.cancel()
