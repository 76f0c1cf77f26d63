"""Nobody is taken for somebody else, whatever a database thinks of case, accents, spaces, and quotes."""

import random
from collections.abc import Callable, Iterator

import pytest
from support.canary import right
from support.databases.program import Program, serving
from support.databases.server import Server
from support.databases.tables import HOST, Place

from .conftest import new_place

pytestmark = pytest.mark.slow

LOOKALIKES = (
    *("Alice", "ALICE", "aLICE", "alicé", "alice\u0301", "\uff41lice", "\u0430lice", "ⓐlice", "ªlice"),
    *("alice ", " alice", "alice\u3000", "alice\u00a0", "al\u00adice", "al\u200dice", "al\u200bice", "alice\ufeff"),
    *("%", "_____", "alic_", "alice%", "a%", "alice\\", "\\alice", "alice'", "''alice", 'alice"', "`alice`", "*", "?"),
    *("alice' OR '1'='1", "alice' -- ", "alice'#", "alice\\' OR 1=1 -- ", "' UNION SELECT 'x', 'y' -- ", "alice/*"),
    *("$1", "%s", "%(user)s", "{user}", "${user}", "NULL", "alice" + " " * 300, "alice" + "x" * 3000),
)
"""For the names of one user: what a collation, LIKE, a cut, or a quote that is not one might take for `alice`."""

HOSTS = ("EXAMPLE.COM", "Example.com", "example.com ", "example.com.", "exámple.com", "example_com", "%", "")
HOSTS += ("example.com' OR '1'='1", "other.example", "example.com" + " " * 300)


def test_only_the_very_name_is_a_user(place: Place) -> None:
    program = place.writer()
    assert program.ask("tryregister", "alice", HOST, right("alice")) == "yes"
    strangers = [(name, HOST) for name in LOOKALIKES] + [("alice", host) for host in HOSTS]
    for name, host in [*strangers, ("Alice", "Example.com"), (HOST, "alice")]:
        assert program.ask("auth", name, host, right("alice")) == "no", (name, host)
    for name, host in strangers[::3]:
        assert program.ask("isuser", name, host) == "no", (name, host)
        assert program.ask("setpass", name, host, "another") == "no", (name, host)
        assert program.ask("removeuser", name, host) == "no", (name, host)
        assert program.ask("removeuser3", name, host, right("alice")) == "no", (name, host)
    assert program.ask("auth", "alice", HOST, right("alice")) == "yes"
    assert program.ask("auth", "alice", HOST, "another") == "no"


PAIRS = (
    *(("alice", other) for other in ("Alice", "alicé", "alice ", "al\u00adice", "\uff41lice")),
    *(("😀", "😁"), ("straße", "strasse"), ("\u0131", "i"), ("é", "e\u0301")),
    *(("a" * 191, "a" * 192), ("c" * 2000, "c" * 2001)),
)


def check_apart(program: Program, one: str, other: str) -> None:
    """Whatever becomes of an attempt to add a user like another: each has its own password, or none."""
    first = program.ask("tryregister", one, HOST, right("one"))
    second = program.ask("tryregister", other, HOST, right("other"))
    assert "ended" not in (first, second)
    assert program.ask("auth", one, HOST, right("one")) == first
    assert program.ask("auth", other, HOST, right("other")) == second
    assert program.ask("auth", one, HOST, right("other")) == "no"
    assert program.ask("auth", other, HOST, right("one")) == "no"
    assert program.ask("isuser", other, HOST) == second
    assert program.ask("removeuser", other, HOST) == second
    assert program.ask("auth", one, HOST, right("one")) == first
    program.ask("removeuser", one, HOST)


def test_names_that_a_database_takes_for_one(place: Place) -> None:
    for one, other in PAIRS:
        check_apart(place.writer(), one, other)


@pytest.fixture
def lenient(servers: Callable[[str], Server]) -> Iterator[Server]:
    """A MariaDB as old sites have it: what does not fit is cut, with a warning that nobody reads."""
    server = servers("mariadb")
    (before,) = server.sql("SELECT @@GLOBAL.sql_mode;", server.maintenance)[0]
    server.sql("SET GLOBAL sql_mode = '';", server.maintenance)
    yield server
    server.sql(f"SET GLOBAL sql_mode = '{before}';", server.maintenance)


@pytest.mark.parametrize("table", ["own", "ejabberd"])
def test_names_that_a_server_would_cut(lenient: Server, table: str) -> None:
    with serving(*new_place(lenient, table).writing) as program:
        for one, other in PAIRS[-2:]:
            check_apart(program, one, other)
            check_apart(program, other, one)


HOSTILE = (
    *("alice", "bob' OR '1'='1", "carol\\", "dave%", "_rin", 'frank";DROP TABLE users;--', "😀", "grüße", "%s", "--"),
    *("$1", "{0}", "NULL", "\\' OR 1=1 -- ", "h" * 150),
)


def test_hostile_names_are_names(place: Place) -> None:
    program = place.writer()
    for name in HOSTILE:
        assert program.ask("tryregister", name, HOST, f"{right('x')}{name}") == "yes", name
        assert program.ask("tryregister", name, HOST, "again") == "no", name
    for number, name in enumerate(HOSTILE):
        assert program.ask("auth", name, HOST, f"{right('x')}{name}") == "yes", name
        assert program.ask("auth", name, HOST, f"{right('x')}{HOSTILE[number - 1]}") == "no", name
    noise = random.Random(7).randbytes(8000).hex()  # which no compression makes fit into an index
    for question in (("tryregister", noise, HOST, "again"), ("tryregister", "ann", noise, "again")):
        assert program.ask(*question) != "ended"
    for name in HOSTILE[::2]:
        assert program.ask("removeuser", name, HOST) == "yes", name
    for number, name in enumerate(HOSTILE):
        assert program.ask("isuser", name, HOST) == ("yes" if number % 2 else "no"), name
