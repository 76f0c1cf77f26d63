"""Questions about ever new accounts, each with the truth about it, which program.c knows too.

No account is asked about by two clients, except where that is the matter: identical `isuser` of one burst, a suspect's
question again, and the right login of an account that is on probation.
"""

from collections import deque
from itertools import cycle

HOST, OTHER, BROKEN = "example.org", "other.example", "broken.example"

NEVER = "ehtlgpfk"
"""Letters of what programs are asked to do and then never grant; see program.c."""

_EVERY = 500
"""One of so many questions is a special one. Each fourth of these does harm, which is one of 2000, and in a week of a
busy server far more than there are bugs in a program."""

_REFUSED = (
    b"auth:u%d:example.org",
    b"auth::example.org:%d",
    b"isuser:u%d\x07:example.org",
    b"isuser:u%d\xff:example.org",
    b"removeuser:u%d:example.org",
    b"nothing %d",
    b"auth:u%d:example.org:" + b"x" * 5000,
    b"auth:u%d:broken.example:secret",  # its program cannot be started
)


def mixed(number: int) -> int:
    """An account's right secret; its bits tell what else is true of it."""
    return number * 2654435761 & 0xFFFFFFFF


def login(number: int, host: str = HOST, right: bool = True) -> bytes:
    return b"auth:u%d:%b:%d" % (number, host.encode(), mixed(number) + (not right))


def ordinary(number: int) -> tuple[bytes, str]:
    """One question with an innocent account, and its true answer."""
    value, kind = mixed(number), number & 15
    if kind < 10:
        right = value >> 16 & 1
        host = HOST if kind else OTHER
        return b"auth:u%d:%b:%d" % (number, host.encode(), value + 1 - right), "01"[right]
    if kind < 14:
        return b"isuser:u%d:example.org" % number, "01"[value >> 17 & 1]
    if kind == 14:
        return b"setpass:u%d:example.org:new secret" % number, "01"[value >> 18 & 1]
    return _REFUSED[number >> 4 & 7] % number, "0"


class Questions:
    """An endless supply.

    Attributes:
      number: of the next account; 0 is the probe's.
    """

    def __init__(self) -> None:
        self.number = 1
        self._special = cycle((self._harm, self._again, self._victim, self._chatter))
        self._letters = cycle(NEVER + "s")
        self._harmful = deque([(1, b"auth:u1:example.org:!e")], 8)

    def take(self, count: int) -> tuple[list[bytes], str]:
        """So many lines without line ends, and the true answers, a character each."""
        lines, truth, first = [], [], self.number
        self.number += count
        for number in range(first, first + count):
            line, true = ordinary(number) if number % _EVERY else next(self._special)(number)
            lines.append(line)
            truth.append(true)
        if count >= 16:  # a contact list is asked about twice
            lines[-1], truth[-1] = lines[-2], truth[-2]
        return lines, "".join(truth)

    def _harm(self, number: int) -> tuple[bytes, str]:
        letter = next(self._letters)
        line = b"auth:u%d:example.org:!%b" % (number, letter.encode())
        self._harmful.append((number, line))
        return line, "0" if letter in NEVER else "01"[mixed(number) >> 19 & 1]

    def _again(self, _number: int) -> tuple[bytes, str]:
        """What did harm not long ago, word for word."""
        number, line = self._harmful[0]
        return line, "0" if chr(line[-1]) in NEVER else "01"[mixed(number) >> 19 & 1]

    def _victim(self, _number: int) -> tuple[bytes, str]:
        """The right login of an account whose name was used to do harm."""
        return login(self._harmful[-1][0]), "1"

    def _chatter(self, number: int) -> tuple[bytes, str]:
        return b"auth:u%d:example.org:!c" % number, "01"[mixed(number) >> 19 & 1]
