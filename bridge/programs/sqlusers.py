"""The users in a shared database, with the methods of `bridge.programs.users.Users`.

The rules:

- What is read is read when it is asked for: nothing about a user is kept.
- The time of a check does not show whether the user exists: every check makes one hash of every kind that occurs in
  the table.  The kinds are looked up now and then, as that reads the whole table; what is met meanwhile is added.
- No transaction is open while a password is hashed.  What was decided from a row is only done if it is still the same.
- A table of somebody else's is only read, unless the administrator allowed to write.
"""

import math
import time
from collections.abc import Callable
from typing import NamedTuple, Self

import sqlalchemy as sa

from bridge.programs.hashes import COST, WORK_MOST, Cost, Scheme, Scrypt, matching, outdated, within
from bridge.programs.sqlconnection import Connection, Forbidden
from bridge.programs.sqlrows import Account, AnyKind, Credential, Example, Plain, make
from bridge.programs.sqltables import OWN, Own, Table
from bridge.programs.sqlurl import Address
from bridge.programs.users import BrokenUser, Unavailable

DEFAULT = Scheme("SHA-1", 10_000)
"""What a new user of another server's empty table gets: Prosody and ejabberd, of any version, can use that."""

SHARE = 1000
"""Of a program's time at most one part in so many is spent on looking for the kinds of hashes."""

_RARELY = 60.0
"""Seconds between two looks, at least: a new kind of hash comes with a new version or setting of a server.  And from a
hash that could not be renewed to the next attempt."""


class Ways(NamedTuple):
    """How users are kept.

    Attributes:
      table: where they are.
      host: the only one whose users these are; None: the table says it.
      write: changes are allowed.
      cost: of new hashes in our own table.
      form: of new credentials in other tables; None: as the user's is, or most of that host.
    """

    table: Table
    host: str | None = None
    write: bool = True
    cost: Cost = COST
    form: AnyKind | None = None


class SqlUsers:
    """The users in one table: a context manager that closes its connection, for one thread.

    Raises:
      Unavailable: by every method but `close`, when the database cannot be used now.  The next call tries again.
    """

    def __init__(self, where: Address, ways: Ways) -> None:
        self._ways = ways
        self._table = ways.table
        self._own = isinstance(ways.table, Own)
        self._database = Connection(where, ways.table.prepare)
        self._kinds: set[AnyKind] = set()
        self._examples: list[Example] | None = None  # None: not known yet
        self._look = 0.0  # when to look for kinds again
        self._renew_from = 0.0 if self._own else math.inf  # when hashes may be renewed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create(self) -> None:
        """Create our own table, if it is not there."""
        self._database.read(OWN.metadata.create_all)

    def look(self) -> str:
        """Find out which kinds of hashes occur, if it is time to.

        Nothing that goes wrong harms anybody; when it took long, it is not tried again soon.

        Returns:
          what went wrong, in one line; nothing if nothing did.
        """
        began = time.monotonic()
        if began < self._look:
            return ""
        trouble = ""
        try:
            self._examples = self._database.read(self._table.kinds)
            self._kinds = {example.credential.kind for example in self._examples}
        except Unavailable as error:
            trouble = str(error)
        except Exception as error:  # a table of others may hold anything; its text could hold a secret
            trouble = type(error).__name__
        now = time.monotonic()
        self._look = now + max(_RARELY, (now - began) * SHARE)
        return trouble

    def exists(self, user: str, host: str) -> bool:
        return self._find(user, host) is not None

    def check(self, user: str, host: str, secret: str) -> bool:
        """Whether this is the user's secret.  Takes as long for an unknown user as for a wrong secret."""
        account = self._find(user, host)
        found, today = self._verified(account, secret)
        if found is not None and account is not None and today is not None and self._is_old(found):
            self._renew(user, host, account, today)
        return found is not None

    def add(self, user: str, host: str, secret: str) -> bool:
        """Add a user.  False if it exists already (and keeps its secret)."""
        if not self._may_change(host):
            return False
        new = make(self._form(host), secret)

        def work(connection: sa.Connection) -> bool:
            if self._table.find(connection, user, host, lock=True) is not None:
                return False
            self._table.insert(connection, user, host, new)
            return True

        return self._write(work, user, host)

    def change(self, user: str, host: str, secret: str) -> bool:
        """Give a user a new secret.  False if there is no such user."""
        if not self._may_change(host):
            return False
        new = make(self._form(host, self._find(user, host)), secret)
        return self._replace(user, host, new, None)

    def remove(self, user: str, host: str) -> bool:
        """Remove a user.  False if there is no such user."""
        return self._may_change(host) and self._delete(user, host, None)

    def remove_checked(self, user: str, host: str, secret: str) -> bool:
        """Remove a user.  False if there is no such user or the secret is wrong."""
        if not self._may_change(host):
            return False
        for _attempt in range(2):  # a concurrent login may have renewed the hash, at most once
            account = self._find(user, host)
            found, _ = self._verified(account, secret)
            if found is None:
                return False
            if self._delete(user, host, account):
                return True
        return False

    def names(self, host: str | None = None) -> list[tuple[str, str]]:
        """(user, host) of all users, or of one host's, ordered by host and user."""
        found = self._database.read(lambda connection: list(self._table.names(connection)))
        hosts = {wanted for wanted in (host, self._ways.host) if wanted is not None}
        return sorted((name for name in found if hosts <= {name[1]}), key=lambda name: name[::-1])

    def close(self) -> None:
        """Close the connection; a later call opens another."""
        self._database.close()

    def _find(self, user: str, host: str) -> Account | None:
        if not self._serves(host):
            return None
        try:
            return self._database.read(lambda connection: self._table.find(connection, user, host))
        except BrokenUser:  # a name that the database cannot hold is nobody's
            return None

    def _serves(self, host: str) -> bool:
        return self._ways.host in (None, host)

    def _may_change(self, host: str) -> bool:
        return self._ways.write and self._serves(host)

    def _verified(self, account: Account | None, secret: str) -> tuple[Credential | None, Scrypt | None]:
        """The user's credential that `secret` matches; and in our own table a new hash of today's cost."""
        credentials = account.credentials if account is not None else ()
        self._kinds |= {credential.kind for credential in credentials}
        found, today, usable = matching(secret, credentials, self._made(), self._ways.cost)
        if account is None or account.disabled:
            return None, None
        if found is None and (account.broken or not usable):
            raise BrokenUser("cannot use what the database holds for a user: it is broken")
        return found, today

    def _made(self) -> list[AnyKind]:
        """The kinds that every check makes, as many as it can afford; the cheapest first."""
        first: list[AnyKind] = [self._ways.cost] if self._own else []
        left = WORK_MOST * COST.work - sum(kind.work for kind in first)
        return first + within(self._kinds - {*first}, left)

    def _form(self, host: str, account: Account | None = None) -> AnyKind:
        """The kind of a new credential.  Each host of a server may be set to another: not every one can use any."""
        if self._own:
            return self._ways.cost
        if self._ways.form is not None:
            return self._ways.form
        if account is not None and account.credentials:
            return account.credentials[0].kind
        self.look()
        if self._examples is None:
            raise BrokenUser("cannot tell in time how most passwords are stored: --format says it")
        of_host = [example for example in self._examples if example.host in ("", host)]
        usual = max(of_host or self._examples, key=lambda example: example.number, default=None)
        return DEFAULT if usual is None else usual.credential.kind

    def _is_old(self, found: Credential) -> bool:
        may = time.monotonic() >= self._renew_from
        return may and not isinstance(found, Plain) and outdated(found, self._ways.cost)

    def _renew(self, user: str, host: str, old: Account, new: Scrypt) -> None:
        """Replace a hash, if it is still there.  If that cannot be done, another process may do it later."""
        try:
            self._replace(user, host, new, old)
        except Forbidden:
            self._renew_from = math.inf
        except Unavailable:  # a lock, or a database that can only be read: do not try it at each login
            self._renew_from = time.monotonic() + _RARELY

    def _write(self, work: Callable[[sa.Connection], bool], user: str, host: str) -> bool:
        try:
            return self._database.write(work)
        except Forbidden:  # a "no", but only from one who may at least look
            self._database.read(lambda connection: self._table.find(connection, user, host))
            raise

    def _replace(self, user: str, host: str, new: Credential, known: Account | None) -> bool:
        def work(connection: sa.Connection) -> bool:
            old = self._table.find(connection, user, host, lock=True)
            if old is None or known not in (None, old):
                return False
            self._table.replace(connection, user, host, new, old)
            return True

        return self._write(work, user, host)

    def _delete(self, user: str, host: str, known: Account | None) -> bool:
        def work(connection: sa.Connection) -> bool:
            old = self._table.find(connection, user, host, lock=True)
            if old is None or known not in (None, old):
                return False
            self._table.delete(connection, user, host)
            return True

        return self._write(work, user, host)
