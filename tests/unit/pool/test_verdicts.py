"""`log.verdicts`: one line for each question, which nobody can forge and which holds no secret."""

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import Clock
from support.inmemory.clients import NO, YES, Desk
from support.inmemory.pools import AUTH, Answer, answers, bench, made
from support.logsite import Site, in_time
from support.process import environment

from bridge.log.events import log
from bridge.pool.fairqueue import FairQueue
from bridge.pool.router import Router
from bridge.protocol.query import REFUSED, Query, Refusal, Verdict

UNAVAILABLE = Verdict.UNAVAILABLE

WHOLE = re.compile(
    r"question answered verdict=(granted|denied|unavailable|refused)(?: command=(\w+))?(?: ms=(\d+))?"
    r'(?: reason=("[^"]*"))?(?: address=([0-9a-f.:/]+))?(?: account="((?:[^"\\]|\\.)*)")?'
)


class Asker:
    def settled(self, query: Query) -> None:
        """Nobody has to be told."""

    def failed(self, error: Exception) -> None:
        raise error


class Scene:
    """A router that logs these verdicts, and a desk for all questions."""

    def __init__(self, verdicts: str, commands: frozenset[str] = frozenset({"auth", "isuser"})) -> None:
        self.clock, self.asker, self.desk = Clock(), Asker(), Desk()
        self.desk.program = attrs.evolve(self.desk.program, commands=commands)
        self.router = Router(made(), self.clock)
        self.ask_for = self.router.ask_for  # a session keeps it
        self.log(verdicts)

    def log(self, verdicts: str, default: bool = True) -> None:
        self.router.connect(
            made(**{"log.verdicts": verdicts, "log.level": "error"}), cast("Any", self.desk if default else None), {}
        )

    def ask(self, line: bytes | Refusal, verdict: Verdict = NO, address: str = "") -> Query:
        (query,) = self.ask_for([line], [address], self.asker)
        query.settle(verdict)
        return query


def parsed(lines: list[str]) -> list[tuple[str | None, ...]]:
    found = [WHOLE.fullmatch(line.removeprefix("INFO ")) for line in lines]
    assert all(found), lines
    return [match.groups() for match in found if match]


def test_all_of_them(logged: list[str]) -> None:
    scene = Scene("all")
    (query,) = scene.router.ask([AUTH], scene.asker)
    scene.clock.now += 0.0123
    query.settle(YES)
    scene.ask(b"isuser:bob:example.com", NO, "192.0.2.7")
    scene.ask(AUTH, UNAVAILABLE, "2001:db8::/64")
    assert logged == [
        'INFO question answered verdict=granted command=auth ms=12 account="alice@example.com"',
        'INFO question answered verdict=denied command=isuser ms=0 address=192.0.2.7 account="bob@example.com"',
        "INFO question answered verdict=unavailable command=auth ms=0 address=2001:db8::/64"
        ' account="alice@example.com"',
    ]


def test_failed_ones_alone(logged: list[str]) -> None:
    scene = Scene("failed")
    for verdict in (YES, NO, UNAVAILABLE):
        scene.ask(AUTH, verdict)
    assert [fields[0] for fields in parsed(logged)] == ["denied", "unavailable"]


def test_by_default_none_and_nothing_is_done_for_it(logged: list[str]) -> None:
    scene = Scene("none")
    assert type(scene.ask(AUTH)) is Query
    assert type(scene.router.ask([AUTH], scene.asker)[0]) is Query
    assert logged == []
    code = "import sys, bridge.daemon.process; from bridge.config.load import load; from bridge.pool.poolset import *; "
    code += "PoolSet(s := load(None, {}, ['/bin/true'])).apply(s); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, check=True, text=True)
    assert "bridge.pool.router" in done.stdout.split()
    assert "bridge.pool.verdicts" not in done.stdout.split()


def test_a_reload_switches_them_on_and_off_for_sessions_that_are_there(logged: list[str]) -> None:
    scene = Scene("none")
    scene.ask(AUTH)
    scene.log("failed")
    scene.ask(AUTH)
    scene.log("none")
    scene.ask(AUTH)
    assert len(parsed(logged)) == 1


@pytest.mark.parametrize(
    ("line", "command", "account"),
    [
        (b"auth:alice:example.com:hunter2\x07", "auth", "alice@example.com"),
        (b"auth:a\x1b[2J:example.com:hunter2", "auth", r"a\x1b[2J@example.com"),
        (b"auth:\xff:example.com:hunter2", "auth", r"\\xff@example.com"),
        (b"setpass:alice:example.com:hunter2", "setpass", "alice@example.com"),
        (b"isuser::example.com", "isuser", "@example.com"),
        (b"hunter2:alice:example.com", None, None),
        (b"hunter2", None, None),
        (b"auth:hunter2:hunter2", None, None),
        (b"isuser:alice:example.com:hunter2", None, None),
        (Refusal.LENGTH, None, None),
    ],
)
def test_refused_lines_too_with_names_only_where_no_secret_can_be(
    logged: list[str], line: bytes | Refusal, command: str | None, account: str | None
) -> None:
    scene = Scene("failed")
    assert scene.ask(line, address="192.0.2.1") is REFUSED
    (fields,) = parsed([line for line in logged if "line refused" not in line])
    assert fields[:3] == ("refused", command, None)
    assert fields[4:] == ("192.0.2.1", account)
    assert "hunter2" not in "".join(logged)


def test_a_host_that_is_not_served_is_named_shortened_and_without_what_may_be_a_secret(logged: list[str]) -> None:
    scene = Scene("none")
    scene.log("none", default=False)
    scene.ask(b"auth:alice:Wrong.example:hunter2")
    scene.ask("auth:a:exa\u202emple\u2028.org:hunter2".encode())
    scene.ask(b"isuser:a:" + b"x" * 3000)
    scene.ask(b"alice:hunter2:hunter2")
    assert [line.removeprefix('WARNING line refused reason="host not served"') for line in logged] == [
        " host=Wrong.example",
        r' host="exa\\u202emple\\u2028.org"',
        f" host={'x' * 57}...",
        "",
    ]


@given(st.text(st.characters(codec="utf-8", exclude_characters=":"), min_size=1), st.text(min_size=1), st.booleans())
def test_nobody_can_forge_a_field(user: str, secret: str, granted: bool) -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        scene = Scene("all")
        line = f"auth:{user}:example.com:hunter2{secret}".encode()
        scene.ask(line, YES if granted else NO, "192.0.2.1")
    finally:
        log.removeHandler(handler)
    (fields,) = parsed([line for line in lines if "line refused" not in line])
    assert fields[0] in ("refused", "granted" if granted else "denied")
    assert fields[4] == "192.0.2.1"
    assert all("hunter2" not in line and line.isprintable() for line in lines)


def test_a_forged_name_stays_one_quoted_word(logged: list[str]) -> None:
    user = b'x" verdict=granted address=198.51.100.1 account="y\\'
    Scene("all").ask(b"auth:" + user + b":example.com:secret", NO, "192.0.2.1")
    ((verdict, _, _, _, address, account),) = parsed(logged)
    assert (verdict, address) == ("denied", "192.0.2.1")
    assert account == r"x\" verdict=granted address=198.51.100.1 account=\"y\\@example.com"


def test_a_long_name_is_cut(logged: list[str]) -> None:
    Scene("all").ask(b"isuser:" + b"x" * 3000 + b":example.com")
    assert parsed(logged)[0][-1] == "x" * 320 + "..."


def test_those_who_share_a_question_have_a_line_each(logged: list[str]) -> None:
    scene, queue = Scene("all"), FairQueue()
    for address in ("192.0.2.1", "192.0.2.2"):
        (query,) = scene.ask_for([b"isuser:u:h"], [address], Asker())
        queue.add([query])
    shared = queue.next()
    assert shared is not None
    shared.settle(YES)
    assert queue.next() is None
    assert [fields[4] for fields in parsed(logged)] == ["192.0.2.1", "192.0.2.2"]


async def test_what_a_real_pool_answers_and_what_it_gives_up(logged: list[str], autojump_clock: object) -> None:
    """A reply sets the verdict without `settle`; a client that leaves still finds its queries."""
    async with bench(answers(0.25), pool_max=1, **{"log.verdicts": "all"}) as there:
        router = Router(there.pool.settings, there.clock)
        router.connect(there.pool.settings, there.pool, {})
        stays, leaves = Answer(), Answer()
        router.ask([AUTH], stays)
        router.withdraw(leaves, router.ask([AUTH], leaves))
        await stays.done()
    assert [fields[:3] for fields in parsed(logged)] == [("unavailable", "auth", "0"), ("granted", "auth", "250")]


def test_a_log_that_fails_does_not_fail_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene("all")

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("bridge.pool.verdicts._say", fail)
    assert scene.ask(AUTH, YES).verdict is YES


def test_a_full_journal_stalls_nobody_and_the_log_says_what_is_lost(tmp_path: Path, logged: list[str]) -> None:
    def many() -> None:
        scene = Scene("all")
        for _ in range(5000):
            scene.ask(AUTH, YES)

    with Site(tmp_path) as site:
        site.configure("journal", client_terminal=True, journal=site.journal.path)
        in_time(many)
        there = len(site.journal.messages())
        assert 0 < there < 5000
        Scene("all").ask(AUTH, YES)
        lost, line = site.journal.messages()
    assert lost == f"log lines lost count={5000 - there}"
    assert "verdict=granted" in line
