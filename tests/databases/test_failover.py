"""Two hosts of one daemon on one PostgreSQL that fails in the middle of logins; a client asks all the time.

While it is gone nobody can be asked (`2`, of which Prosody makes temporary-auth-failure): a right password is never
refused, a wrong one never let in.  When it is back, or its standby is promoted, logins are granted again, and nobody
has done anything about the daemon.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import configfile
from support.canary import CANARY, right
from support.daemon.serving import Daemon
from support.daemon.tagged import TaggedClient
from support.databases.postgresql import PostgreSQL, both
from support.databases.program import COMMAND, manage, serving
from support.databases.server import Server
from support.databases.tables import QUICK

pytestmark = pytest.mark.slow

HOSTS = ("a.example", "b.example")
USERS = ("alice", "bob")
INTERVAL = 0.1
"""Seconds between two logins: a busy server's morning, and no more than two CPUs can hash."""

STEADY = 0.6
"""Seconds for which all is well, before and after."""

OUTAGE = 1.0
SOON = 8.0
"""Seconds in which logins are granted again: the longest pause between two attempts to start a program that an outage
of this length brings about is far below that."""


class Load:
    """Logins with right and with wrong passwords, one after the other, whether or not they are answered.

    Args:
      hosts: whose users log in.
    """

    def __init__(self, daemon: Daemon, *hosts: str) -> None:
        self._client = TaggedClient(daemon.connect())
        self._next = time.monotonic()
        self._users = itertools.cycle([(user, host) for host in hosts for user in USERS])
        self._wrong: set[str] = set()
        self._judged = 0

    def run(self, seconds: float) -> list[str]:
        """Ask for this long; returns the answers to right passwords that came meanwhile."""
        end = time.monotonic() + seconds
        came: list[str] = []
        while (now := time.monotonic()) < end:
            if now >= self._next:
                self._next = now + INTERVAL
                self._put()
            self._client.pump(max(0.0, min(self._next, end) - now))
            assert not self._client.ended
            came += self._judge()
        return came

    def until(self, verdict: str) -> None:
        """Ask until a right password is answered so, which is soon."""
        deadline = time.monotonic() + SOON
        while verdict not in (seen := self.run(INTERVAL)):
            assert time.monotonic() < deadline, f"no {verdict} in {SOON} s, but {seen}"

    def until_only(self, verdict: str) -> None:
        """As `until`, and then all of them are: what came first may have been asked before."""
        self.until(verdict)
        deadline = time.monotonic() + SOON
        while {*(seen := self.run(STEADY))} != {verdict}:
            assert time.monotonic() < deadline, f"not all are {verdict} in {SOON} s, but {seen}"

    def _put(self) -> None:
        user, host = next(self._users)
        _, wrong = self._client.put(*(f"auth:{user}:{host}:{secret}".encode() for secret in (right(user), CANARY)))
        self._wrong.add(wrong)

    def _judge(self) -> list[str]:
        """The new answers to right passwords, when it is certain that none of all is wrong."""
        came = []
        for tag, verdict in list(self._client.verdicts.items())[self._judged :]:
            self._judged += 1
            assert verdict != ("1" if tag in self._wrong else "0"), "a wrong answer"
            if tag not in self._wrong:
                came.append(verdict)
        return came

    def finish(self) -> None:
        """Wait for all answers."""
        self._client.wait()
        self._judge()


def fill(url: str) -> None:
    """Have the same users in each host."""
    done = manage(url, "createtable")
    assert done.returncode == 0, done.stderr
    with serving(url, *QUICK) as program:
        for host, user in itertools.product(HOSTS, USERS):
            assert program.ask("tryregister", user, host, right(user)) == "yes"


Serve = Callable[..., Daemon]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a daemon with the URL of each host's programs; in the end it stops properly."""
    daemons: list[Daemon] = []

    def start(*urls: str) -> Daemon:
        hosts = {
            host: {"program": [*COMMAND, url, *QUICK], "pool_size": 2} for host, url in zip(HOSTS, urls, strict=True)
        }
        file = configfile.write(tmp_path / "auth.toml", {"listen": tmp_path / "auth.sock", "hosts": hosts})
        daemons.append(Daemon(tmp_path, file=file))
        return daemons[-1]

    yield start
    for daemon in daemons:
        for client in daemon.clients:
            client.close()
        assert daemon.stop() == 0


def test_it_goes_away_and_comes_back(servers: Callable[[str], Server], serve: Serve) -> None:
    server = servers("postgresql")
    server.create("failover")
    url = server.url("failover")
    fill(url)
    load = Load(serve(url, url), *HOSTS)
    load.until_only("1")
    for go_away in (server.stop, server.freeze):
        go_away()
        try:
            load.until("2")
            assert {*load.run(OUTAGE)} <= {"2"}
        finally:
            server.thaw()
            server.start()
        load.until_only("1")
    load.finish()


def test_its_standby_is_promoted(serve: Serve) -> None:
    """One host wants a server that can be written to, to the other it is all the same: it goes on with the standby."""
    primary = PostgreSQL().start()
    standby = primary.standby()
    try:
        primary.create("site")
        fill(primary.url("site"))
        standby.wait_for(primary)
        daemon = serve(both("site", primary, standby), both("site", primary, standby, "any"))
        strict, content = Load(daemon, HOSTS[0]), Load(daemon, HOSTS[1])
        strict.until_only("1")
        content.until_only("1")
        primary.stop()
        strict.until("2")
        content.until_only("1")
        assert {*strict.run(OUTAGE)} <= {"2"}
        standby.promote()
        strict.until_only("1")
        content.until_only("1")
        strict.finish()
        content.finish()
    finally:
        standby.remove()
        primary.remove()
