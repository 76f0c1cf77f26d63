"""A database that is stopped, frozen, locked, full, forbidden, or gone: never a "no" that is none, and nobody waits.

A program either answers rightly or ends, without a reply, so that its bridge says that nobody could be asked.
"""

import threading
from collections.abc import Iterator

import pytest
from support.canary import right
from support.databases.program import PROMPT, Program, eventually, serving
from support.databases.server import LOGIN, Failed, Server
from support.databases.tables import HOST, Place

pytestmark = pytest.mark.slow

ALICE = ("auth", "alice", HOST, right("alice"))
WRONG = ("auth", "alice", HOST, "wrong")
CHANGE = ("setpass", "alice", HOST, right("bob"))


@pytest.fixture
def program(alice: Place) -> Iterator[Program]:
    """One that has let her in."""
    with serving(*alice.reading) as one:
        assert one.ask(*ALICE) == "yes"
        yield one


def prompt(program: Program, *question: str) -> str:
    """The answer, before a bridge would give up."""
    return program.ask(*question, seconds=PROMPT)


# --- servers that go and come ----------------------------------------------------------------------------


def sessions_end(server: Server) -> None:
    """Have the server hang up on everybody."""
    if server.kind == "postgresql":
        server.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid != pg_backend_pid();",
            server.maintenance,
        )
    else:
        server.sql(f"KILL USER {LOGIN}@localhost;", server.maintenance)


def test_a_session_that_ended_between_two_questions(program: Program, server: Server) -> None:
    server.stop()
    server.start()
    assert prompt(program, *ALICE) == "yes"
    server.shut_down()
    server.start()
    assert prompt(program, *WRONG) == "no"
    sessions_end(server)
    assert prompt(program, "isuser", "alice", HOST) == "yes"
    sessions_end(server)
    if prompt(program, *CHANGE) == "yes":  # it may end, too: whether it was done is unknown
        assert prompt(program, "auth", "alice", HOST, right("bob")) == "yes"


def test_a_server_that_is_stopped(alice: Place, program: Program, server: Server) -> None:
    server.stop()
    assert prompt(program, *ALICE) == "ended"
    starting = Program(*alice.reading)
    assert prompt(starting, *ALICE) == "ended"
    assert starting.close()
    server.start()
    assert eventually(alice.reading, *ALICE) == "yes"


def test_a_server_that_stands_still(alice: Place, program: Program, server: Server) -> None:
    server.freeze()
    program.put(*WRONG)
    thaw = threading.Timer(0.5, server.thaw)
    thaw.start()
    assert program.answer(PROMPT) == "no"
    thaw.join()
    server.freeze()
    starting = Program(*alice.reading)
    program.put(*ALICE)
    starting.put(*WRONG)
    try:
        assert [program.answer(PROMPT), starting.answer(PROMPT)] == ["ended"] * 2
    finally:
        server.thaw()
        starting.close()


# --- locks -----------------------------------------------------------------------------------------------


def locked(place: Place, server: Server) -> str:
    table = place.name
    if server.kind == "postgresql":
        return f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;"
    return f"LOCK TABLES {table} WRITE;"


def test_a_table_that_somebody_else_has_locked(alice: Place, program: Program, server: Server) -> None:
    with serving(*alice.reading) as other, server.holding(locked(alice, server), alice.database):
        program.put(*ALICE)
        other.put(*CHANGE)
        assert [program.answer(PROMPT), other.answer(PROMPT)] == ["ended"] * 2
    assert eventually(alice.reading, *ALICE) == "yes"


def test_a_row_that_somebody_else_has_locked(alice: Place, program: Program, server: Server) -> None:
    statement = f"BEGIN; SELECT * FROM {alice.name} FOR UPDATE;"
    with server.holding(statement, alice.database):
        assert prompt(program, *ALICE) == "yes"
        assert prompt(program, *CHANGE) == "ended"


# --- refusals --------------------------------------------------------------------------------------------


def test_a_table_that_is_gone(alice: Place, program: Program) -> None:
    alice.sql(f"DROP TABLE {alice.name};")
    assert prompt(program, *ALICE) == "ended"
    starting = Program(*alice.reading)
    assert prompt(starting, "isuser", "alice", HOST) == "ended"
    assert starting.close()
    with pytest.raises(Failed):
        alice.rows()  # an empty one would refuse everybody


def forbid(place: Place, what: str) -> None:
    table = place.name
    if place.server.kind == "postgresql":
        place.sql(f"REVOKE {what} ON {table} FROM {LOGIN};")
    else:  # what is granted for the whole database cannot be taken for one table
        rest = "" if what == "ALL" else f"GRANT SELECT ON {place.database}.* TO {LOGIN}@localhost;"
        place.sql(f"REVOKE ALL ON {place.database}.* FROM {LOGIN}@localhost;{rest}")


def test_permission_denied(alice: Place) -> None:
    forbid(alice, "ALL")
    program = Program(*alice.reading)
    assert prompt(program, *WRONG) == "ended"
    assert program.close()


@pytest.mark.parametrize(
    "question", [ALICE, CHANGE, ("tryregister", "carol", HOST, "x"), ("removeuser", "alice", HOST)]
)
def test_permission_denied_meanwhile(alice: Place, program: Program, server: Server, question: tuple[str, ...]) -> None:
    """Who may not even look cannot say that a change is refused."""
    forbid(alice, "ALL")
    sessions_end(server)  # MariaDB lets those go on
    assert prompt(program, *question) == "ended"


CHANGES = (CHANGE, ("tryregister", "carol", HOST, right("carol")), ("removeuser", "alice", HOST))


def test_no_permission_to_change(alice: Place) -> None:
    forbid(alice, "INSERT, UPDATE, DELETE")
    with serving(*alice.reading) as program:
        for question in CHANGES:
            assert prompt(program, *question) == "no"  # which is true, and will be tomorrow
        assert prompt(program, *ALICE) == "yes"
        assert prompt(program, "isuser", "carol", HOST) == "no"


FULL = {
    "postgresql": """
        CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER full_one BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION is_full();
    """,
    "mariadb": "\n".join(
        f"CREATE TRIGGER full_{event} BEFORE {event} ON {{table}} FOR EACH ROW"
        f" SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full';"
        for event in ("INSERT", "UPDATE", "DELETE")
    ),
}
"""What a server says whose disk is full."""


def test_a_disk_that_is_full(alice: Place) -> None:
    alice.sql(FULL[alice.server.kind].format(table=alice.name))
    for question in CHANGES[:2]:
        with serving(*alice.reading) as program:
            assert prompt(program, *ALICE) == "yes"
            assert prompt(program, *question) == "ended"


@pytest.fixture
def read_only(alice: Place, server: Server) -> Iterator[Place]:
    if server.kind == "postgresql":
        server.sql(f"ALTER DATABASE {alice.database} SET default_transaction_read_only = on;", server.maintenance)
        yield alice
    else:
        server.sql("SET GLOBAL read_only = 1;", server.maintenance)
        yield alice
        server.sql("SET GLOBAL read_only = 0;", server.maintenance)


def test_a_server_that_is_read_only(read_only: Place) -> None:
    with serving(*read_only.reading) as program:
        assert prompt(program, *ALICE) == "yes"
        assert prompt(program, *WRONG) == "no"
        assert prompt(program, *CHANGE) == "ended"


def test_a_server_that_takes_no_more_sessions(alice: Place, server: Server) -> None:
    if server.kind == "postgresql":
        server.sql(f"ALTER ROLE {LOGIN} CONNECTION LIMIT 0;", server.maintenance)
    else:
        server.sql(f"ALTER USER {LOGIN}@localhost ACCOUNT LOCK;", server.maintenance)
    try:
        program = Program(*alice.reading)
        assert prompt(program, *ALICE) == "ended"
        assert program.close()
    finally:
        if server.kind == "postgresql":
            server.sql(f"ALTER ROLE {LOGIN} CONNECTION LIMIT -1;", server.maintenance)
        else:
            server.sql(f"ALTER USER {LOGIN}@localhost ACCOUNT UNLOCK;", server.maintenance)
