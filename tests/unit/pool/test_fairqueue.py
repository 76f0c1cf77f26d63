"""Which query is next: `auth` first, clients and accounts take turns, and nothing costs more for there being many."""

import gc
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable

import pytest

from bridge.loop.timer import FOREVER
from bridge.pool.fairqueue import FairQueue
from bridge.protocol.checks import WITH_SECRET, WITHOUT_SECRET
from bridge.protocol.query import Query, Verdict


class Client:
    def settled(self, query: Query) -> None:
        """Nothing to do: these tests settle no query."""

    def failed(self, error: Exception) -> None:
        """Nothing to do: `settled` does not raise."""


ONE, TWO, THREE = Client(), Client(), Client()


def query(what: str, asker: Client = ONE, address: str = "", deadline: float = 1.0) -> Query:
    """A query for, say, "auth alice", with a secret if the command has one."""
    command, user = what.split()
    secret = ":wonder:land" if command in WITH_SECRET else ""
    return Query(f"{command}:{user}:example.com{secret}".encode(), deadline, asker, address)


def filled(*queries: Query) -> FairQueue:
    queue = FairQueue()
    for one in queries:
        queue.add([one])
    return queue


def rest_of(queue: FairQueue) -> list[Query]:
    return [*iter(queue.next, None)]


def take_last(queue: FairQueue) -> Query | None:
    if (last := queue.last()) is not None:
        queue.remove(last)
    return last


def order(*whats: str) -> list[str]:
    """In which order one client's queries, asked all at once, are handed out."""
    queries = [query(what) for what in whats]
    queue = FairQueue()
    queue.add(queries)
    names = {id(one): what for one, what in zip(queries, whats, strict=True)}
    return [names[id(one)] for one in rest_of(queue)]


# --- kinds -----------------------------------------------------------------------------------------------


def test_nothing_waits_in_a_new_queue() -> None:
    queue = FairQueue()
    assert (bool(queue), len(queue), [*queue], queue.next(), queue.first_deadline()) == (False, 0, [], None, FOREVER)
    assert queue.take_all_of(ONE) == []
    assert take_last(queue) is None


def test_commands_are_told_apart_by_their_first_bytes() -> None:
    firsts = Counter(name[0] for name in WITH_SECRET | WITHOUT_SECRET)
    assert (firsts["a"], firsts["i"]) == (1, 1)


def test_auth_is_first() -> None:
    contacts = [f"isuser contact{number}" for number in range(100)]
    assert order(*contacts, "setpass bob", "auth alice")[0] == "auth alice"


def test_every_eighth_is_something_else() -> None:
    logins = [f"auth user{number}" for number in range(20)]
    assert order(*logins, "isuser a", "isuser b", "isuser c") == [
        *(*logins[:7], "isuser a", *logins[7:14], "isuser b"),
        *(*logins[14:], "isuser c"),
    ]


def test_logins_before_others_waited_do_not_count() -> None:
    queue = filled(*(query(f"auth user{number}") for number in range(50)))
    for _ in range(20):
        queue.next()
    queue.add([query("isuser a")])
    assert [one.body[:4] for one in rest_of(queue)[:8]] == [b"auth"] * 7 + [b"isus"]


def test_logins_in_a_row_are_forgotten_when_nobody_else_waits() -> None:
    queue = filled(*(query(f"auth user{number}") for number in range(50)), query("isuser a", TWO))
    for _ in range(7):
        queue.next()
    queue.take_all_of(TWO)
    queue.next()
    queue.add([query("isuser b", TWO)])
    assert [one.body[:4] for one in rest_of(queue)[:8]] == [b"auth"] * 7 + [b"isus"]


def test_what_changes_something_and_what_does_not_take_turns() -> None:
    assert order("setpass a", "setpass b", "isuser c", "isuser d", "isuser e") == [
        *("isuser c", "setpass a", "isuser d", "setpass b"),
        "isuser e",
    ]


@pytest.mark.parametrize("command", sorted((WITH_SECRET | WITHOUT_SECRET) - {"auth", "isuser"}))
def test_an_unproven_program_gets_only_what_changes_nothing(command: str) -> None:
    queue = filled(changing := query(f"{command} alice"))
    assert queue.next(proven=False) is None
    queue.add([looking := query("isuser alice")])
    queue.add([logging_in := query("auth alice")])
    assert [queue.next(proven=False) for _ in range(3)] == [logging_in, looking, None]
    assert rest_of(queue) == [changing]


def test_an_unproven_program_gets_logins_while_nothing_else_may_go() -> None:
    queue = filled(query("setpass bob"), *(query(f"auth user{number}") for number in range(20)))
    assert [queue.next(proven=False).body[:4] for _ in range(20)] == [b"auth"] * 20  # type: ignore[union-attr]
    assert queue.next().body[:7] == b"setpass"  # type: ignore[union-attr]


# --- turns -----------------------------------------------------------------------------------------------


def test_clients_take_turns() -> None:
    ones = [query(f"auth user{number}", ONE) for number in range(3)]
    twos = [query("auth bob", TWO), query("auth bob", TWO)]
    assert rest_of(filled(*ones, *twos)) == [ones[0], twos[0], ones[1], twos[1], ones[2]]


def test_addresses_take_turns_whoever_asks() -> None:
    here = [query(f"auth user{number}", ONE, "192.0.2.1") for number in range(3)]
    there = [query("auth bob", TWO, "192.0.2.2"), query("auth carol", ONE, "192.0.2.2")]
    unknown = query("auth dora", ONE)
    queue = filled(*here, *there, unknown)
    assert rest_of(queue) == [here[0], there[0], unknown, here[1], there[1], here[2]]


@pytest.mark.parametrize(
    ("asked", "handed_out"),
    [
        ("a a a b", "a b a a"),
        ("a a b b c c", "a b c a b c"),
        ("a a a a b c", "a b c a a a"),
        ("a b", "a b"),
        ("a a", "a a"),
    ],
)
@pytest.mark.parametrize("address", ["", "192.0.2.1"])
@pytest.mark.parametrize("command", ["auth", "setpass", "certauth"])
def test_accounts_take_turns(asked: str, handed_out: str, address: str, command: str) -> None:
    queries = [query(f"{command} {user}", ONE, address) for user in asked.split()]
    out = rest_of(filled(*queries))
    assert [one.body.split(b":")[1].decode() for one in out] == handed_out.split()
    for user in {*asked.split()}:
        theirs = [one for one in out if one.body.split(b":")[1] == user.encode()]
        assert theirs == [one for one in queries if one in theirs], "oldest first"


def test_an_account_is_user_and_host() -> None:
    """The host counts, the secret does not, nor where the one ends and the other begins."""
    bodies = [b"auth:ab:c:x", b"auth:ab:c:y", b"auth:a:bc:x", b"auth:ab:cd:x"]
    queries = [Query(body, 1.0, ONE) for body in bodies]
    assert rest_of(filled(*queries)) == [queries[0], queries[2], queries[3], queries[1]]


def test_a_newcomer_waits_for_one_turn_of_each() -> None:
    flood = [query(f"auth user{number % 3}") for number in range(300)]
    queue = filled(*flood)
    for _ in range(10):
        queue.next()
    queue.add([new := query("auth alice")])
    assert new in [queue.next() for _ in range(4)]


def test_an_account_whose_oldest_gave_up_has_its_turn_all_the_same() -> None:
    bobs = [query("auth bob", deadline=9.0) for _ in range(2)]
    alices = [query("auth alice", deadline=1.0), query("auth alice", deadline=9.0)]
    queue = filled(*bobs, *alices)
    assert [*queue.take_out(lambda one: one.deadline <= 1.0)] == alices[:1]
    assert rest_of(queue) == [bobs[0], alices[1], bobs[1]]


def test_who_comes_back_at_once_has_no_more_turns() -> None:
    patient = [query(f"auth user{number}") for number in range(5)]
    queue = filled(query("auth eager"), *patient)
    turns = []
    while any(one in [*queue] for one in patient):
        turns.append(queue.next())
        if turns[-1].body.startswith(b"auth:eager:"):  # type: ignore[union-attr]
            queue.add([query("auth eager")])
    assert len(turns) <= len(patient) + 2


@pytest.mark.parametrize("other", [TWO, ONE], ids=["another client", "another address"])
def test_a_flood_delays_a_single_query_by_one(other: Client) -> None:
    queue = filled(*(query(f"auth user{number}", ONE, "192.0.2.1") for number in range(1000)))
    queue.add([single := query("auth alice", other, "192.0.2.2" if other is ONE else "")])
    assert single in (queue.next(), queue.next())


# --- held back -------------------------------------------------------------------------------------------


def test_what_is_held_back_keeps_its_place() -> None:
    addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    first = [query(f"auth user{number}", ONE, address) for number, address in enumerate(addresses)]
    second = [query(f"auth user{number}", ONE, address) for number, address in enumerate(addresses)]
    queue = filled(*first, *second)
    held_back = {"192.0.2.1"}
    assert [queue.next(held_back=held_back) for _ in range(5)] == [first[1], first[2], second[1], second[2], None]
    assert len(queue) == 2
    assert rest_of(queue) == [first[0], second[0]]


def test_while_logins_are_held_back_others_are_asked() -> None:
    queue = filled(login := query("auth alice", ONE, "192.0.2.1"), looking := query("isuser bob"))
    assert [queue.next(held_back=["192.0.2.1"]) for _ in range(2)] == [looking, None]
    assert queue.next() is login


def test_a_query_taken_back_may_be_held_back_or_change_something_too() -> None:
    queue = FairQueue()
    queue.add_again(first := query("setpass alice", deadline=1.0))
    queue.add_again(second := query("isuser bob", ONE, "192.0.2.1", deadline=2.0))
    queue.add_again(third := query("auth carol", deadline=3.0))
    assert queue.next(proven=False, held_back={"192.0.2.1"}) is third
    assert queue.next(proven=False) is second
    assert queue.next(held_back={"192.0.2.1"}) is first


# --- taken back, taken out -------------------------------------------------------------------------------


def test_what_is_taken_back_is_first_by_deadline() -> None:
    queue = filled(login := query("auth alice", deadline=9.0))
    late, early = query("setpass bob", deadline=5.0), query("isuser carol", deadline=4.0)
    queue.add_again(late)
    queue.add_again(early)
    assert len(queue) == 3
    assert queue.first_deadline() == 4.0
    assert [*queue] == [early, late, login]
    assert rest_of(queue) == [early, late, login]


def test_what_is_asked_again_in_its_turn_still_ends_in_time() -> None:
    """Its deadline is earlier than that of others which were asked later, and are ahead of it now."""
    again = query("auth alice", deadline=1.0)
    queue = filled(again, query("auth bob", deadline=2.0), last := query("auth carol", deadline=3.0))
    assert queue.next() is again
    queue.add([again])
    assert queue.first_deadline() == 1.0
    assert [*queue.take_out(lambda one: one.deadline <= 1.5)] == [again]
    assert queue.next() is not again
    assert rest_of(queue) == [last]


def test_one_asked_again_is_where_it_was_by_its_deadline() -> None:
    """It was handed out before others that have less time."""
    flood = [query("auth mallory", deadline=float(number)) for number in range(1, 4)]
    queue = filled(*flood, single := query("auth alice", deadline=4.0))
    assert [queue.next(), queue.next()] == [flood[0], single]
    queue.add([single])
    assert len(queue) == 3
    assert [*queue] == [flood[1], flood[2], single]
    assert rest_of(queue) == [single, flood[1], flood[2]]
    assert not queue


def test_the_hopeless_are_taken_out_wherever_they_wait() -> None:
    queries = [
        query(f"{command} {user}", asker, address, deadline)
        for deadline in (1.0, 2.0)
        for command in ("auth", "isuser", "setpass")
        for user in ("alice", "bob")
        for asker, address in ((ONE, ""), (ONE, "192.0.2.1"), (TWO, "192.0.2.1"))
    ]
    queue = filled(*queries)
    queue.next()
    gone = [*queue.take_out(lambda one: one.deadline < 2.0)]
    assert {one.deadline for one in gone} == {1.0}
    assert len(gone) + len(queue) == len(queries) - 1
    assert queue.first_deadline() == 2.0
    assert len({*gone, *queue}) == len(queries) - 1


def test_one_may_ask_while_hopeless_ones_are_taken_out() -> None:
    queue = filled(*(query(f"auth user{number}", deadline=1.0) for number in range(5)))
    new = []
    for _ in queue.take_out(lambda one: one.deadline < 2.0):
        new.append(query("auth alice", deadline=3.0))
        queue.add([new[-1]])
    assert rest_of(queue) == new


@pytest.mark.parametrize("address", ["", "192.0.2.1"])
def test_one_that_leaves_takes_its_own(address: str) -> None:
    queries = [
        query(f"{command} {user}", asker, address, deadline)
        for deadline, asker in enumerate((ONE, TWO, THREE), 1)
        for command in ("auth", "isuser", "setpass")
        for user in ("alice", "bob", "bob")
    ]
    queue = filled(*queries)
    queue.add_again(again := query("auth dora", TWO, address))
    left = queue.take_all_of(TWO)
    assert {*left} == {again, *queries[9:18]}
    assert queue.take_all_of(TWO) == []
    assert len(queue) == 18
    assert {*queue} == {*queries} - {*left}
    queue.add([back := query("auth bob", TWO, address)])
    assert queue.take_all_of(TWO) == [back]
    assert {*queue.take_all_of(ONE), *queue.take_all_of(THREE)} == {*queries} - {*left}
    assert not queue


# --- overload --------------------------------------------------------------------------------------------


def seen_by(queue: FairQueue, what: str, asker: Client = ONE, address: str = "") -> int:
    return queue.ahead_of(query(what, asker, address))


def test_a_flooder_sees_its_flood_ahead_and_others_do_not() -> None:
    queue = filled(*(query("auth mallory", ONE, "192.0.2.1") for _ in range(1000)))
    queue.add([query("auth alice", ONE, "192.0.2.2")])
    assert seen_by(queue, "auth mallory", ONE, "192.0.2.1") >= 1000
    assert seen_by(queue, "auth bob", ONE, "192.0.2.1") <= 3, "of another account"
    assert seen_by(queue, "auth bob", ONE, "192.0.2.3") <= 3, "at another address"
    assert seen_by(queue, "auth bob", TWO) <= 3, "of another client"


def test_a_flooder_with_many_accounts_sees_them_all() -> None:
    queue = filled(*(query(f"auth user{number}", ONE, "192.0.2.1") for number in range(1000)))
    assert seen_by(queue, "auth mallory", ONE, "192.0.2.1") == 1000
    assert seen_by(queue, "auth alice", ONE, "192.0.2.2") == 1


def test_small_groups_are_not_taken_for_large_ones() -> None:
    """Ten at one address, one at each of ninety others, and a flood: the ten see that the ninety come just once."""
    queue = filled(*(query(f"auth user{number}", ONE, "192.0.2.1") for number in range(1000)))
    for number in range(90):
        queue.add([query("auth alice", ONE, f"198.51.100.{number}")])
    for number in range(10):
        queue.add([query(f"auth user{number}", ONE, "192.0.2.2")])
    assert 100 <= seen_by(queue, "auth alice", ONE, "192.0.2.2") <= 120


@pytest.mark.parametrize("logins", [0, 3, 7, 100])
def test_logins_are_ahead_of_everything_else_as_far_as_they_will_be(logins: int) -> None:
    queue = filled(*(query(f"auth user{number}", ONE, f"192.0.2.{number}") for number in range(logins)))
    for what in ("isuser bob", "setpass bob"):
        ahead = seen_by(queue, what, TWO)
        queue.add([new := query(what, TWO)])
        assert min(logins, 7) <= ahead <= min(logins, 7) + 1
        queue.take_all_of(TWO)
        assert new not in [*queue]


def test_others_are_hardly_ahead_of_a_login() -> None:
    queue = filled(*(query(f"isuser user{number}") for number in range(1000)))
    assert seen_by(queue, "auth alice") == 0


@pytest.mark.parametrize("what", ["auth alice", "isuser alice", "setpass alice"])
@pytest.mark.parametrize("address", ["", "192.0.2.1", "192.0.2.7"])
def test_the_estimate_is_about_right(what: str, address: str) -> None:
    queue = FairQueue()
    for number in range(60):
        queue.add([query(f"auth user{number % 12}", ONE, f"192.0.2.{number % 5}", float(number))])
        queue.add([query(f"isuser friend{number}", ONE, f"192.0.2.{number % 3}", float(number))])
        queue.add([query(f"setpass user{number % 20}", ONE, f"192.0.2.{number % 4}", float(number))])
    ahead = queue.ahead_of(new := query(what, TWO, address, 99.0))
    queue.add([new])
    waited = rest_of(queue).index(new)
    assert waited / 2 - 3 <= ahead <= waited * 2 + 3


def test_the_last_is_of_who_has_most() -> None:
    flood = [query("auth mallory", ONE, "192.0.2.1") for _ in range(100)]
    singles = [query("auth alice", ONE, f"198.51.100.{number}") for number in range(50)]
    queue = filled(*flood, *singles)
    shed = [take_last(queue) for _ in range(90)]
    assert shed == flood[:9:-1]
    assert len(queue) == 60


def test_the_last_is_of_the_account_that_has_most() -> None:
    flood = [query("auth mallory") for _ in range(20)]
    queue = filled(*flood[:10], *(query(f"auth user{number}") for number in range(5)), *flood[10:])
    assert [take_last(queue) for _ in range(15)] == flood[:4:-1]


def test_the_last_is_of_who_has_most_now() -> None:
    """Not of who had more once, whether they had their turns or were shed."""
    there = [query("auth mallory", ONE, "192.0.2.1") for _ in range(100)]
    here = [query("auth alice", ONE, "192.0.2.2") for _ in range(20)]
    for end in (FairQueue.next, take_last):
        queue = filled(*there)
        for _ in range(90):
            end(queue)
        queue.add(here)
        assert [take_last(queue) for _ in range(9)] == here[:10:-1]


def test_of_those_that_have_one_the_last_is_shed() -> None:
    queue = filled(query("auth a", ONE, "192.0.2.1"), left := query("auth b", ONE, "192.0.2.1"))
    queue.next()
    singles = [query("auth alice", ONE, f"198.51.100.{number}") for number in range(3)]
    for one in singles:
        queue.add([one])
    assert [take_last(queue) for _ in range(4)] == [*reversed(singles), left]


def test_a_flooder_among_many_small_groups_is_found_soon() -> None:
    pairs_of_others = [query(f"auth user{number % 2}", ONE, f"198.51.100.{number // 2}") for number in range(80)]
    flood = [query(f"auth user{number}", ONE, "192.0.2.1") for number in range(100)]
    queue = filled(*pairs_of_others, *flood)
    shed = [take_last(queue) for _ in range(60)]
    assert len([one for one in shed if one in flood]) >= 50


def test_logins_are_last_only_if_there_are_many() -> None:
    queue = filled(*(query(f"auth user{number}") for number in range(50)), query("isuser a"), query("setpass b"))
    assert take_last(queue).body.startswith(b"auth")  # type: ignore[union-attr]
    queue = filled(*(query(f"auth user{number}") for number in range(5)), query("isuser a"), query("setpass b"))
    assert not take_last(queue).body.startswith(b"auth")  # type: ignore[union-attr]


def test_all_can_be_shed_and_each_once() -> None:
    queue = FairQueue()
    queries = [
        query(f"{command} user{number % 7}", (ONE, TWO)[number % 2], f"192.0.2.{number % 3}" if number % 5 else "")
        for number in range(300)
        for command in ("auth", "isuser", "setpass")
    ]
    for one in queries:
        queue.add([one])
    queue.add_again(again := query("auth zoe"))
    shed = [*iter(lambda: take_last(queue), None)]
    assert len(shed) == 901
    assert {*shed} == {*queries, again}
    assert not queue
    assert queue.next() is None


# --- cost ------------------------------------------------------------------------------------------------


def flood(count: int) -> list[Query]:
    return [query(f"auth user{number}", ONE, "", float(number)) for number in range(count)]


def addresses(count: int) -> list[Query]:
    return [query("auth alice", ONE, f"2001:db8::{number:x}", float(number)) for number in range(count)]


def pairs(count: int) -> list[Query]:
    return [query(f"auth user{number // 2}", ONE, "192.0.2.1", float(number)) for number in range(count)]


def same_questions(count: int) -> list[Query]:
    """Those of one client in the opposite order of the other's."""
    half = count // 2
    names = [*range(half), *reversed(range(half))]
    return [query(f"isuser user{name}", TWO if at < half else ONE, "", float(at)) for at, name in enumerate(names)]


def in_turn(queue: FairQueue, _queries: list[Query]) -> None:
    while one := queue.next():
        queue.first_deadline()
        one.settle(Verdict.DENIED)


def expired(queue: FairQueue, queries: list[Query]) -> None:
    for one in queries:
        for _ in queue.take_out(lambda other, now=one.deadline: other.deadline <= now):
            queue.first_deadline()


def shed(queue: FairQueue, queries: list[Query]) -> None:
    while take_last(queue):
        queue.ahead_of(queries[0])


def mixed(queue: FairQueue, queries: list[Query]) -> None:
    """One in its turn, one in time, one too many."""
    for one in queries:
        if following := queue.next():
            following.settle(Verdict.DENIED)
        take_last(queue)
        next(queue.take_out(lambda _: True), None)
        queue.ahead_of(one)


def withdrawn(queue: FairQueue, _queries: list[Query]) -> None:
    queue.take_all_of(ONE)
    queue.take_all_of(TWO)


def seconds(make: Callable[[int], list[Query]], end: Callable[[FairQueue, list[Query]], None], count: int) -> float:
    queries = make(count)
    began = time.process_time()
    queue = filled(*queries)
    end(queue, queries)
    took = time.process_time() - began
    assert not queue
    return took


@pytest.mark.parametrize("make", [flood, addresses, pairs, same_questions])
@pytest.mark.parametrize("end", [in_turn, expired, shed, mixed, withdrawn])
def test_forty_times_as_many_take_about_forty_times_as_long(
    make: Callable[[int], list[Query]], end: Callable[[FairQueue, list[Query]], None]
) -> None:
    """Were it 1600 times, it would show, also where a busy machine's caches make it 150 times."""
    gc.disable()
    try:
        small = min(seconds(make, end, 1000) for _ in range(5))
        large = seconds(make, end, 40_000)
    finally:
        gc.enable()
    assert large < 400 * small


@pytest.mark.parametrize("make", [flood, addresses, pairs, same_questions])
def test_a_flood_takes_little_memory(make: Callable[[int], list[Query]]) -> None:
    """Less than a kilobyte for each, besides the query itself."""
    queries = make(100_000)
    tracemalloc.start()
    try:
        queue = filled(*queries)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(queue) == 100_000
    assert taken < 100_000 * 1000


class Watched(Client):
    """Counts how often it is looked at in a search."""

    def __init__(self) -> None:
        self.looks = 0

    def __hash__(self) -> int:
        self.looks += 1
        return id(self)


def test_leaving_is_no_work_for_those_who_stay() -> None:
    leaving, staying = [Client() for _ in range(50)], [Watched() for _ in range(50)]
    queue = filled(*(query("auth alice", client) for client in (*leaving, *staying)))
    before = [client.looks for client in staying]
    for client in leaving:
        queue.take_all_of(client)
    assert [client.looks for client in staying] == before
    assert len(rest_of(queue)) == 50


@pytest.mark.parametrize("make", [flood, addresses, pairs, same_questions])
@pytest.mark.parametrize("end", [in_turn, expired, shed, mixed, withdrawn])
def test_nothing_stays_behind(
    make: Callable[[int], list[Query]], end: Callable[[FairQueue, list[Query]], None]
) -> None:
    queue, queries = FairQueue(), make(1000)
    for one in queries:
        queue.add([one])
    end(queue, queries)
    assert not [one for one in reachable_from(queue) if isinstance(one, Query)]


def test_little_stays_behind_while_one_waits() -> None:
    """Nothing is handed out for a while, and whoever asks gives up after a time."""
    queue = filled(waiting := query("auth alice", TWO, "", 10_000.0))
    for number in range(2000):
        queue.add([query(f"auth user{number}", ONE, "", 10_000.0 + number)])
        queue.add([query("auth bob", ONE, f"2001:db8::{number:x}", 10_000.0 + number)])
        queue.add([query("isuser bob", Client(), "", 10_000.0 + number)])
        queue.take_all_of(ONE)
    assert waiting in [*queue]
    behind = [one for one in reachable_from(queue) if isinstance(one, Query) and one not in {*queue}]
    assert len(behind) < 200


def reachable_from(thing: object) -> list[object]:
    """Everything that it refers to, except classes and what these refer to."""
    seen: dict[int, object] = {}
    todo = [thing]
    while todo:
        one = todo.pop()
        if id(one) not in seen and not isinstance(one, type | Client):
            seen[id(one)] = one
            todo += gc.get_referents(one)
    return [*seen.values()]
