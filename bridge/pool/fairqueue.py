"""The queue of queries that wait for a program: which is next, and which are asked as one.

  - `auth` goes before everything else, but nothing starves.  Of the rest, `isuser` and what changes something take
    turns.  Within each of these three kinds, `turns` says what is next.
  - Turns are worth their time only for those who would notice: as long as all that wait are asked within a moment, the
    `auth` queries wait in a short line, in the order in which they came, and before all others.
  - A query that was taken back from a program, which was not its fault, goes before all others: it has waited longest.
    Meanwhile there is no short line.
  - Identical `isuser` queries wait each for a turn of its own, and when the first one's comes, they are asked as one
    (`shared`): nobody waits longer for asking what somebody in a long line asks.  An `auth` is never shared: after a
    confirmed `setpass` it must not get the answer to an older one, and a one-time token must not pass twice.

If memory runs out, which Python may report as a `SystemError`, no query is lost.

No I/O, no clock.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from operator import attrgetter

from bridge.loop.timer import FOREVER
from bridge.pool.shared import Hurried, Shared
from bridge.pool.turns import Turns
from bridge.protocol.query import Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.protocol.query import Asker

_MOST_IN_A_ROW = 7
"""`auth` queries, while others wait.  These then get an eighth of the programs: a login hardly notices that, and
somebody's hundred contacts are still looked up while seven hundred log in."""

_AUTH, _ISUSER = b"ai"
"""First bytes of these commands, and of no others."""

_deadline = attrgetter("deadline")


class FairQueue:
    """The queue of one pool.

    Attributes:
      room: queries that may wait in the short line.
      short: that line, by deadline; if there is one, its first is next.
      hurried: what was handed out for several, if some of them have less time than others.
    """

    def __init__(self) -> None:
        self.room = 0
        self.hurried = Hurried()
        self.short: deque[Query] = deque()
        self._again: list[Query] = []  # taken back; by deadline
        self._auth, self._isuser, self._changing = Turns(), Turns(together=True), Turns()
        self._kinds = (self._auth, self._isuser, self._changing)
        self._in_a_row = 0
        self._isuser_is_next = True  # rather than what changes something
        self._same: dict[bytes, Query | dict[Query, None]] = {}  # every `isuser`, by its body
        self._latest = -FOREVER  # none has a later deadline

    def __bool__(self) -> bool:
        lines = self._again or self.short or self._auth.by_deadline
        return bool(lines or self._isuser.by_deadline or self._changing.by_deadline)

    def __len__(self) -> int:
        return len(self.short) + len(self._again) + len(self._auth) + len(self._isuser) + len(self._changing)

    @property
    def questions(self) -> int:
        """About how many questions there are to ask: identical `isuser` queries are one."""
        return len(self) - max(0, len(self._isuser) - len(self._same))

    def __iter__(self) -> Iterator[Query]:
        yield from self._again
        yield from self.short
        for kind in self._kinds:
            yield from kind

    def add(self, queries: Sequence[Query]) -> None:
        """Add `queries` of one asker, at least one, all with the same deadline, after its others.

        Raises:
          MemoryError: none of them is added; or, of those who share one question, some are, and the rest share it.
        """
        query = queries[0]
        if len(self.short) + len(queries) <= self.room and self._add_to_short(queries):
            return
        if isinstance(query, Shared):
            self._add_sharers(query, self._add_one)
            return
        self._add_in_turn(queries)

    def _add_in_turn(self, queries: Sequence[Query]) -> None:
        query = queries[0]
        back = query.deadline <= self._latest
        if not back:
            self._latest = query.deadline
        try:
            for query in queries:
                command = query.body[0]
                if command == _AUTH:
                    self._auth.add(query, back)
                elif command == _ISUSER:
                    if self._same.setdefault(query.body, query) is not query:
                        self._note(query)
                    self._isuser.add(query, back)
                else:
                    self._changing.add(query, back)
        except Exception:
            self._undo(queries, query)
            raise

    def _undo(self, queries: Sequence[Query], failed: Query) -> None:
        """Take out those of `queries` that were added before one `failed`."""
        self._forget(failed)
        for added in queries[: queries.index(failed)]:
            self.remove(added)

    def add_again(self, query: Query) -> None:
        """Add a query that was taken back from a program, ahead of all that were not."""
        if isinstance(query, Shared):
            self._add_sharers(query, self._add_one_again)
        else:
            self._add_one_again(query)

    def next(self, proven: bool = True, held_back: Container[object] = ()) -> Query | None:
        """Take out the query whose turn it is.

        Args:
          proven: false for a program that may only get an `auth` or `isuser`.
          held_back: addresses whose queries are passed over, and keep their place.

        Returns:
          `None` if there is none.
        """
        if self._again and (query := self._next_again(proven, held_back)) is not None:
            return query
        if self.short:
            return self.short.popleft()
        if not (self._isuser.by_deadline or self._changing.by_deadline):
            self._in_a_row = 0
            return self._auth.next(held_back) if self._auth.by_deadline else None  # which it is most of the time
        if self._in_a_row < _MOST_IN_A_ROW and (query := self._auth.next(held_back)) is not None:
            self._in_a_row += 1
            return query
        if self._changing.by_deadline and proven and not self._isuser_is_next:
            self._isuser_is_next = True
            query = self._changing.next(held_back) or self._next_isuser(held_back)
        else:
            query = self._next_isuser(held_back) or (self._changing.next(held_back) if proven else None)
        if query is None:
            return self._auth.next(held_back)
        self._in_a_row = 0
        return query

    def ahead_of(self, query: Query) -> int:
        """About how many would be handed out before `query` if it were added now."""
        kind = self._kind(query)
        ahead, isuser, changing = kind.ahead_of(query), len(self._same), len(self._changing)
        if kind is self._auth:
            ahead += min(isuser + changing, (ahead + self._in_a_row) // _MOST_IN_A_ROW)
        else:
            ahead = min(ahead, isuser) if kind is self._isuser else ahead
            ahead += min(ahead + 1, changing if kind is self._isuser else isuser)
            ahead += min(len(self._auth), (ahead + 1) * _MOST_IN_A_ROW)
        return min(ahead + len(self._again) + len(self.short), len(self))

    def first_deadline(self) -> float:
        """The earliest deadline of all that wait, or infinity."""
        lines = (self._again, self.short, *(kind.by_deadline for kind in self._kinds))
        return min([line[0].deadline for line in lines if line], default=FOREVER)

    def take_out(self, hopeless: Callable[[Query], bool]) -> Iterator[Query]:
        """Take out, one by one, all queries that are `hopeless`, as any with an earlier deadline must be too."""
        while self._again and hopeless(query := self._again[0]):
            self.remove(query)
            yield query
        while self.short and hopeless(self.short[0]):
            yield self.short.popleft()
        for kind in self._kinds:
            while kind.by_deadline and hopeless(query := kind.by_deadline[0]):
                self.remove(query)
                yield query

    def take_all_of(self, asker: Asker) -> list[Query]:
        """Take out every query of one asker, without a search."""
        taken = [query for query in (*self._again, *self.short) if query.asker is asker]
        for kind in self._kinds:
            taken += kind.all_of(asker)
        removed = 0
        try:
            for query in taken:
                self.remove(query)
                removed += 1
        except Exception:
            del taken[removed:]
        return taken

    def last(self) -> Query | None:
        """A query whose turn comes last or nearly so; `None` if there is none."""
        others = max(self._isuser, self._changing, key=len)
        auth_is_last = len(self._auth) > _MOST_IN_A_ROW * (len(self._isuser) + len(self._changing))
        query = (self._auth if auth_is_last else others).last()
        if query is None and (line := self.short or self._again):
            query = line[-1]
        return query

    def remove(self, query: Query) -> None:
        """Take out `query`, which waits."""
        if query in self._again:
            self._again.remove(query)
        elif query.body[0] == _AUTH and query in self.short:
            self.short.remove(query)
        else:
            self._kind(query).remove(query)
        self._forget(query)

    def keep_short(self, room: int, latest: float) -> None:
        """Let up to `room` queries wait in the short line from now on.

        If any query waits with a deadline before `latest`, it has waited for long: all of them take turns.  So they do
        if there is no room.
        """
        self.room = room
        if self.short:
            if not room or self.first_deadline() < latest:
                self._begin_turns()
        elif not self._again and 0 < len(self._auth) <= room and self.first_deadline() >= latest:
            self._end_turns()

    # --- inside ------------------------------------------------------------------------------------------

    def _add_to_short(self, queries: Sequence[Query]) -> bool:
        """Add `queries` to the short line if that is for them; returns whether it is."""
        line = self.short
        size = len(line)
        if self._auth.by_deadline or self._again or (line and line[-1].deadline > queries[0].deadline):
            return False
        for query in queries:
            if query.body[0] != _AUTH:
                return False
        try:
            line.extend(queries)
        except Exception:
            while len(line) > size:
                line.pop()
            raise
        return True

    def _begin_turns(self) -> None:
        """Have those in the short line take turns."""
        self.room = 0
        while self.short:
            self._add_in_turn([self.short[0]])
            self.short.popleft()

    def _end_turns(self) -> None:
        """Have every `auth` wait in the short line again: under load some always wait."""
        for query in [*self._auth]:
            self.short.append(query)
            try:
                self._auth.remove(query)
            except Exception:
                self.short.pop()
                raise

    def _kind(self, query: Query) -> Turns:
        command = query.body[0]
        return self._auth if command == _AUTH else self._isuser if command == _ISUSER else self._changing

    def _next_again(self, proven: bool, held_back: Container[object]) -> Query | None:
        for query in self._again:
            if (proven or (query.repeatable and not query.attempts)) and query.address not in held_back:
                self._again.remove(query)
                return query if query.body[0] != _ISUSER else self._joined(query)
        return None

    def _next_isuser(self, held_back: Container[object]) -> Query | None:
        query = self._isuser.next(held_back)
        if query is None:
            return None
        self._isuser_is_next = False
        if self._same[query.body] is not query:
            return self._joined(query)
        del self._same[query.body]
        return query

    def _add_one(self, query: Query) -> None:
        self.add([query])

    def _add_one_again(self, query: Query) -> None:
        self._begin_turns()
        if query.body[0] == _ISUSER:
            self._note(query)
        try:
            insort(self._again, query, key=_deadline)
        except Exception:
            self._forget(query)
            raise

    def _add_sharers(self, shared: Shared, add: Callable[[Query], None]) -> None:
        """Add, one by one, those who share a question that was taken back."""
        queries = shared.sharers.queries
        while queries:
            query = queries[0]
            query.deaths, query.attempts = shared.deaths, shared.attempts
            add(query)
            queries.popleft()
        self.hurried.pop(shared.sharers, None)

    # --- the same question -------------------------------------------------------------------------------

    def _note(self, query: Query) -> None:
        """Note an `isuser`, for those who ask the same."""
        same = self._same.setdefault(query.body, query)
        if isinstance(same, dict):
            same[query] = None
        elif same is not query:
            self._same[query.body] = {same: None, query: None}

    def _forget(self, query: Query) -> None:
        same = self._same.get(query.body)
        if isinstance(same, dict):
            same.pop(query, None)
        if not same or same is query:
            self._same.pop(query.body, None)

    def _joined(self, query: Query) -> Query:
        """One query for all that wait and ask the same as `query`, whose turn it is."""
        self._forget(query)
        same = self._same.get(query.body)
        if same is None:
            return query
        try:
            others = deque((same,) if isinstance(same, Query) else sorted(same, key=_deadline))
            shared = Shared(query, [query, *others], self.hurried)
        except Exception:  # each is asked by itself
            return query
        try:
            while others:
                self.remove(others[0])
                others.popleft()
        except Exception:
            shared.leave_out(others)
        return shared
