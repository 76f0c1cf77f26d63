"""One PostgreSQL and one MariaDB for all tests here, and a database of its own for each kind of table, or each test."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from support.canary import right
from support.databases.mariadb import MariaDB
from support.databases.postgresql import PostgreSQL
from support.databases.program import manage
from support.databases.server import Server
from support.databases.tables import HOST, NAMES, Place

SERVERS = ("postgresql", "mariadb")
FOREIGN = ["ejabberd-postgresql", "ejabberd_hosts-mariadb", "prosody-mariadb"]
PLACES = ["own-mariadb", *FOREIGN]
"""Each table once; mostly where more names are taken for the same."""

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Server]]:
    """Starts each kind when it is first asked for."""
    running: dict[str, Server] = {}

    def server(kind: str) -> Server:
        if kind not in running:
            running[kind] = {"postgresql": PostgreSQL, "mariadb": MariaDB}[kind]()
        return running[kind].start()

    yield server
    for one in running.values():
        one.remove()


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Iterator[Server]:
    """Each kind; it runs again afterwards, whatever the test did to it."""
    one = servers(request.param)
    yield one
    one.thaw()
    one.start()


def new_place(server: Server, table: str) -> Place:
    """An empty database with this table."""
    name = f"site{next(_numbers)}"
    server.create(name)
    return Place(server, name, table)


@pytest.fixture(scope="session")
def places(servers: Callable[[str], Server]) -> Iterator[Callable[[str], Place]]:
    """Each table in each database, made when it is first asked for; their programs serve all tests."""
    made: dict[str, Place] = {}

    def place(name: str) -> Place:
        if name not in made:
            table, kind = name.split("-")
            made[name] = new_place(servers(kind), table)
        return made[name]

    yield place
    for one in made.values():
        one.close()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, places: Callable[[str], Place]) -> Iterator[Place]:
    """Each table on each server, empty."""
    one = places(request.param)
    yield one
    one.clear()


@pytest.fixture(scope="session")
def with_alice(servers: Callable[[str], Server]) -> Callable[[str], Place]:
    """The program's own table on this kind of server, with one user; to be copied."""
    made: dict[str, Place] = {}

    def place(kind: str) -> Place:
        if kind not in made:
            made[kind] = new_place(servers(kind), "own")
            done = manage(*made[kind].writing, "adduser", f"alice@{HOST}", typed=f"{right('alice')}\n")
            assert done.returncode == 0, done.stderr
        return made[kind]

    return place


@pytest.fixture
def alice(server: Server, with_alice: Callable[[str], Place]) -> Place:
    """A database of this test's own, in which she is a user."""
    name = f"site{next(_numbers)}"
    server.copy(with_alice(server.kind).database, name, NAMES["own"])
    return Place(server, name, "own", made=True)
