"""A walk through accounts of the bundled program: each step depends on those before."""

import random
from collections.abc import Iterator, Mapping
from unittest import mock

from bridge.programs import users
from support.ejabberd.questions import Question

PASSWORDS = (
    "wonder:land",
    "with blanks ",
    " ",
    ":",
    "pässwörd",
    "passwort\u0308",  # decomposed: compared as it is
    "密码",
    "x" * 255,
    "é" * 500,
)
"""Some that are ordinary, some that programs get wrong."""

ODD = ("🔑🔒", "\u202e", "y" * 3900)
"""Those that ejabberd takes for no new password, nor for that of somebody to be removed."""

TOO_LONG = "z" * 5000
"""Of a user whom only an administrator can have given it: no line for the bridge can hold it."""

CHEAP = users.Cost(n=2**4, r=8, p=1)
"""As the program has it in these tests: each check makes a hash of every cost that occurs."""


def fill(database: str, host: str, secrets: Mapping[str, str]) -> None:
    """Add users to a database."""
    with mock.patch.object(users, "COST", CHEAP), users.Users(database) as table:
        for user, secret in secrets.items():
            assert table.add(user, host, secret)


class Walk:
    """Accounts of one host, and what has become of them.

    Args:
      dice: chooses.
      host: whose users they are.
      databases: one for each side; the same users are added to each.
    """

    def __init__(self, dice: random.Random, host: str, *databases: str) -> None:
        self._dice = dice
        self._host = host
        self._secrets: dict[str, str] = {"long": TOO_LONG}
        self._former: dict[str, str] = {}
        self._secrets |= {f"user{number}": secret for number, secret in enumerate(PASSWORDS + ODD)}
        for database in databases:
            fill(database, host, self._secrets)
        del self._secrets["long"]

    def _ask(self, kind: str, command: str, user: str, secret: str = "", host: str = "") -> Question:
        return Question(f"{command}: {kind}", command, user.encode(), (host or self._host).encode(), secret.encode())

    def _new(self) -> str:
        return self._dice.choice(PASSWORDS) + str(self._dice.randrange(10**6))

    def step(self) -> Iterator[Question]:
        """A few questions, one of which may change something."""
        pick = self._dice.choice
        user = pick([*self._secrets])
        missing = f"new{self._dice.randrange(10**6)}"
        yield from self._look(user)
        yield from pick((self._change, self._register, self._remove, self._capitals))(user, missing)
        yield from self._look(pick([*self._secrets]))
        yield self._ask("right password longer than max_line", "auth", "long", TOO_LONG)

    def look(self) -> Iterator[Question]:
        """Questions that change nothing."""
        return self._look(self._dice.choice([*self._secrets]))

    def _look(self, user: str) -> Iterator[Question]:
        secret = self._secrets[user]
        yield self._ask("right password", "auth", user, secret)
        yield self._ask("wrong password", "auth", user, secret + self._dice.choice("x :é"))
        yield self._ask("part of the right password", "auth", user, secret[:-1])
        yield self._ask("known", "isuser", user)
        if (former := self._former.get(user, secret)) != secret:
            yield self._ask("former password", "auth", user, former)

    def _change(self, user: str, missing: str) -> Iterator[Question]:
        self._former[user], self._secrets[user] = self._secrets[user], self._new()
        yield self._ask("known", "setpass", user, self._secrets[user])
        yield from self._look(user)
        yield self._ask("unknown", "setpass", missing, "new")
        yield self._ask("unknown", "isuser", missing)
        yield self._ask("unknown user", "auth", missing, "new")

    def _register(self, user: str, missing: str) -> Iterator[Question]:
        yield self._ask("known", "tryregister", user, self._new())
        self._secrets[missing] = self._new()
        yield self._ask("unknown", "tryregister", missing, self._secrets[missing])
        yield from self._look(missing)
        yield from self._look(user)

    def _remove(self, user: str, missing: str) -> Iterator[Question]:
        yield self._ask("unknown", "removeuser", missing)
        yield self._ask("unknown", "removeuser3", missing, "x")
        yield self._ask("wrong password", "removeuser3", user, self._secrets[user] + "x")
        if len(self._secrets) > 6:
            secret = self._secrets.pop(user)
            self._former.pop(user, None)
            if secret in ODD or self._dice.random() < 0.5:
                yield self._ask("known", "removeuser", user)
            else:
                yield self._ask("right password", "removeuser3", user, secret)
            yield self._ask("unknown", "isuser", user)
            yield self._ask("unknown user", "auth", user, secret)

    def _capitals(self, user: str, _missing: str) -> Iterator[Question]:
        kind, secret = "host in capitals, to a program that compares", self._secrets[user]
        yield self._ask(kind, "auth", user, secret, self._host.upper())
        yield self._ask("name not prepared, password of the prepared one", "auth", user.upper(), secret)
        yield self._ask("name not prepared, of a user who exists", "isuser", user.upper())
