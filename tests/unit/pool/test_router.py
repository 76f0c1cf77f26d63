"""Lines are let through or refused by host, with each host's own commands."""

import logging
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import Clock
from support.inmemory.clients import NO, Desk
from support.inmemory.pools import made

from bridge.pool.router import Router
from bridge.protocol.query import REFUSED, Query, Refusal


class Asker:
    def __init__(self) -> None:
        self.told: list[Query] = []

    def settled(self, query: Query) -> None:
        self.told.append(query)


class Scene:
    """A router, a desk for everybody and one for other.example, where only isuser is allowed."""

    def __init__(self, default: bool = True, **changes: object) -> None:
        self.clock, self.asker = Clock(), Asker()
        self.everybody, self.other = Desk(), Desk()
        self.other.program = attrs.evolve(self.other.program, commands=frozenset({"isuser"}))
        self.settings = made(**changes)
        self.router = Router(self.settings, self.clock)
        hosts = {"other.example": self.other, "ünï.example": self.other}
        self.router.connect(self.settings, cast("Any", self.everybody if default else None), cast("Any", hosts))

    def ask(self, line: bytes | Refusal) -> Query:
        (query,) = self.router.ask([line], self.asker)
        return query


def test_no_pool_is_asked_nothing() -> None:
    scene = Scene()
    scene.everybody.ask = scene.other.ask = lambda _queries: 1 / 0  # type: ignore[assignment]
    assert scene.router.ask([], scene.asker) == []


@pytest.mark.parametrize(
    ("host", "other"),
    [
        ("example.com", False),
        ("other.example", True),
        ("OTHER.Example", True),
        ("ÜNÏ.example", True),
        ("sub.other.example", False),
        ("other.example.", False),
        ("xother.example", False),
        ("other", False),
    ],
)
def test_each_host_has_its_program(host: str, other: bool) -> None:
    scene = Scene()
    query = scene.ask(f"isuser:alice:{host}".encode())
    assert scene.other.asked == [query] * other
    assert scene.everybody.asked == [query] * (not other)
    assert query.body == f"isuser:alice:{host}".encode(), "byte for byte as it came"


def test_each_host_has_its_commands() -> None:
    scene = Scene()
    assert scene.ask(b"auth:alice:other.example:hunter2") is REFUSED
    assert scene.ask(b"auth:alice:example.com:hunter2") is not REFUSED
    assert scene.router.refused == {Refusal.COMMAND: 1}
    assert scene.other.asked == []


def test_without_a_program_for_everybody_only_the_hosts_listed_are_served() -> None:
    scene = Scene(default=False)
    for line in (b"isuser:alice:example.com", b"quit", b"", b"isuser:alice", b"isuser:alice:\xff"):
        assert scene.ask(line) is REFUSED
    assert scene.router.refused == {Refusal.HOST: 5}
    assert scene.ask(b"isuser:alice:other.example") is not REFUSED


def test_before_anything_is_connected_everything_is_refused() -> None:
    router = Router(made(), Clock())
    assert router.ask([b"isuser:alice:example.com"], Asker()) == [REFUSED]


def test_an_over_long_line_is_refused_as_it_is() -> None:
    scene = Scene()
    assert scene.ask(Refusal.LENGTH) is REFUSED
    assert scene.router.refused == {Refusal.LENGTH: 1}


def test_who_is_refused_is_not_told() -> None:
    scene = Scene()
    assert scene.ask(b"nonsense").settled
    assert scene.asker.told == []


def test_a_verdict_that_is_there_at_once_is_told_and_to_be_seen() -> None:
    scene = Scene()
    scene.everybody.verdict = NO
    query = scene.ask(b"isuser:alice:example.com")
    assert query.settled
    assert scene.asker.told == [query]


def test_time_runs_from_the_arrival_of_the_line() -> None:
    scene = Scene(answer_timeout=2.5)
    assert scene.ask(b"isuser:alice:example.com").deadline == 102.5
    scene.clock.now = 200.0
    assert scene.ask(b"isuser:alice:example.com").deadline == 202.5


def test_only_what_changes_nothing_is_repeatable() -> None:
    scene = Scene()
    lines = [b"auth:alice:example.com:x", b"isuser:alice:example.com", b"setpass:alice:example.com:x"]
    assert [scene.ask(line).repeatable for line in lines] == [True, True, False]


def test_a_client_that_leaves_is_work_for_the_pools_it_waits_for_alone() -> None:
    scene = Scene()
    answered = scene.ask(b"isuser:alice:other.example")
    answered.settle(NO)
    waiting = [scene.ask(b"isuser:alice:example.com"), scene.ask(b"isuser:bob:example.com")]
    scene.router.withdraw(scene.asker, [answered, REFUSED, *waiting])
    assert (scene.everybody.left, scene.other.left) == ([scene.asker], [])


def test_a_client_may_leave_whose_host_is_served_no_more() -> None:
    scene = Scene()
    waiting = [scene.ask(b"isuser:alice:other.example")]
    scene.router.connect(scene.settings, None, {})
    scene.router.withdraw(scene.asker, waiting)
    assert scene.other.left == []


def test_a_reload_puts_everything_in_force_together() -> None:
    scene = Scene()
    scene.router.connect(made(answer_timeout=1.0, allow_empty_password=True), cast("Any", scene.everybody), {})
    query = scene.ask(b"auth:alice:other.example:")
    assert scene.everybody.asked == [query]
    assert query.deadline == 101.0


@given(st.binary(max_size=60))
def test_any_line_is_asked_or_refused_and_counted(line: bytes) -> None:
    scene = Scene()
    query = scene.ask(line)
    asked = scene.everybody.asked + scene.other.asked
    assert asked == [query] * (query is not REFUSED)
    assert sum(scene.router.refused.values()) == (query is REFUSED)


def test_refusals_are_logged_with_their_reason_and_never_with_the_line() -> None:
    log, lines = logging.getLogger("bridge"), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        scene = Scene()
        for _ in range(1000):
            scene.ask(b"auth:alice:example.com:hunter2\x07")
            scene.ask(b"hunter2:alice:example.com")
            scene.ask(Refusal.INJECTION)
    finally:
        log.removeHandler(handler)
    assert 3 <= len(lines) <= 30, "a flood"
    assert all("reason=" in line for line in lines)
    assert "hunter2" not in "".join(lines)
    assert "alice" not in "".join(lines)
    assert sum(scene.router.refused.values()) == 3000


def test_lines_for_clients_at_addresses() -> None:
    """Each address stays with its line, whatever is refused between them and whichever pool is asked."""
    scene = Scene()
    lines = [b"isuser:a:h", b"nonsense", b"isuser:b:other.example", Refusal.LENGTH, b"isuser:c:h"]
    queries = scene.router.ask_for(lines, ["192.0.2.1", "192.0.2.2", "", "192.0.2.4", "2001:db8::/64"], scene.asker)
    asked = [None if query is REFUSED else (query.body, query.address) for query in queries]
    assert asked == [(lines[0], "192.0.2.1"), None, (lines[2], ""), None, (lines[4], "2001:db8::/64")]
    assert scene.everybody.asked == [queries[0], queries[4]]
    assert scene.other.asked == [queries[2]]
    assert {query.deadline for query in queries if query is not REFUSED} == {104.0}
    assert scene.router.refused == {Refusal.COMMAND: 1, Refusal.LENGTH: 1}


def test_who_asks_without_an_address_has_none() -> None:
    scene = Scene()
    assert [query.address for query in scene.router.ask([b"isuser:a:h", b"isuser:b:other.example"], scene.asker)] == [
        "",
        "",
    ]


def test_a_flood_is_counted_line_by_line_and_logged_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    """As if its lines had come one by one."""
    said = {}
    for at_once in (True, False):
        caplog.clear()
        scene = Scene()
        lines = [b"x", b"auth:u:h"] * 700 + [b"auth:u:h:x"]
        answers = scene.router.ask(lines, scene.asker) if at_once else [scene.ask(line) for line in lines]
        assert [query is REFUSED for query in answers] == [True] * 1400 + [False]
        assert [scene.router.refused[reason] for reason in (Refusal.COMMAND, Refusal.FIELDS)] == [700, 700]
        scene.clock.now += 60.0
        scene.ask(b"x")
        scene.ask(b"auth:u:h")
        said[at_once] = sorted(caplog.messages)
    assert said[True] == said[False]
    assert len(said[True]) == 12
    assert sum("suppressed=695" in line for line in said[True]) == 2
