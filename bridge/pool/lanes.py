"""The turns of one group's accounts, in rounds: in each round every account that waits has one turn.

  - First come the accounts that have come since the round before began, then those that have more.  So nobody gets
    more than a turn by asking often, and who is new waits for no more than one turn of each of the others.
  - Of an account, the oldest query is first.

A query that has `left`, which means that it does not wait any more, may keep its place until its turn comes.

If memory runs out, nothing has changed.

No I/O, no clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Container, Hashable, Iterator, Sized
from itertools import islice

from bridge.protocol.query import Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    Key = TypeVar("Key")
    Line = TypeVar("Line", bound=Sized)

_LOOKS = 8
"""Lines looked at each time the longest is sought.  If there are hundreds, it is found after dozens of times, and kept
in mind from then on."""


class Lanes:
    """The queries of one group.

    Attributes:
      now: those whose turn comes in this round, the next one first.
      came: the oldest of each account that has come since this round began.
      accounts: theirs.
      lines: all other queries, by account.
    """

    __slots__ = ("_in_lines", "accounts", "came", "lines", "now")

    def __init__(self) -> None:
        self.now: deque[Query] = deque()
        self.came: deque[Query] = deque()
        self.accounts: dict[Hashable, Query] = {}
        self.lines: OrderedDict[Hashable, deque[Query]] = OrderedDict()
        self._in_lines = 0

    def __len__(self) -> int:
        return len(self.now) + len(self.came) + self._in_lines

    def __iter__(self) -> Iterator[Query]:
        for line in (self.now, self.came, *self.lines.values()):
            yield from line

    def add_to_line(self, account: Hashable, query: Query) -> None:
        """Add a query of an account that has others."""
        count = self._in_lines + 1
        line = self.lines.get(account)
        if line is None:
            self.lines[account] = deque((query,))
        else:
            line.append(query)
        self._in_lines = count

    def forget(self, account: Hashable, query: Query) -> None:
        """Undo what was done for a new query of `account` that could not be added."""
        if self.accounts.get(account) is query:
            del self.accounts[account]

    def begin(self, left: Container[Query]) -> deque[Query]:
        """Begin the next round, as this one is over.

        Returns:
          those whose turn comes in it.
        """
        came = self.accounts
        further = [account for account in self.lines if account not in came or came[account] in left]
        self.accounts = {}
        self.now, self.came = self.came, self.now
        for account in further:
            line = self.lines[account]
            self.now.append(line[0])
            line.popleft()
            self._in_lines -= 1
            if not line:
                del self.lines[account]
        return self.now

    def ahead_of(self, account: Hashable) -> int:
        """About how many turns come before that of another query of `account`."""
        own = (account in self.accounts) + len(self.lines.get(account, ()))
        return min(len(self), len(self.now) + len(self.came) + own * len(self.lines))

    def last(self, left: Container[Query]) -> Query | None:
        """One whose turn comes last or nearly so: the newest of an account that has many, if there is one."""
        while self.lines:
            account = longest(self.lines)
            line = self.lines[account]
            while line and line[-1] in left:
                line.pop()
                self._in_lines -= 1
            if line:
                return line[-1]
            del self.lines[account]
        for line in (self.came, self.now):
            while line and line[-1] in left:
                line.pop()
            if line:
                return line[-1]
        return None

    def without(self, left: Container[Query]) -> Lanes:
        """A copy without those that have left."""
        copy = Lanes()
        copy.now.extend(query for query in self.now if query not in left)
        copy.came.extend(query for query in self.came if query not in left)
        copy.accounts.update({account: query for account, query in self.accounts.items() if query not in left})
        for account, line in self.lines.items():
            if kept := deque(query for query in line if query not in left):
                copy.lines[account] = kept
                copy._in_lines += len(kept)
        return copy


def longest(lines: OrderedDict[Key, Line]) -> Key:
    """The key of the longest of `lines`, or of nearly the longest.

    The longest one found so far stays in front; whenever it is sought, a few others are looked at and go to the end.
    """
    keys = [*islice(lines, _LOOKS)]
    found = max(keys, key=lambda key: len(lines[key]))
    for key in keys:
        if key is not found:
            lines.move_to_end(key)
    return found
