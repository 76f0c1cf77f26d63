"""Users of a real ejabberd, in its table `users`, which it has filled: taken over, changed, and given back."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from support import canary
from support.canary import CANARY, right
from support.databases.program import manage, serving
from support.databases.server import Server
from support.databases.tables import Place
from support.ejabberd.sqlnode import Base, SqlEjabberd

pytestmark = pytest.mark.slow

HOSTS = ("plain.postgresql.example", "sha256.postgresql.example", "sha.mariadb.example", "sha512.mariadb.example")
"""Each with another way to keep passwords, and the server that has them."""

USERS = {"alice": right("alice"), "bob": CANARY, "grün": "pässword é", "o.1=_~%": "or 1=1 -- \\"}

NEW = "pä \\' é"


class Site(NamedTuple):
    node: SqlEjabberd
    places: dict[str, Place]

    def check(self, user: str, host: str, secret: str) -> bool:
        """What ejabberd itself says of a password."""
        return self.node.ask("auth", user.encode(), host.encode(), secret.encode()) == "yes"


@pytest.fixture(scope="module")
def site(servers: Callable[[str], Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One ejabberd, with a host and a database for each server and each way to keep passwords."""
    folder = tmp_path_factory.mktemp("ejabberd") / "node"
    canary.knows(folder, "ejabberd's debugging log may hold questions")
    places, bases = {}, {}
    for host in HOSTS:
        kept, kind, _ = host.split(".")
        server, database = servers(kind), f"ejabberd_{kept}"
        server.create(database)
        places[host] = Place(server, database, "ejabberd")
        bases[host] = Base(server, database, kept)
    with SqlEjabberd(folder, bases) as node:
        for host in places:
            for user, secret in USERS.items():
                assert node.ask("tryregister", user.encode(), host.encode(), secret.encode()) == "yes", host
        yield Site(node, places)


@pytest.mark.parametrize("host", HOSTS)
def test_its_users_log_in_as_before_and_keep_what_is_changed(site: Site, host: str) -> None:
    words = (site.places[host].reading[0], "--table", "ejabberd", "--host", host)
    listed = manage(*words, "listusers").stdout.splitlines()
    assert sorted(listed) == sorted(f"{user}@{host}" for user in USERS)
    with serving(*words, "--write") as program:
        for user in USERS:
            accepted = {secret for secret in USERS.values() if program.ask("auth", user, host, secret) == "yes"}
            assert accepted == {USERS[user]} == {s for s in USERS.values() if site.check(user, host, s)}
        assert program.ask("auth", "alice", "other.example", right("alice")) == "no"
        assert program.ask("isuser", "alice", "other.example") == "no"
        assert program.ask("tryregister", "dora", host, right("dora")) == "yes"
        assert site.check("dora", host, right("dora"))
        assert not site.check("dora", host, right("alice"))
        for user, before in (("dora", right("dora")), ("bob", CANARY)):
            assert program.ask("setpass", user, host, NEW) == "yes"
            assert site.check(user, host, NEW)
            assert not site.check(user, host, before)
            assert program.ask("auth", user, host, NEW) == "yes"
        assert program.ask("removeuser", "dora", host) == "yes"
        assert not site.check("dora", host, NEW)
