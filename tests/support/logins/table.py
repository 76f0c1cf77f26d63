"""The truth table: who tries to log in with what, and whether that is right.  The same seed makes the same table.

The programs are tests/programs/keeper.py: the password of user@host is "pw:user:host" until it is changed.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

PEOPLE = 300  # on each host
RIGHT = 0.5  # of all logins
NUL_BEHIND = "NUL behind"
HARMFUL = ("leave", "crash", "hang", "late", "twice", "apart")


class Attempt(NamedTuple):
    """One login.

    Attributes:
      secret: the bytes of the password, which need not be text.
      kind: what is wrong with it, or `right`.
      legacy: by XEP-0078, which carries control characters, and cannot say "try again".
    """

    host: str
    user: str
    secret: bytes
    kind: str
    right: bool
    legacy: bool = False


def name(number: int) -> str:
    """Every tenth has letters that are no ASCII."""
    return f"jürgen{number}" if number % 10 == 0 else f"u{number}"


def password(user: str, host: str) -> bytes:
    return f"pw:{user}:{host}".encode()


def _mutations(user: str, host: str, other: str) -> dict[str, bytes]:
    """Wrong secrets of which none can end a line."""
    good = password(user, host)
    return {
        "guess": b"guess",
        "an answer": b"1",
        "shorter": good[:-1],
        "longer": good + b"1",
        "a colon behind": good + b":",
        "after a colon": b":" + good,
        "upper case": good.upper(),
        "other letters": good + "é€😀".encode(),
        "somebody else's": password(other, host),
        "a question": f"auth:{other}:{host}:".encode() + password(other, host),
        "very long": good * 60,
    }


def _line_ends(user: str, host: str, other: str) -> dict[str, bytes]:
    """What ends lines or questions where somebody does not look."""
    good, victim = password(user, host), f"auth:{other}:{host}:".encode() + password(other, host)
    return {
        "a line end behind": good + b"\n",
        "a second line": b"guess\n" + victim,
        "a second line, CR": b"guess\r" + victim,
        "a second line, CRLF": b"guess\r\n" + victim + b"\r\n",
        "three lines": b"guess\n" + victim + b"\n" + victim,
        "DEL inside": good[:-1] + b"x\x7f" + good[-1:],
        "C1 behind": good + "\x85".encode(),
    }


def _only_plain(user: str, host: str, other: str) -> dict[str, bytes]:
    """What only SASL can carry, as it is base64 there."""
    good, victim = password(user, host), f"auth:{other}:{host}:".encode() + password(other, host)
    return {
        "empty": b"",
        NUL_BEHIND: good + b"\0",
        "NUL before": b"\0" + good,
        "NUL inside": good[:4] + b"\0" + good[4:],
        "^C behind": good + b"\x03",
        "^D behind": good + b"\x04",
        "^H inside": good[:-1] + b"x\x08" + good[-1:],
        "^U inside": b"guess\x15" + victim,
        "^Z behind": good + b"\x1a",
        "no UTF-8": good + b"\xff",
        "overlong": good[:-1] + b"\xc0\xaf",
        "surrogate": good + b"\xed\xa0\x80",
    }


class Table:
    """Attempts without end.

    Args:
      hosts: their names; a password that is right on one of them is wrong on the others.
      harmful: which share of all attempts has a secret that harms the program.
      cut: Prosody cuts a password at a NUL, so that one behind it makes it no other (its own SASL does).
    """

    def __init__(self, seed: int, hosts: Sequence[str], harmful: float, *, cut: bool) -> None:
        self._chance = random.Random(seed)
        self._hosts = hosts
        self._harmful = harmful
        self._unusable = {NUL_BEHIND} if cut else set[str]()

    def __iter__(self) -> "Table":
        return self

    def __next__(self) -> Attempt:
        pick = self._chance
        host, number = pick.choice(self._hosts), pick.randrange(PEOPLE)
        user = name(number)
        if pick.random() < RIGHT:
            legacy = pick.random() < 0.05
            return Attempt(host, user, password(user, host), "right, XEP-0078" if legacy else "right", True, legacy)
        if pick.random() < self._harmful / (1 - RIGHT):
            harm = pick.choice(HARMFUL)
            return Attempt(host, user, f"guess-{harm}".encode(), f"program: {harm}", False)
        return self._wrong(host, user, name((number + pick.randrange(1, PEOPLE)) % PEOPLE))

    def _wrong(self, host: str, user: str, other: str) -> Attempt:
        pick = self._chance
        way = pick.randrange(10)
        if way == 0:
            return Attempt(host, f"no{user}", password(f"no{user}", host), "no such user", False)
        if way == 1 and len(self._hosts) > 1:
            elsewhere = pick.choice([one for one in self._hosts if one != host])
            return Attempt(host, user, password(user, elsewhere), "another host's", False)
        if way == 2:
            return Attempt(host, f"{user}:{host}", password(user, host), "a colon in the name", False)
        wrong = (_mutations, _line_ends, _only_plain)[0 if way < 6 else 1 if way < 8 else 2]
        kinds = wrong(user, host, other)
        kind = pick.choice(sorted(kinds.keys() - self._unusable))
        return Attempt(host, user, kinds[kind], kind, False, wrong is not _only_plain and pick.random() < 0.4)
