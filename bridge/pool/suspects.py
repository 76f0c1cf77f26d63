"""Questions that hung or ended programs while others were answered well, and the accounts they named.

  - The very same question is not asked again for a while, longer with each relapse.
  - Its account, together with the client's address, goes one question at a time for a minute: an attacker may use a
    victim's name, and the victim must still get in.  A question that is stuck does not count.
  - No question and no name is kept, only digests under a key of this process, a limited number, and not for long.

No I/O; the caller passes the time in, in seconds.
"""

from __future__ import annotations

import os
from collections import OrderedDict

from bridge.protocol.checks import account_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.protocol.query import Query

_FIRST_PAUSE = 10.0
_LONGEST_PAUSE = 300.0
"""Seconds in which the same question is not asked again, after its first offence, doubling up to this."""

_PROBATION = 60.0
"""Seconds in which an account goes one question at a time."""

_REMEMBERED = 1024
"""Digests of either kind: an attacker who uses more names than this is no stranger to anybody's firewall."""

_DIGEST = 16
"""Bytes."""


class Offence:
    """What is remembered of a question.

    Attributes:
      pause: seconds in which it was not asked again, the last time.
      until: when it may be asked again.
    """

    __slots__ = ("pause", "until")

    def __init__(self) -> None:
        self.pause = 0.0
        self.until = 0.0


class Suspects:
    """The suspects of one pool; false while there are none."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._questions: OrderedDict[bytes, Offence] = OrderedDict()
        self._accounts: OrderedDict[bytes, float] = OrderedDict()  # until when

    def __len__(self) -> int:
        """Number of questions."""
        return len(self._questions)

    def __bool__(self) -> bool:
        return bool(self._accounts or self._questions)

    def convict(self, query: Query, now: float) -> float:
        """`query` did harm; returns the seconds in which it is not asked again."""
        question, account = self._digests(query)
        offence = self._questions.pop(question, None) or Offence()
        if now >= offence.until:  # otherwise it hung another program, too, when it was asked the last time
            offence.pause = min(max(_FIRST_PAUSE, offence.pause * 2), _LONGEST_PAUSE)
            offence.until = now + offence.pause
        self._questions[question] = offence
        self._accounts.pop(account, None)
        self._accounts[account] = now + _PROBATION
        for kept in (self._questions, self._accounts):
            if len(kept) > _REMEMBERED:
                kept.popitem(last=False)
        return offence.pause

    def refuses(self, query: Query, now: float) -> bool:
        """Whether this very question is not to be asked yet."""
        offence = self._questions.get(self._digests(query)[0])
        return offence is not None and now < offence.until

    def knows(self, query: Query) -> bool:
        """Whether this very question was convicted before, and not long ago."""
        return self._digests(query)[0] in self._questions

    def watches(self, query: Query, now: float) -> bytes:
        """The digest of its account and address if that is on probation, otherwise nothing."""
        account = self._digests(query)[1]
        return account if now < self._accounts.get(account, 0.0) else b""

    def forget(self, now: float) -> None:
        """Forget whatever ended some time ago."""
        for account, until in [*self._accounts.items()]:
            if until > now:
                break
            del self._accounts[account]
        for question, offence in [*self._questions.items()]:
            if offence.until + offence.pause > now:
                break
            del self._questions[question]

    def _digests(self, query: Query) -> tuple[bytes, bytes]:
        from hashlib import blake2b  # late: needed only by those who have suspects

        account = account_of(query.body) + b"\0" + query.address.encode()
        return (
            blake2b(query.body, key=self._key, digest_size=_DIGEST).digest(),
            blake2b(account, key=self._key, digest_size=_DIGEST, person=b"account").digest(),
        )
