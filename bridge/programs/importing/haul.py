"""What an import has found: who is to be stored with which hash, and who cannot be."""

import functools
import os
import time
from collections.abc import Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from encodings.idna import nameprep
from stringprep import in_table_a1

import attrs

from bridge.programs.hashes import Cost, Hash, Scrypt
from bridge.programs.importing.entry import Entry, Found, NotTaken, Unreadable
from bridge.programs.importing.progress import Progress
from bridge.programs.names import NOT_IN_NAMES, Refused, clean

LONGEST_NAME = 1023
"""Bytes of either part of a name, as RFC 7622 has it."""

Names = tuple[str, str]
"""User and host."""


@attrs.define
class Haul:
    """Takes what readers find.

    Args:
      host: of those whose host the source does not say; others are passed over if theirs is not this one.
      exists: who is to be kept.
    """

    host: str | None
    exists: Container[Names]
    users: dict[Names, str | Hash] = attrs.field(init=False, factory=dict[Names, str | Hash], repr=False)
    kept: int = attrs.field(init=False, default=0)
    elsewhere: int = attrs.field(init=False, default=0)
    problems: list[NotTaken] = attrs.field(init=False, factory=list[NotTaken])
    _first: dict[Names, Entry] = attrs.field(init=False, factory=dict[Names, Entry], repr=False)

    def read(self, source: Iterable[Found]) -> None:
        """Take all.

        Raises:
          Unreadable: the source says so, or it needs a host.
        """
        with Progress("reading") as progress:
            for found in source:
                if not isinstance(found, NotTaken):
                    self._take(found)
                elif self.host is not None and found.host and found.host.lower() != self.host:
                    self.elsewhere += 1
                else:
                    self.problems.append(found)
                progress.step()

    def _take(self, found: Entry) -> None:
        if found.host is None and self.host is None:
            raise Unreadable("it does not say of which host its users are: add --host HOST")
        try:
            host = _name(found.host or self.host or "", "HOST")
            if self.host not in (None, host):
                self.elsewhere += 1
                return
            names = _name(found.user, "USER"), host
            if isinstance(found.secret, str):
                clean(found.secret, "the password")
        except Refused as error:
            self.problems.append(NotTaken(found.where, str(error)))
            return
        if names in self.exists:
            self.kept += 1
        elif names in self._first:
            self._take_again(found, names)
        else:
            self.users[names] = found.secret
            self._first[names] = found

    def _take_again(self, found: Entry, names: Names) -> None:
        """Elsewhere Alice and alice may be two people, and of two passwords one is old: nobody knows which is right."""
        first = self._first[names]
        if (found.user, found.secret) == (first.user, first.secret):
            self.problems.append(NotTaken(found.where, "a second entry of the same name"))
            return
        what = "two passwords for one name" if found.user == first.user else "two users whose names are one for XMPP"
        reason = f"{what}: neither is taken"
        if self.users.pop(names, None) is not None:
            self.problems.append(NotTaken(first.where, reason))
        self.problems.append(NotTaken(found.where, reason))

    @property
    def passwords(self) -> dict[Names, str]:
        """Those that are to be hashed."""
        return {names: secret for names, secret in self.users.items() if isinstance(secret, str)}

    def hashed(self, cost: Cost) -> list[tuple[str, str, Hash]]:
        """All users with their hashes, for which all CPUs are used."""
        passwords = self.passwords
        made: dict[Names, Hash] = {names: one for names, one in self.users.items() if not isinstance(one, str)}
        executor = ThreadPoolExecutor(len(os.sched_getaffinity(0)))  # threads do: hashing leaves Python's lock alone
        try:
            with Progress("hashing", len(passwords)) as progress:
                for names, one in zip(
                    passwords, executor.map(functools.partial(Scrypt.of, cost=cost), passwords.values()), strict=True
                ):
                    made[names] = one
                    progress.step()
        finally:
            executor.shutdown(cancel_futures=True)
        return [(*names, made[names]) for names in self.users]


def estimate(passwords: int, cost: Cost) -> float:
    """Seconds that hashing takes here, judged by one hash."""
    begun = time.monotonic()
    Scrypt.of("", cost)
    return passwords * (time.monotonic() - begun) / len(os.sched_getaffinity(0))


def _name(text: str, what: str) -> str:
    name = clean(text.lower(), what, NOT_IN_NAMES)
    if len(name.encode()) > LONGEST_NAME:
        raise Refused(f"{what} is too long")
    labels = text.split(".") if what == "HOST" else [text]
    if not name.isascii() and ".".join(map(_prepared, labels)) != name:
        raise Refused(f"{what} is none that servers ask for: they prepare its letters otherwise (RFC 3491, RFC 6122)")
    return name


def _prepared(label: str) -> str:
    """As servers prepare it; empty if they would not.

    For them it is still the time of Unicode 3.2, so what has become a capital since then is none.
    """
    if any(in_table_a1(either) for char in label if char != char.lower() for either in char + char.lower()):
        return ""
    try:
        return nameprep(label)
    except UnicodeError:
        return ""
