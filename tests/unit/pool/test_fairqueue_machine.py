"""Whatever a pool does with its queue: each query leaves it exactly once, in time, and nobody is passed over.

The model is a list of those that wait, in the order in which they were added.
"""

from collections import Counter
from collections.abc import Collection

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.examples import examples

from bridge.loop.timer import FOREVER
from bridge.pool.fairqueue import FairQueue
from bridge.pool.shared import Shared
from bridge.protocol.query import Query, Verdict

TIMEOUT = 10.0
COMMANDS = {"auth": "auth", "isuser": "isuser", "setpass": "changing", "removeuser": "changing"}
"""And their kinds."""

HELD_BACK = st.sets(st.sampled_from(["192.0.2.1", "192.0.2.2"]))


class Asker:
    def __init__(self) -> None:
        self.told: Counter[Query] = Counter()

    def settled(self, query: Query) -> None:
        self.told[query] += 1

    def failed(self, error: Exception) -> None:
        raise error


class Waiting:
    """One that waits, and what has had its turn meanwhile.

    Attributes:
      account, group: whose turn it is when this one is taken.
      accounts, groups: how many turns others had; of its own kind, and the accounts of its own group only.
      leads: it was the first of its account that waited, and the first of its group.
      held_back: it was, at least once.
    """

    def __init__(self, query: Query, others: Collection["Waiting"]) -> None:
        command, user, host, *_ = query.body.decode().split(":")
        self.query = query
        self.kind = COMMANDS[command]
        self.group = self.kind, query.address or query.asker
        self.account = *self.group, user, host
        self.accounts: Counter[object] = Counter()
        self.groups: Counter[object] = Counter()
        self.leads = (
            all(other.account != self.account for other in others),
            all(other.group != self.group for other in others),
        )
        self.held_back = False


class Queue(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue()
        self.now = 0.0
        self.askers = [Asker() for _ in range(3)]
        self.all: list[Query] = []
        self.again: list[Query] = []  # taken back
        self.waiting: list[Waiting] = []  # the others
        self.with_programs: list[Query] = []
        self.in_a_row = 0

    @property
    def in_queue(self) -> list[Query]:
        return [*self.again, *(one.query for one in self.waiting)]

    def drop(self, queries: Collection[Query]) -> None:
        """These do not wait any more."""
        assert {*queries} <= {*self.in_queue}
        assert len({*queries}) == len(queries)
        self.again = [query for query in self.again if query not in queries]
        self.waiting = [one for one in self.waiting if one.query not in queries]

    @staticmethod
    def asked_by(query: Query) -> list[Query]:
        return [*query.sharers.queries] if isinstance(query, Shared) else [query]

    # --- what askers do ----------------------------------------------------------------------------------

    @rule(
        asker=st.integers(0, 2),
        asked=st.lists(st.tuples(st.sampled_from([*COMMANDS]), st.integers(0, 3)), min_size=1, max_size=4),
        address=st.sampled_from(["", "", "192.0.2.1", "192.0.2.2"]),
        later=st.sampled_from([0.0, 1.0]),
    )
    def ask(self, asker: int, asked: list[tuple[str, int]], address: str, later: float) -> None:
        self.now += later
        queries = []
        for command, user in asked:
            secret = ":wonder:land" if command in ("auth", "setpass") else ""
            body = f"{command}:user{user}:example.com{secret}".encode()
            queries.append(Query(body, self.now + TIMEOUT, self.askers[asker], address))
        self.queue.add(queries)
        self.all += queries
        for query in queries:
            self.waiting.append(Waiting(query, self.waiting))

    @rule(asker=st.integers(0, 2))
    def leave(self, asker: int) -> None:
        taken = self.queue.take_all_of(self.askers[asker])
        assert {*taken} == {query for query in self.in_queue if query.asker is self.askers[asker]}
        self.end(taken)

    def end(self, queries: list[Query]) -> None:
        self.drop(queries)
        for query in queries:
            query.settle(Verdict.UNAVAILABLE)

    # --- what programs do --------------------------------------------------------------------------------

    @rule(proven=st.booleans(), held_back=HELD_BACK)
    def hand_out(self, proven: bool, held_back: set[str]) -> None:
        query = self.queue.next(proven, held_back)
        new = [one for one in self.in_queue if one.repeatable and not (one in self.again and one.attempts)]
        may = [one for one in self.in_queue if one.address not in held_back and (proven or one in new)]
        again = [one for one in self.again if one in may]
        if not again and all(one.kind == "auth" for one in self.waiting):
            self.in_a_row = 0
        if query is None:
            assert not may
            return
        asked_by = self.asked_by(query)
        turn = next(one for one in asked_by if one in may and one.address == query.address)
        if query.repeatable and query.body.startswith(b"isuser"):
            assert {*asked_by} == {one for one in self.in_queue if one.body == query.body}
        else:
            assert asked_by == [query]
        if again:
            first = min(one.deadline for one in again)
            assert any(one in again and one.deadline == first for one in asked_by)
        else:
            self.check_turn(turn, {one.kind for one in self.waiting if one.query in may}, held_back)
        self.drop(asked_by)
        self.with_programs.append(query)

    def check_turn(self, query: Query, may: set[str], held_back: set[str]) -> None:
        """It was the turn of `query`, out of those of all kinds that `may` have one."""
        mine = [one for one in self.waiting if one.query.body == query.body and one.query.address == query.address]
        turn = next(one for one in self.waiting if one.query is query)
        if turn.kind == "auth":
            assert self.in_a_row < 7 or may == {"auth"}
            self.in_a_row += any(one.kind != "auth" for one in self.waiting)
            assert query is next(one.query for one in self.waiting if one.account == turn.account), "the oldest"
        else:
            assert "auth" not in may or self.in_a_row >= 7
            self.in_a_row = 0
        for one in self.waiting:
            one.held_back |= one.query.address in held_back
            if one.kind == turn.kind and one.query.body != query.body:
                one.groups[turn.group] += 1
                one.accounts[turn.account] += one.group == turn.group
        if not turn.held_back and len(mine) == 1:
            first_of_account, first_of_group = turn.leads
            others = max((count for group, count in turn.groups.items() if group != turn.group), default=0)
            assert not first_of_group or others <= 1
            assert not first_of_account or max(turn.accounts.values(), default=0) <= 2

    @precondition(lambda self: self.with_programs)
    @rule(data=st.data(), verdict=st.sampled_from([Verdict.GRANTED, Verdict.DENIED, Verdict.UNAVAILABLE]))
    def reply(self, data: st.DataObject, verdict: Verdict) -> None:
        query = self.taken(data)
        asked_by = self.asked_by(query)
        query.settle(verdict)
        assert {one.verdict for one in asked_by} <= {verdict}

    @precondition(lambda self: self.with_programs)
    @rule(data=st.data(), at_once=st.booleans(), was_read=st.booleans())
    def ask_again(self, data: st.DataObject, at_once: bool, was_read: bool) -> None:
        query = self.taken(data)
        if was_read:
            query.survives(was_read=True, proved=True)
        asked_by = self.asked_by(query)
        if at_once:
            self.queue.add_again(query)
            self.again += asked_by
        else:
            self.queue.add([query])
            for one in asked_by:
                self.waiting.append(Waiting(one, self.waiting))
        assert all(one.attempts >= query.attempts for one in asked_by)

    def taken(self, data: st.DataObject) -> Query:
        return self.with_programs.pop(data.draw(st.integers(0, len(self.with_programs) - 1)))

    # --- what the pool does ------------------------------------------------------------------------------

    @rule(later=st.sampled_from([1.0, 5.0, TIMEOUT]))
    def time_passes(self, later: float) -> None:
        self.now += later
        taken = [*self.queue.take_out(lambda query: query.deadline <= self.now)]
        assert {*taken} == {query for query in self.in_queue if query.deadline <= self.now}
        self.end(taken)
        late = [*self.queue.hurried.take_late(self.now)]
        for query in late:
            query.settle(Verdict.UNAVAILABLE)
        for query in self.with_programs:
            alive = self.asked_by(query)
            assert query.deadline <= self.now or all(one.deadline > self.now for one in alive)

    @rule()
    def shed(self) -> None:
        query = self.queue.last()
        assert (query is None) == (not self.in_queue)
        if query is not None:
            self.queue.remove(query)
            self.end([query])

    @rule(timeout=st.sampled_from([2.0, 6.0]))
    def hasten(self, timeout: float) -> None:
        for query in [*self.queue, *self.with_programs]:
            query.deadline = min(query.deadline, self.now + timeout)

    # --- what holds --------------------------------------------------------------------------------------

    @invariant()
    def all_that_wait_are_there(self) -> None:
        waiting = self.in_queue
        assert (len(self.queue), bool(self.queue)) == (len(waiting), bool(waiting))
        there = [*self.queue]
        assert len(there) == len(waiting)
        assert {*there} == {*waiting}
        assert self.queue.first_deadline() == min((query.deadline for query in waiting), default=FOREVER)

    @invariant()
    def everybody_is_told_once(self) -> None:
        for query in self.all:
            assert query.asker.told[query] == (query.verdict is not None)  # type: ignore[attr-defined]
        open_ones = {query for query in self.all if query.verdict is None}
        asked = {one for query in self.with_programs for one in self.asked_by(query)}
        assert open_ones == {*self.in_queue} | asked

    @invariant()
    def estimates_are_possible(self) -> None:
        for command in COMMANDS:
            query = Query(f"{command}:user1:example.com:x".encode(), 0.0, self.askers[0], "192.0.2.1")
            assert 0 <= self.queue.ahead_of(query) <= len(self.queue)

    def teardown(self) -> None:
        while (query := self.queue.next()) is not None:
            self.with_programs.append(query)
        for query in self.with_programs:
            query.settle(Verdict.GRANTED)
        assert all(query.asker.told[query] == 1 for query in self.all)  # type: ignore[attr-defined]
        assert not self.queue
        assert not self.queue.hurried


TestQueue = Queue.TestCase
TestQueue.settings = examples(200, stateful_step_count=40)


class QueueWithShortLine(Queue):
    """Some wait in the short line, in which there are no turns, as long as it is short."""

    @rule(room=st.integers(0, 6), waited=st.sampled_from([0.0, 3.0, TIMEOUT]))
    def keep_short(self, room: int, waited: float) -> None:
        self.queue.keep_short(room, self.now + TIMEOUT - waited)

    @rule(proven=st.booleans(), held_back=HELD_BACK)
    def hand_out(self, proven: bool, held_back: set[str]) -> None:
        """As long as an address is held back, there is no short line."""
        if held_back:
            self.queue.keep_short(0, 0.0)
        super().hand_out(proven, held_back)

    def check_turn(self, query: Query, may: set[str], held_back: set[str]) -> None:
        self.in_a_row = 0


TestQueueWithShortLine = QueueWithShortLine.TestCase
TestQueueWithShortLine.settings = TestQueue.settings
