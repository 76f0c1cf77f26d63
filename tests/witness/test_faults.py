"""What ejabberd and the bridge do with programs that have faults, and with what nobody should ask."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
from support import configfile
from support.daemon.serving import Daemon
from support.daemon.tagged import TaggedClient
from support.ejabberd.node import Ejabberd
from support.ejabberd.questions import right
from support.ejabberd.site import CHECKOUT, SQLITE
from support.ejabberd.walk import fill
from support.process import Bridge
from support.programs.bad import PROGRAMS, Journal, habit
from support.prosody.xmpp_client import Client

from bridge.programs import users

pytestmark = pytest.mark.slow

POOL = 4

HOSTS = ("stale", "ends", "hangs", "slow", "large")
"""Each with programs of its own, so that no fault is felt elsewhere."""


class Side:
    """The faulty programs of one side, with a journal for each host."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.journals = {host: Journal(folder / host) for host in (*HOSTS, "yes")}
        self.programs = {f"{host}.example": self._program(host) for host in self.journals}

    def _program(self, host: str) -> tuple[str, ...]:
        noting = ("/usr/bin/env", *(f"{name}={value}" for name, value in self.journals[host].environment.items()))
        said = ("yes",) if host == "yes" else ()
        return (*noting, sys.executable, "-I", "-S", "-B", str(PROGRAMS / "faulty.py"), *said)

    def count(self, host: str, what: str) -> int:
        return len(self.journals[host].events(what))


class Both(NamedTuple):
    ejabberd: Ejabberd
    theirs: Side
    bridge: TaggedClient
    ours: Side

    def put(self, host: str, user: str, secret: str | None = None) -> tuple[str, str]:
        """Ask both whether this is the user's password, the right one by default; returns the questions' tags."""
        fields = [user.encode(), f"{host}.example".encode(), (right(user) if secret is None else secret).encode()]
        (tag,) = self.bridge.put(b":".join([b"auth", *fields]))
        self.bridge.pump()
        return self.ejabberd.put("auth", *fields), tag

    def ask(self, host: str, user: str, secret: str | None = None) -> tuple[str, str]:
        """The same, and what they said."""
        theirs, ours = self.put(host, user, secret)
        return self.ejabberd.answer(theirs), self.said(ours)

    def said(self, tag: str) -> str:
        """The bridge's answer."""
        (verdict,) = self.bridge.wait([tag])
        return {"0": "no", "1": "yes", "2": "unavailable"}[verdict]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("faults")
    theirs, ours = Side(folder / "theirs"), Side(folder / "ours")
    hosts = {name: {"program": list(program), "pool_size": POOL} for name, program in ours.programs.items()}
    file = configfile.write(folder / "auth.toml", {"listen": folder / "auth.sock", "hosts": hosts})
    with Ejabberd(folder / "ejabberd", theirs.programs, pool=POOL) as ejabberd:
        daemon = Daemon(folder, file=file)
        try:
            with daemon.connect() as stream:
                both = Both(ejabberd, theirs, TaggedClient(stream), ours)
                for host in HOSTS:  # several times, so that no program is new
                    assert {both.ask(host, "u1") for _ in range(2 * POOL)} == {("yes", "yes")}
                yield both
        finally:
            ejabberd.node.kill()  # one of its programs hangs, for which it would wait
            assert daemon.stop() == 0


def test_a_late_second_reply(both: Both) -> None:
    """ejabberd takes it for the answer to whoever asks next, and lets a stranger in."""
    for number in range(POOL):
        assert both.ask("stale", f"stale-u{number}")[0] == "yes"
    said = [both.ask("stale", f"u{number}", "wrong") for number in range(POOL)]
    assert [theirs for theirs, _ in said] == ["yes"] * POOL
    assert "yes" not in [ours for _, ours in said]
    assert both.said(both.put("stale", "u1")[1]) == "yes"


def test_a_login_that_ends_programs(both: Both) -> None:
    """ejabberd tries it on all that there are; the bridge on one more, and others are answered well."""
    assert both.ask("ends", "ends-u1") == ("no", "unavailable")
    assert both.theirs.count("ends", "ends") == POOL
    assert both.ours.count("ends", "ends") == 2
    assert both.said(both.put("ends", "u2")[1]) == "yes"


def test_a_login_that_hangs(both: Both) -> None:
    """At ejabberd a share of all logins waits behind it, half a minute; at the bridge nobody does, and it ends in 4 s.

    A program that takes 6 s is waited for by ejabberd, but not by Prosody, nor by the bridge.
    """
    started = time.monotonic()
    before = [both.theirs.count(host, "frame") for host in ("hangs", "slow")]
    hanging, slow = both.put("hangs", "hangs-u1"), both.put("slow", "slow-u1")
    while [both.theirs.count(host, "frame") - 1 for host in ("hangs", "slow")] != before:  # ejabberd asks in any order
        time.sleep(0.02)
    others = [both.put("hangs", f"u{number}") for number in range(POOL)]
    assert [both.said(ours) for _, ours in others] == ["yes"] * POOL
    assert both.said(hanging[1]) == both.said(slow[1]) == "unavailable"
    assert 3.9 < max(both.bridge.took[hanging[1]], both.bridge.took[slow[1]]) < 6
    assert both.ejabberd.answer(slow[0]) == "yes"
    assert time.monotonic() - started > 6
    assert [waits(both.ejabberd, theirs) for theirs, _ in others].count(True) == 1


def waits(ejabberd: Ejabberd, tag: str) -> bool:
    try:
        ejabberd.answer(tag, 0)
    except TimeoutError:
        return True
    return False


def test_a_yes_before_anything_was_asked(both: Both) -> None:
    """ejabberd drops it if nobody asks at that moment; the bridge does not trust such a program."""
    assert both.ask("yes", "u1") == ("yes", "unavailable")
    assert both.ask("yes", "u1", "wrong") == ("no", "unavailable")


async def test_a_password_too_long_for_a_frame(both: Both) -> None:
    """Anybody who may connect to ejabberd ends all its programs with one; the bridge's do not notice."""
    before = both.theirs.count("large", "start"), both.ours.count("large", "start")
    async with Client.connected(both.ejabberd.port, "large.example") as client:
        assert await client.plain("u1", "x" * 70_000) == "not-authorized"
    assert both.said(both.put("large", "u1", "x" * 70_000)[1]) == "no"
    while both.theirs.count("large", "start") < before[0] + POOL:  # until the runner's patience ends
        await trio.sleep(0.02)
    assert both.said(both.put("large", "u1")[1]) == "yes"
    assert both.ours.count("large", "start") == before[1]


def test_a_password_that_was_changed_elsewhere_and_the_end(tmp_path: Path) -> None:
    """ejabberd goes by the old one, for an hour by default, and refuses the new one.

    When it stops, a program that ignores the end of its input stays behind.
    """
    script, database = tmp_path / "bundled.py", tmp_path / "users.db"
    script.write_text(SQLITE)
    fill(str(database), "cached.example", {"u1": "old"})
    programs = {
        "cached.example": (sys.executable, str(script), str(CHECKOUT), str(database)),
        "stays.example": habit("ignores_end"),
    }
    hosts = {name: {"program": list(program), "pool_size": 1} for name, program in programs.items()}
    bridge = Bridge("run", configfile.write(tmp_path / "auth.toml", {"hosts": hosts}))
    with Ejabberd(tmp_path / "ejabberd", programs, cached=programs) as ejabberd:
        try:

            def ask(host: bytes, secret: bytes) -> tuple[str, str]:
                ours = bridge.ask(b"auth:u1:%s:%s" % (host, secret)).verdict
                return ejabberd.ask("auth", b"u1", host, secret), "yes" if ours == "1" else "no"

            assert ask(b"cached.example", b"old") == ("yes", "yes")
            with users.Users(str(database)) as table:
                assert table.change("u1", "cached.example", "new")
            assert ask(b"cached.example", b"old") == ("yes", "no")
            assert ask(b"cached.example", b"new") == ("no", "yes")
            assert ask(b"stays.example", b"pw-u1") == ("yes", "yes")
            (left,) = ejabberd.stop(leaves=1)
            assert "ignores_end" in left
            bridge.finish()
        finally:
            bridge.destroy()
