"""What is tried again on a database's connection, what is not, and what is said about it."""

import sqlite3
import struct
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import canary
from support.clock import Clock
from support.components import extra

extra("sql", "sqlalchemy")

import sqlalchemy as sa  # noqa: E402
from sqlalchemy import exc  # noqa: E402

from bridge.programs import sql, sqlconnection, sqlurl  # noqa: E402
from bridge.programs.sqlconnection import Connection, describe  # noqa: E402
from bridge.programs.sqlurl import address  # noqa: E402
from bridge.programs.users import BrokenUser, Unavailable  # noqa: E402

SECRET = canary.CANARY


class OfMariaDB(Exception):
    """args: number and text."""

    sqlstate = "HY000"


class OfPostgreSQL(Exception):
    """args: text."""

    def __init__(self, sqlstate: str, text: str = SECRET) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


def lost() -> exc.DBAPIError:
    return exc.OperationalError("SELECT 1", {}, OfMariaDB(2013, SECRET), connection_invalidated=True)


def failing(error: exc.SQLAlchemyError, times: int) -> tuple[list[int], Callable[[sa.Connection], str]]:
    """What fails so many times, and a list of its attempts."""
    attempts: list[int] = []

    def work(connection: sa.Connection) -> str:
        attempts.append(len(attempts))
        if len(attempts) <= times:
            raise error
        return "done"

    return attempts, work


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    path = tmp_path / "some.db"
    sqlite3.connect(path).close()
    return Connection(address(f"sqlite:///{path}"), lambda _: None)


@pytest.fixture
def reused(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """It was used before and is kept, as that to a server is."""
    where = connection._where
    monkeypatch.setattr(connection, "_where", where._replace(system="mysql"))
    assert connection.read(lambda _: "used") == "used"
    return connection


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that a connection and its driver see: it goes on while they sleep, or when a test says so."""
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds

    for module in (sqlconnection, sqlurl):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock, sleep=sleep))
    return clock


CONFLICTS = [
    exc.IntegrityError("INSERT", {}, OfMariaDB(1062, SECRET)),
    exc.OperationalError("UPDATE", {}, OfMariaDB(1213, SECRET)),
    exc.OperationalError("UPDATE", {}, OfPostgreSQL("40001")),
]


def test_a_read_on_a_lost_connection_is_tried_once_more(reused: Connection) -> None:
    attempts, work = failing(lost(), 1)
    assert reused.read(work) == "done"
    assert len(attempts) == 2


def test_but_not_twice(reused: Connection) -> None:
    attempts, work = failing(lost(), 9)
    with pytest.raises(Unavailable):
        reused.read(work)
    assert len(attempts) == 2


def test_nor_on_a_new_connection(connection: Connection) -> None:
    attempts, work = failing(lost(), 1)
    with pytest.raises(Unavailable):
        connection.read(work)
    assert len(attempts) == 1


def test_a_write_that_was_not_committed_is_tried_once_more(reused: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sqlconnection._BEGIN, "mysql", "BEGIN")
    reused.read(lambda connection: connection.exec_driver_sql("CREATE TABLE t (x)"))
    attempts, work = failing(lost(), 1)

    def insert(connection: sa.Connection) -> None:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        work(connection)

    reused.write(insert)
    assert len(attempts) == 2
    assert reused.read(lambda connection: connection.exec_driver_sql("SELECT x FROM t").all()) == [(1,)]
    reused.close()


def test_a_write_whose_commit_may_be_done_is_not_repeated(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts, work = failing(lost(), 0)
    real = sa.Connection.exec_driver_sql

    def losing(self: sa.Connection, statement: str, *rest: object) -> object:
        if statement == "COMMIT":
            raise lost()
        return real(self, statement, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sa.Connection, "exec_driver_sql", losing)
    with pytest.raises(Unavailable):
        connection.write(work)
    assert len(attempts) == 1


@pytest.mark.parametrize("error", CONFLICTS, ids=lambda error: type(error).__name__)
def test_who_was_second_tries_again(connection: Connection, error: exc.DBAPIError) -> None:
    attempts, work = failing(error, 1)
    assert connection.write(work) == "done"
    assert len(attempts) == 2


def test_who_is_second_for_a_second_is_not_given_up(connection: Connection, clock: Clock) -> None:
    began = clock.now

    def work(_: sa.Connection) -> str:
        if clock.now < began + 1:
            raise CONFLICTS[2]
        return "done"

    assert connection.write(work) == "done"


@pytest.mark.parametrize(
    ("error", "each", "seconds"),
    [(CONFLICTS[0], 0.0, 1.0), (CONFLICTS[2], 0.0, 3.5), (CONFLICTS[2], 0.8, 3.5)],
    ids=["in doubt", "quick", "slow"],
)
def test_but_in_time(connection: Connection, clock: Clock, error: exc.DBAPIError, each: float, seconds: float) -> None:
    """Though each attempt has waited for somebody's lock."""
    began = clock.now

    def work(_: sa.Connection) -> None:
        clock.now += each
        raise error

    with pytest.raises(Unavailable):
        connection.write(work)
    assert clock.now - began < seconds


@pytest.mark.parametrize(
    "error",
    [
        exc.DataError("INSERT", {}, OfMariaDB(1406, SECRET)),
        exc.OperationalError("INSERT", {}, OfPostgreSQL("54000")),
        exc.OperationalError("SELECT", {}, OfMariaDB(1267, SECRET)),
        exc.DataError("SELECT", {}, OfPostgreSQL("22P05")),
        exc.IntegrityError("INSERT", {}, OfPostgreSQL("23502")),
    ],
)
def test_a_name_without_a_place_is_its_users_trouble_only(connection: Connection, error: exc.DBAPIError) -> None:
    for run in (connection.read, connection.write):
        with pytest.raises(BrokenUser):
            run(failing(error, 9)[1])
    assert connection.read(lambda _: "done") == "done"


@pytest.mark.parametrize("why", [OfPostgreSQL("42501"), OfMariaDB(1142, SECRET)])
def test_no_right_to_write_is_a_no_and_no_right_to_read_is_not(connection: Connection, why: Exception) -> None:
    error = exc.OperationalError("SELECT FOR UPDATE", {}, why)
    with pytest.raises(BrokenUser):
        connection.write(failing(error, 9)[1])
    with pytest.raises(Unavailable) as raised:
        connection.read(failing(error, 9)[1])
    assert not isinstance(raised.value, BrokenUser)


@pytest.mark.parametrize("error", [sqlurl.BadURL("the file is gone"), struct.error(SECRET), IndexError(SECRET)])
@pytest.mark.parametrize("reading", [False, True])
def test_what_a_driver_cannot_do_is_no_wrong_password(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, error: Exception, reading: bool
) -> None:
    """As when a certificate is being replaced, or something else answers in place of the database."""

    def fail(*_: object) -> sa.Connection:
        raise error

    if not reading:
        monkeypatch.setattr(connection._engine, "connect", fail)
    with pytest.raises(Unavailable) as raised:
        connection.read(fail)
    assert not isinstance(raised.value, BrokenUser)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        exc.DataError(f"INSERT {SECRET}", {"x": SECRET}, OfMariaDB(1406, SECRET)),
        exc.OperationalError("SELECT", {}, OfPostgreSQL("57014")),
        exc.IntegrityError("INSERT", {}, sqlite3.IntegrityError(SECRET)),
        exc.InvalidRequestError(SECRET),
        exc.OperationalError(None, None, OfPostgreSQL("", f"cannot connect as {SECRET}\nor otherwise\x1b[1m")),  # type: ignore[arg-type]
    ],
)
def test_no_message_holds_a_value(connection: Connection, error: exc.SQLAlchemyError) -> None:
    assert SECRET not in describe(error, SECRET)
    assert len(describe(error).splitlines()) == 1
    assert "\x1b" not in describe(error)


def test_what_a_driver_says_of_connecting_is_told_and_bounded() -> None:
    error = exc.OperationalError(None, None, OfMariaDB(2003, "Can't connect to 'db' " + "x" * 10_000))  # type: ignore[arg-type]
    assert describe(error).startswith("OfMariaDB (2003): Can't connect to 'db' x")
    assert len(describe(error)) < sqlconnection._LONGEST + 100


def test_each_new_connection_is_prepared(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    sqlite3.connect(path).close()
    prepared: list[sa.Connection] = []
    connection = Connection(address(f"sqlite:///{path}"), prepared.append)
    connection.read(lambda _: None)
    connection.read(lambda _: None)
    assert len(prepared) == 2


def test_what_libpq_is_told() -> None:
    psycopg = pytest.importorskip("psycopg", exc_type=ImportError)
    with pytest.raises(Unavailable) as raised:
        Connection(address(f"postgresql://xmpp:{SECRET}@127.0.0.1:1/xmpp"), lambda _: None).read(lambda _: None)
    assert "refused" in str(raised.value)
    assert SECRET not in str(raised.value)
    assert psycopg.__version__


def test_a_server_that_stands_still_is_not_waited_for(clock: Clock) -> None:
    def endless() -> Generator[int, int, None]:
        while True:
            yield 1

    steps = sqlurl._bounded(endless(), TimeoutError())
    assert next(steps) == 1
    began = clock.now
    with pytest.raises(TimeoutError):
        while clock.now < began + 30:
            assert steps.send(0) == 1  # nothing is ready
            clock.now += 0.05
    assert clock.now - began < 4


def test_one_that_answers_has_its_answer_taken() -> None:
    def quick() -> Generator[int, int, str]:
        ready = yield 1
        return f"ready: {ready}"

    steps = sqlurl._bounded(quick(), TimeoutError())
    next(steps)
    with pytest.raises(StopIteration) as done:
        steps.send(2)
    assert done.value.value == "ready: 2"


@pytest.mark.parametrize("setting", ["nonsense=1", "read_timeout=x", "ssl_ca=/nowhere"])
def test_settings_that_pymysql_does_not_know(setting: str, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pymysql")
    assert sql.main([f"mysql://xmpp@127.0.0.1:1/xmpp?{setting}", "listusers"]) == 2
    assert "URL" in capfd.readouterr().err


@pytest.mark.parametrize("setting", ["ssl_verify_identity=true", "ssl_verify_cert=1", "ssl_disabled=false", "ssl=1"])
def test_settings_with_which_pymysql_forgets_the_certificate(setting: str, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pymysql")
    assert sql.main([f"mysql://xmpp@127.0.0.1:1/xmpp?ssl_ca=/etc/passwd&{setting}", "listusers"]) == 2
    assert "ssl_ca=FILE has the server's certificate and its name checked" in capfd.readouterr().err


def test_a_setting_of_tls_that_is_empty(capfd: pytest.CaptureFixture[str]) -> None:
    """Of a template with a variable that is not set: PyMySQL would do without."""
    pytest.importorskip("pymysql")
    for setting in ("ssl_ca=", "ssl_ca=&charset=utf8mb4"):
        assert sql.main([f"mysql://xmpp@127.0.0.1:1/xmpp?{setting}", "listusers"]) == 2
        assert "a setting of TLS is empty" in capfd.readouterr().err


def test_tls_can_be_switched_off(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pymysql")
    assert sql.main(["mysql://xmpp@127.0.0.1:1/xmpp?ssl_disabled=true", "listusers"]) == 2
    assert "cannot use the database" in capfd.readouterr().err


def test_a_host_that_is_no_name(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pymysql")
    assert sql.main(["mysql://xmpp@" + "x" * 100 + "/xmpp", "listusers"]) == 2
    assert "cannot be sent" in capfd.readouterr().err


@pytest.mark.parametrize("rest", ["?host=127.0.0.1", "", "/xmpp", ",b/xmpp"])
@pytest.mark.parametrize("password", [SECRET, "1234567", "12\u00b2"])
def test_a_password_without_a_host_is_taken_for_a_port(
    password: str, rest: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg", exc_type=ImportError)
    assert sql.main([f"postgresql://xmpp:{password}{rest}", "listusers"]) == 2
    said = capfd.readouterr().err
    assert "without @HOST" in said
    assert password not in said


def test_what_pymysql_is_told() -> None:
    pytest.importorskip("pymysql")
    with pytest.raises(Unavailable) as raised:
        Connection(address(f"mysql://xmpp:{SECRET}@127.0.0.1:1/xmpp"), lambda _: None).read(lambda _: None)
    assert "refused" in str(raised.value)
    assert SECRET not in str(raised.value)
