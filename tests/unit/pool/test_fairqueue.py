"""Which query is next: clients take turns, and withdrawing one's queries costs no other any time."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.loop.timer import FOREVER
from bridge.pool.fairqueue import FairQueue
from bridge.protocol.query import Query


class Client:
    def settled(self, query: Query) -> None:
        """Nothing to do: these tests settle no query."""


class Watched(Client):
    """Counts how often it is looked at in a search."""

    def __init__(self) -> None:
        self.looks = 0

    def __hash__(self) -> int:
        self.looks += 1
        return id(self)


def queries(client: Client, *deadlines: float) -> list[Query]:
    return [Query(b"isuser:alice:example.com", deadline, client) for deadline in deadlines]


def rest_of(turns: FairQueue) -> list[Query]:
    return [*iter(turns.next, None)]


def test_one_that_leaves_takes_its_own() -> None:
    turns, one, two, three = FairQueue(), Client(), Client(), Client()
    ones, twos, threes = queries(one, 1.0, 2.0), queries(two, 0.5, 3.0), queries(three, 4.0)
    for some in (ones, twos, threes):
        turns.add(some)
    assert turns.take_all_of(two) == twos
    assert len(turns) == 3
    assert turns.first_deadline() == 1.0
    assert rest_of(turns) == [ones[0], threes[0], ones[1]]


def test_when_all_have_left_nobody_waits() -> None:
    turns, clients = FairQueue(), [Client() for _ in range(5000)]
    for client in clients:
        turns.add(queries(client, 1.0))
    for client in clients:
        assert len(turns.take_all_of(client)) == 1
    assert not turns
    assert len(turns) == 0
    assert turns.first_deadline() == FOREVER
    assert turns.next() is None


def test_it_may_come_back() -> None:
    turns, one, two = FairQueue(), Client(), Client()
    turns.add(queries(one, 1.0))
    turns.add(others := queries(two, 2.0))
    turns.take_all_of(one)
    turns.add(again := queries(one, 3.0))
    assert rest_of(turns) == [*others, *again]


def test_leaving_is_no_work_for_those_who_stay() -> None:
    turns, leaving = FairQueue(), [Client() for _ in range(50)]
    staying = [Watched() for _ in range(50)]
    for client in (*leaving, *staying):
        turns.add(queries(client, 1.0))
    before = [client.looks for client in staying]
    for client in leaving:
        turns.take_all_of(client)
    assert [client.looks for client in staying] == before
    assert len(rest_of(turns)) == 50


def test_what_those_who_left_leave_is_cleared_away_when_time_is_up() -> None:
    turns, staying = FairQueue(), Client()
    turns.add(queries(staying, 9.0))
    for _ in range(100):
        client = Client()
        turns.add(queries(client, 1.0))
        turns.take_all_of(client)
    assert [*turns.take_out(lambda query: query.deadline < 2.0)] == []
    assert len(turns._turns) == 1


class Model:
    """The same queue as simply as possible: a list of queues, the next one first."""

    def __init__(self) -> None:
        self.lines: list[tuple[Client, list[Query]]] = []

    def add(self, client: Client, some: list[Query]) -> None:
        for other, line in self.lines:
            if other is client:
                line.extend(some)
                return
        self.lines.append((client, [*some]))

    def next(self) -> Query | None:
        if not self.lines:
            return None
        client, line = self.lines.pop(0)
        query = line.pop(0)
        if line:
            self.lines.append((client, line))
        return query

    def take_all_of(self, client: Client) -> list[Query]:
        taken = [query for other, line in self.lines if other is client for query in line]
        self.lines = [(other, line) for other, line in self.lines if other is not client]
        return taken

    def take_out(self, until: float) -> list[Query]:
        taken = [query for _, line in self.lines for query in line if query.deadline < until]
        kept = [(client, [query for query in line if query.deadline >= until]) for client, line in self.lines]
        self.lines = [(client, line) for client, line in kept if line]
        return taken


@given(st.lists(st.tuples(st.sampled_from(["add", "next", "leave", "expire"]), st.integers(0, 4), st.integers(1, 3))))
def test_as_a_list_of_lines_would_do_it(steps: list[tuple[str, int, int]]) -> None:
    turns, model, clients = FairQueue(), Model(), [Client() for _ in range(5)]
    for time, (step, number, count) in enumerate(steps):
        client = clients[number]
        if step == "add":
            some = queries(client, *[float(time)] * count)
            turns.add(some)
            model.add(client, some)
        elif step == "next":
            assert turns.next() is model.next()
        elif step == "leave":
            assert turns.take_all_of(client) == model.take_all_of(client)
        else:
            until = time - 4.0 * count
            taken = [*turns.take_out(lambda query, until=until: query.deadline < until)]
            assert taken == model.take_out(until)
        left = [query for _, line in model.lines for query in line]
        assert (bool(turns), len(turns), [*turns]) == (bool(left), len(left), left)
        assert turns.first_deadline() == min((query.deadline for query in left), default=FOREVER)
