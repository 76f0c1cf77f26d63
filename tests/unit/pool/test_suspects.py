"""What is remembered of questions that did harm, for how long, and of how many; never a name or a secret."""

import gc
from typing import Any, cast

import pytest

from bridge.pool.suspects import Suspects
from bridge.protocol.query import Query

SECRET = b"hunter2-and-more"
BODY = b"auth:alice:example.com:" + SECRET


def question(body: bytes = BODY, address: str = "") -> Query:
    return Query(body, 0.0, cast("Any", None), address)


@pytest.fixture
def suspects() -> Suspects:
    return Suspects()


def test_nobody_is_one_at_first(suspects: Suspects) -> None:
    assert not suspects
    assert not suspects.refuses(question(), 0.0)
    assert not suspects.watches(question(), 0.0)


def test_the_very_same_question_is_not_asked_for_ten_seconds(suspects: Suspects) -> None:
    assert suspects.convict(question(), 100.0) == 10.0
    assert suspects.refuses(question(), 109.99)
    assert not suspects.refuses(question(), 110.01)


@pytest.mark.parametrize(
    "other",
    [
        question(b"auth:alice:example.com:another"),
        question(b"auth:bob:example.com:" + SECRET),
        question(b"auth:alice:example.org:" + SECRET),
        question(b"setpass:alice:example.com:" + SECRET),
        question(b"isuser:alice:example.com"),
    ],
    ids=lambda query: query.body.decode(),
)
def test_any_other_is(suspects: Suspects, other: Query) -> None:
    suspects.convict(question(), 100.0)
    assert not suspects.refuses(other, 100.1)


def test_wherever_it_comes_from(suspects: Suspects) -> None:
    """The question is what hangs the program, not whoever asks it."""
    suspects.convict(question(address="192.0.2.1"), 100.0)
    assert suspects.refuses(question(address="192.0.2.2"), 100.1)


def test_twice_as_long_with_each_relapse_up_to_five_minutes(suspects: Suspects) -> None:
    now, pauses = 0.0, list[float]()
    for _ in range(8):
        pauses.append(suspects.convict(question(), now))
        now += pauses[-1] + 1.0
        suspects.forget(now)
    assert pauses == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]


def test_long_after_its_time_it_is_a_first_offence_again(suspects: Suspects) -> None:
    for now in (0.0, 15.0):
        pause = suspects.convict(question(), now)
    assert pause == 20.0
    suspects.forget(15.0 + 20.0 + 21.0)
    assert suspects.convict(question(), 60.0) == 10.0


def test_its_account_and_address_together_are_watched_for_a_minute(suspects: Suspects) -> None:
    suspects.convict(question(address="192.0.2.1"), 100.0)
    again = question(b"auth:alice:example.com:another", "192.0.2.1")
    digest = suspects.watches(again, 159.9)
    assert digest
    assert suspects.watches(question(b"isuser:alice:example.com", "192.0.2.1"), 159.9) == digest
    assert not suspects.watches(again, 160.1)


@pytest.mark.parametrize(
    "other",
    [
        question(b"auth:alice:example.com:another", "192.0.2.2"),
        question(b"auth:alice:example.com:another"),
        question(b"auth:bob:example.com:another", "192.0.2.1"),
        question(b"auth:alice:example.org:another", "192.0.2.1"),
    ],
    ids=lambda query: f"{query.body.decode()} {query.address}",
)
def test_nobody_else_is(suspects: Suspects, other: Query) -> None:
    """A victim whose name is used from elsewhere is not even delayed."""
    suspects.convict(question(address="192.0.2.1"), 100.0)
    assert not suspects.watches(other, 100.1)


def test_a_relapse_begins_a_new_minute(suspects: Suspects) -> None:
    suspects.convict(question(), 100.0)
    suspects.convict(question(b"auth:alice:example.com:another"), 150.0)
    assert suspects.watches(question(), 209.9)
    assert not suspects.watches(question(), 210.1)


def test_when_all_are_forgotten_there_are_none(suspects: Suspects) -> None:
    for number in range(5):
        suspects.convict(question(b"auth:user%d:h:x" % number), float(number))
    suspects.forget(62.5)
    assert suspects
    suspects.forget(64.5)
    assert not suspects


def test_of_a_crowd_the_last_thousand_are_remembered(suspects: Suspects) -> None:
    for number in range(20_000):
        suspects.convict(question(b"auth:user%d:h:x" % number), 0.0)
    assert len(suspects._questions) == len(suspects._accounts) == 1024
    assert suspects.refuses(question(b"auth:user19999:h:x"), 1.0)
    assert suspects.watches(question(b"auth:user19999:h:x"), 1.0)
    assert not suspects.refuses(question(b"auth:user0:h:x"), 1.0)


def test_no_secret_and_no_name_is_kept(suspects: Suspects) -> None:
    suspects.convict(question(), 0.0)
    todo, seen, kept = [*vars(suspects).values()], set[int](), list[bytes]()
    while todo:
        one = cast("Any", todo.pop())
        if id(one) not in seen and not isinstance(one, type):
            seen.add(id(one))
            kept += [one] if isinstance(one, bytes) else []
            todo += gc.get_referents(one)
    assert len(kept) >= 3, "the key and two digests"
    assert not [data for data in kept if b"alice" in data or SECRET in data]


def test_digests_are_of_no_use_elsewhere() -> None:
    """Guesses cannot be tried against them without the key."""
    digests = set[bytes]()
    for _ in range(2):
        suspects = Suspects()
        suspects.convict(question(), 0.0)
        digests |= {*suspects._questions, *suspects._accounts}
    assert len(digests) == 4
