"""Whose turn it is among queries of one kind: groups take turns, in a group accounts, and of an account the oldest.

  - A group is a client's address where that is known, otherwise the asker.  Whichever comes, or comes back, is last.
    Its accounts, each a user and a host, have their turns in `lanes`.
  - What is done here is done for every query, so it is little as long as all goes in turn: a query that is taken out
    before its turn stays in its group, and one that has its turn before others with an earlier deadline stays with
    these, until they are reached.  Before more stay behind than wait, they are cleared away.

If memory runs out, nothing has changed.  No sets: one that cannot grow takes what is added all the same, and once it is
full, whoever looks for something else in it looks for ever.

No I/O, no clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Container, Hashable, Iterator

from bridge.pool.lanes import Lanes, longest
from bridge.protocol.query import Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.protocol.query import Asker

_LEFT_BEHIND = 64
"""Queries that may stay behind besides as many as wait: fewer are not worth clearing away."""


class Turns:
    """All waiting queries of one kind.

    Args:
      together: all of an account are taken out when one is, so that it needs no line.

    Attributes:
      by_deadline: all of them, of which the first one waits, and some that do not wait any more.
    """

    def __init__(self, together: bool = False) -> None:
        self.by_deadline: deque[Query] = deque()
        self._gone: dict[Query, None] = {}  # those in `by_deadline` that do not wait any more
        self._turns: deque[str | Asker] = deque()  # keys of the groups, the next one first
        self._groups: dict[str | Asker, Query | Lanes] = {}  # without lanes as long as it has only one query
        self._long: OrderedDict[str | Asker, Lanes] = OrderedDict()  # the groups with lanes
        self._left: dict[Query, None] = {}  # those that do not wait any more, and may be in a group
        self._of: dict[Asker, dict[Query, None]] = {}  # those of each asker that wait in the group of an address
        self._tidy = True  # `_left` and `_gone` are empty
        self._together = together

    def __len__(self) -> int:
        return len(self.by_deadline) - len(self._gone)

    def __iter__(self) -> Iterator[Query]:
        return (query for query in self.by_deadline if query not in self._gone)

    def add(self, query: Query, back: bool = False) -> None:
        """Add `query` as the last one of its account.

        Args:
          back: it was taken out before, or some that wait have a later deadline.
        """
        if back:
            self._insert(query)
        else:
            self.by_deadline.append(query)
        try:
            self._add_to_group(query)
        except Exception:
            self._undo(query)
            raise

    def _add_to_group(self, query: Query) -> None:
        key: str | Asker = query.address
        if key:
            self._note_asker(query)
        else:
            key = query.asker
        group = self._groups.get(key)
        if group is None:
            self._groups[key] = query
            self._turns.append(key)
            return
        if not isinstance(group, Lanes):
            group = self._with_lanes(key, group)
        if self._together:
            group.came.append(query)
            return
        account = _account(query)
        if (group.lines and account in group.lines) or group.accounts.setdefault(account, query) is not query:
            group.add_to_line(account, query)
        else:
            group.came.append(query)

    def next(self, held_back: Container[object] = ()) -> Query | None:
        """Take out the query whose turn it is; groups that are `held_back` keep their place."""
        turns = self._turns
        while turns:
            key = turns[0]
            if held_back and key in held_back:
                following = next((key for key in turns if key not in held_back), None)
                if following is None:
                    return None
                key = following
            group = self._groups[key]
            if isinstance(group, Lanes):
                now = group.now or group.begin(self._left)
                if not now:  # all of them have left
                    self._drop(key)
                    continue
                query = now[0]
                if self._left and query in self._left:
                    now.popleft()
                    del self._left[query]
                    continue
                if not (group.came or group.lines or len(now) > 1):
                    self._drop(key)
                elif held_back:
                    turns.append(key)
                    turns.remove(key)  # the first of the two
                else:
                    turns.rotate(-1)
                now.popleft()
            else:
                query = group
                turns.remove(key)
                del self._groups[key]
                if self._left and query in self._left:
                    del self._left[query]
                    continue
            if self._tidy and self.by_deadline[0] is query:
                self.by_deadline.popleft()
            else:
                self._leave_deadlines(query)
                self._tidy_up()
            if self._of:
                self._forget_asker(query)
            return query
        return None

    def remove(self, query: Query) -> None:
        """Take out `query` before its turn."""
        self._left[query] = None
        self._leave_deadlines(query)
        self._forget_asker(query)
        self._tidy_up()

    def all_of(self, asker: Asker) -> list[Query]:
        """Every query of one asker."""
        group = self._groups.get(asker, ())
        own = (group,) if isinstance(group, Query) else group
        return [*self._of.get(asker, ()), *(query for query in own if query not in self._left)]

    def last(self) -> Query | None:
        """One whose turn comes last or nearly so: the newest of a group that has many, if there is one."""
        while self._turns:
            key = longest(self._long) if self._long else None
            if key is None or len(self._long[key]) < 2:
                key = self._turns[-1]
            group = self._groups[key]
            query = group if isinstance(group, Query) else group.last(self._left)
            if query is not None and query not in self._left:
                return query
            self._drop(key)
        return None

    def ahead_of(self, query: Query) -> int:
        """About how many would be taken out before `query` if it were added now."""
        group = self._groups.get(query.address or query.asker)
        if group is None:
            return min(len(self), len(self._groups))
        own, long = 1, len(self._long)
        if not isinstance(group, Query):
            own, long = group.ahead_of(_account(query)), long - 1
        return min(len(self), own + len(self._groups) - 1 + own * long)  # each other group has a turn, long ones more

    # --- groups ------------------------------------------------------------------------------------------

    def _with_lanes(self, key: str | Asker, query: Query) -> Lanes:
        """Give lanes to a group that had only `query`."""
        lanes = Lanes()
        lanes.came.append(query)
        if not self._together:
            lanes.accounts[_account(query)] = query
        self._long[key] = lanes
        self._groups[key] = lanes
        return lanes

    def _drop(self, key: str | Asker) -> None:
        """Drop a group, of which nobody waits any more."""
        if self._turns[-1] is key:
            self._turns.pop()
        else:
            self._turns.remove(key)
        del self._groups[key]
        self._long.pop(key, None)

    def _undo(self, query: Query) -> None:
        """Forget a query that could not be added."""
        self.by_deadline.remove(query)
        self._look_ahead()
        key = query.address or query.asker
        group = self._groups.get(key)
        if group is query:
            del self._groups[key]
        elif isinstance(group, Lanes):
            group.forget(_account(query), query)
        self._forget_asker(query)

    # --- deadlines and askers ----------------------------------------------------------------------------

    def _insert(self, query: Query) -> None:
        """Insert `query` by its deadline; it may be there still."""
        if query in self._left:
            self._clear_away()
        if query in self._gone:
            del self._gone[query]
            return
        at = len(self.by_deadline)
        for other in reversed(self.by_deadline):
            if other.deadline <= query.deadline:
                break
            at -= 1
        self.by_deadline.insert(at, query)

    def _leave_deadlines(self, query: Query) -> None:
        if self.by_deadline[0] is query:
            self.by_deadline.popleft()
            self._look_ahead()
            return
        try:
            self._gone[query] = None
        except Exception:
            self.by_deadline.remove(query)

    def _look_ahead(self) -> None:
        """Have a query in front that waits."""
        while self._gone and self.by_deadline[0] in self._gone:
            del self._gone[self.by_deadline.popleft()]

    def _note_asker(self, query: Query) -> None:
        theirs = self._of.get(query.asker)
        if theirs is None:
            self._of[query.asker] = {query: None}
        else:
            theirs[query] = None

    def _forget_asker(self, query: Query) -> None:
        theirs = self._of.get(query.asker)
        if theirs is not None:
            theirs.pop(query, None)
            if not theirs:
                del self._of[query.asker]

    def _tidy_up(self) -> None:
        """Clear away what stays behind if it is much, or if nothing waits."""
        try:
            if len(self._gone) + len(self._left) > (len(self) + _LEFT_BEHIND if self.by_deadline else 0):
                self._clear_away()
            self._tidy = not (self._gone or self._left)
        except Exception:
            self._tidy = False  # another time

    def _clear_away(self) -> None:
        turns: deque[str | Asker] = deque()
        groups: dict[str | Asker, Query | Lanes] = {}
        long: OrderedDict[str | Asker, Lanes] = OrderedDict()
        for key in self._turns:
            group = self._groups[key]
            if isinstance(group, Lanes):
                group = group.without(self._left)
                if not group:
                    continue
                long[key] = group
            elif group in self._left:
                continue
            groups[key] = group
            turns.append(key)
        self.by_deadline = deque(self)
        self._turns, self._groups, self._long = turns, groups, long
        self._left.clear()
        self._gone.clear()


def _account(query: Query) -> Hashable:
    """User and host."""
    fields = query.body.split(b":", 3)
    return fields[1], fields[2]
