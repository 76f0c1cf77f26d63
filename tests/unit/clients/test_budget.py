"""The bytes that all clients together have in flight are bounded, and no client starves."""

import contextlib
import random
from collections.abc import Iterator
from unittest import mock

import pytest
from support.inmemory.clients import NO, YES, Client, on_connection

from bridge.clients.budget import LINE, UNCOUNTED, Budget
from bridge.protocol.query import Query

LONG = b"auth:u:h:" + b"x" * (4096 - 10) + b"\n"
SHORT = b"auth:alice:example.com:hunter2\n"
READ = 4096
"""Bytes read from a connection at once."""


def held(client: Client) -> int:
    """Bytes of the client's lines in flight: all that are not settled, as it reads its answers."""
    return sum(len(query.body) + LINE for query in client.desk.asked if not query.settled)


def send_all(client: Client, data: bytes) -> int:
    """Send as much of it as the daemon takes; returns how much."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < len(data):
            sent += client.send_some(data[sent : sent + 65536])
            client.run_once()
    return sent


@pytest.fixture
def clients() -> Iterator[list[Client]]:
    with contextlib.ExitStack() as stack:
        budget = Budget(200_000)
        yield [stack.enter_context(on_connection(budget)) for _ in range(8)]


def budget_of(client: Client) -> Budget:
    return client.session._budget


def test_together_they_hold_no_more_than_the_budget(clients: list[Client]) -> None:
    for client in clients:
        send_all(client, LONG * 256)
        assert held(client), "each of them is listened to"
    assert sum(map(held, clients)) < 200_000 + len(clients) * (UNCOUNTED + 2 * READ)
    assert held(clients[0]) < 200_000 / 2 + UNCOUNTED + 2 * READ, "the first one does not take all there is"


@pytest.mark.parametrize("line", [LONG, SHORT, LONG + SHORT * 50, SHORT * 200 + LONG * 56], ids=len)
def test_every_line_gets_its_own_answer_all_the_same(clients: list[Client], line: bytes) -> None:
    dice = random.Random(9)
    batch = line * (256 * 1024 // len(line))
    unsent = [batch] * len(clients)
    answers, verdicts = [b""] * len(clients), [b""] * len(clients)
    while any(unsent) or any(client.desk.asked for client in clients):
        for number, client in enumerate(clients):
            unsent[number] = unsent[number][send_all(client, unsent[number]) :]
            due = client.desk.asked[: dice.randrange(1, 100)]
            del client.desk.asked[: len(due)]
            for query in due:
                verdict = dice.choice([YES, NO])
                verdicts[number] += b"1\n" if verdict is YES else b"0\n"
                query.settle(verdict)
            client.run_once()
            answers[number] += client.got()
    assert answers == verdicts
    assert [len(given) for given in answers] == [2 * batch.count(b"\n")] * len(clients)
    assert budget_of(clients[0]).held == 0


def test_what_is_counted_is_not_less_than_what_is_held(clients: list[Client]) -> None:
    """Except for what was read since the last count; without lines in flight the count is zero."""
    dice = random.Random(4)
    for _ in range(600):
        client = dice.choice(clients)
        send_all(client, dice.choice([LONG, SHORT, SHORT * 30, LONG * 5]))
        for _ in range(min(len(client.desk.asked), dice.choice([0, 1, 5, 300]))):
            client.desk.asked.pop(0).settle(YES)
        client.run_once()
        client.got()
        counted = client.session._held
        assert held(client) <= counted + UNCOUNTED + READ + LINE * len(client.desk.asked)
        assert client.desk.asked or not counted
        assert budget_of(client).held == sum(one.session._held for one in clients)


def test_who_holds_nothing_is_always_read_once(clients: list[Client]) -> None:
    budget = budget_of(clients[0])
    budget.held += 10**9
    for line in (SHORT, LONG):
        for _ in range(50):
            clients[0].says(line)
            assert held(clients[0])
            clients[0].settle(-1)
            assert clients[0].got() == b"1\n"


@pytest.mark.parametrize("line", [SHORT, b"auth:u:h:" + b"x" * 60 + b"\n"], ids=len)
def test_a_full_window_of_usual_lines_is_no_matter(line: bytes) -> None:
    with on_connection(Budget()) as client:
        send_all(client, line * 256)
        assert len(client.desk.asked) == 256
        assert not client.session._heavy


def test_a_hundred_clients_with_a_few_lines_each_are_no_matter() -> None:
    with contextlib.ExitStack() as stack:
        budget = Budget()
        crowd = [stack.enter_context(on_connection(budget)) for _ in range(128)]
        for _ in range(3):
            for client in crowd:
                client.says(LONG * 4)
                assert len(client.desk.asked) % 4 == 0
                assert not client.session._heavy
            for client in crowd:
                for query in client.desk.asked[-4:]:
                    query.settle(YES)
                client.run_once()
                assert client.got() == b"1\n" * 4


@pytest.mark.parametrize("end", ["close", "abort", "stop", "hang up", "failed"])
def test_what_a_client_held_is_given_back(clients: list[Client], end: str) -> None:
    client, budget = clients[0], budget_of(clients[0])
    send_all(client, LONG * 100)
    assert budget.held > 0
    if end == "hang up":
        client.end_output()
        client.end_input()
        client.run_once()
    elif end == "failed":
        client.session.failed(MemoryError())
    elif end != "close":
        getattr(client.session, end)()
    for query in client.desk.asked:
        query.settle(YES)
    client.run_once()
    assert client.over == (end != "close")
    close_now(client)
    assert budget.held == 0


def test_nothing_is_counted_of_who_was_closed_in_the_middle(monkeypatch) -> None:
    budget = Budget()
    with on_connection(budget) as client:

        def fail(_query: Query) -> None:
            raise MemoryError

        monkeypatch.setattr(client.session, "settled", fail)
        client.session._over = lambda: close_now(client)  # as the server does
        client.session._uncounted = UNCOUNTED
        client.desk.verdict = YES
        client.says(SHORT * 100)
        client.run_once()
        assert len(client.desk.asked) == 100
        assert budget.held == 0


def close_now(client: Client) -> None:
    """Close the session, so that the end of the test does not."""
    session, client.session = client.session, mock.Mock()
    session.close()
