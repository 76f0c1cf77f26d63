"""As long as all are asked within a moment, logins wait in the order in which they came."""

from collections import deque

import pytest
import trio
from support.inmemory.pools import InMemoryWorker, bench

from bridge.pool.fairqueue import FairQueue
from bridge.pool.pool import Pool
from bridge.protocol.frames import GRANTED
from bridge.protocol.query import Query


class Asker:
    def settled(self, query: Query) -> None: ...

    def failed(self, error: Exception) -> None:
        raise error


def login(name: str, asker: Asker, deadline: float = 4.0, address: str = "") -> Query:
    return Query(f"auth:{name}:example.com:hunter2".encode(), deadline, asker, address)


def in_order(queue: FairQueue) -> list[Query]:
    found = []
    while (query := queue.next()) is not None:
        found.append(query)
    return found


def test_logins_come_in_the_order_in_which_they_came() -> None:
    one, other = Asker(), Asker()
    queue = FairQueue()
    queue.keep_short(9, 0.0)
    logins = [login("alice", one), login("alice", one), login("bob", one), login("carol", other)]
    for query in logins:
        queue.add([query])
    assert in_order(queue) == logins


def test_if_one_has_waited_for_long_all_take_turns() -> None:
    one, other = Asker(), Asker()
    queue = FairQueue()
    queue.keep_short(9, 0.0)
    alice, again, bob, carol = [login("alice", one), login("alice", one), login("bob", one), login("carol", other)]
    queue.add([alice, again, bob])
    queue.add([carol])
    queue.keep_short(9, 4.5)
    assert len(queue) == 4
    assert in_order(queue) == [alice, carol, bob, again]


def test_who_waits_in_turn_for_a_moment_only_gets_there_although_some_always_wait() -> None:
    one, other = Asker(), Asker()
    queue = FairQueue()
    alice, again, carol = login("alice", one), login("alice", one), login("carol", other, 5.0)
    queue.add([alice, again])
    queue.add([carol])
    queue.keep_short(9, 4.0)
    later = login("dave", one, 6.0)
    queue.add([later])
    assert in_order(queue) == [alice, again, carol, later]


@pytest.mark.parametrize(("room", "latest"), [(1, 4.0), (9, 4.5), (0, 4.0)])
def test_they_take_turns_as_before_if_they_are_many_or_wait_for_long(room: int, latest: float) -> None:
    one, other = Asker(), Asker()
    queue = FairQueue()
    alice, again, carol = login("alice", one), login("alice", one), login("carol", other, 5.0)
    queue.add([alice, again])
    queue.add([carol])
    queue.keep_short(room, latest)
    assert in_order(queue) == [alice, carol, again]


def test_what_cannot_be_taken_out_of_its_turn_for_want_of_memory_waits_once(monkeypatch) -> None:
    asker = Asker()
    queue = FairQueue()
    logins = [login("alice", asker), login("bob", asker), login("carol", asker)]
    queue.add(logins)
    remove = queue._auth.remove

    def remove_one(query: Query) -> None:
        if query is logins[1]:
            raise MemoryError
        remove(query)

    monkeypatch.setattr(queue._auth, "remove", remove_one)
    with pytest.raises(MemoryError):
        queue.keep_short(9, 0.0)
    assert len(queue) == 3
    assert in_order(queue) == logins


@pytest.mark.parametrize("further", [1, 2, 50])
def test_those_for_whom_there_is_no_room_take_turns_behind(further: int) -> None:
    asker = Asker()
    queue = FairQueue()
    queue.keep_short(2, 0.0)
    first = [login("alice", asker), login("alice", asker)]
    others = [login(f"bob{number}", asker) for number in range(further)]
    queue.add(first)
    queue.add(others)
    assert in_order(queue) == [*first, *others]


def test_only_logins_wait_there_with_an_address_or_without() -> None:
    asker = Asker()
    queue = FairQueue()
    queue.keep_short(9, 0.0)
    for body in (b"isuser:alice:example.com", b"setpass:alice:example.com:hunter2"):
        queue.add([Query(body, 4.0, asker)])
    logins = [login("alice", asker, address="192.0.2.1"), login("bob", asker)]
    queue.add(logins)
    assert [*queue.short] == logins
    assert len(queue) == 4


def test_without_room_those_in_the_short_line_take_turns() -> None:
    """So it is while an address has half of the programs."""
    asker = Asker()
    queue = FairQueue()
    queue.keep_short(9, 0.0)
    alice, bob = login("alice", asker, address="192.0.2.1"), login("bob", asker)
    queue.add([alice, bob])
    queue.keep_short(0, 0.0)
    assert not queue.short
    assert queue.next(held_back={"192.0.2.1"}) is bob


def test_what_was_taken_back_goes_before_the_short_line() -> None:
    asker = Asker()
    queue = FairQueue()
    queue.keep_short(9, 0.0)
    alice, bob, carol = login("alice", asker), login("bob", asker), login("carol", asker)
    queue.add([alice, bob])
    queue.add_again(carol)
    assert not queue.short, "whoever has that at hand would pass it over"
    queue.keep_short(9, 0.0)
    queue.add([login("dave", asker)])
    assert not queue.short
    assert queue.next() is carol
    assert queue.next() is alice


def test_no_room_for_all_of_a_batch_changes_nothing() -> None:
    class Full(deque[Query]):
        def extend(self, queries: object) -> None:
            self.append(next(iter(queries)))  # type: ignore[call-overload]
            raise MemoryError

    asker = Asker()
    queue = FairQueue()
    queue.keep_short(9, 0.0)
    queue.short = Full()
    with pytest.raises(MemoryError):
        queue.add([login("alice", asker), login("bob", asker)])
    assert (len(queue), queue.next()) == (0, None)


class Client(Asker):
    """Asks for everybody, as a server does."""

    def __init__(self, pool: Pool) -> None:
        self.settled_at: dict[Query, float] = {}
        self._pool = pool

    def ask(self, *names: str) -> Query:
        queries = [login(name, self, trio.current_time() + 4.0) for name in names]
        self._pool.ask(queries)
        return queries[-1]

    def settled(self, query: Query) -> None:
        self.settled_at[query] = trio.current_time()


async def test_one_account_that_has_become_slow_holds_nobody_up(autojump_clock) -> None:
    """The pool's questions took a millisecond each, and then somebody asks many slow ones at once."""

    async def play(program: InMemoryWorker) -> int:
        while (body := await program.frame()) is not None:
            await trio.sleep(0.3 if b"mallory" in body else 0.001)
            program.say(GRANTED)
        return 0

    async with bench(play, pool_size=2, pool_max=2) as there:
        client = Client(there.pool)
        for _ in range(20):
            client.ask(*[f"user{number}" for number in range(100)])
            await trio.sleep(0.1)
        assert there.pool.waiting.room > 50
        client.ask(*["mallory"] * there.pool.waiting.room)
        await trio.sleep(0.01)
        asked, alice = trio.current_time(), client.ask("alice")
        await trio.sleep(5.0)
        assert client.settled_at[alice] - asked < 1.0


def test_others_do_not_wait_for_ever_while_logins_always_wait() -> None:
    asker = Asker()
    queue = FairQueue()
    queue.keep_short(9, 0.0)
    isuser = Query(b"isuser:alice:example.com", 4.0, asker)
    queue.add([login("alice", asker, 4.0)])
    queue.add([isuser])
    queue.add([login("bob", asker, 4.5)])
    assert queue.next() is not isuser
    queue.keep_short(9, 4.25)  # it has waited for long
    later = [login(f"carol{number}", asker, 5.0 + number) for number in range(20)]
    for query in later:
        queue.add([query])
    handed_out = [queue.next() for _ in range(9)]
    assert isuser in handed_out
