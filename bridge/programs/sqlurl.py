"""Where a shared database is: its URL, and the password that should not be in it.

The rules:

- PostgreSQL's URL goes to libpq as it is, which knows several hosts, services, certificates and PGPASSFILE.
- No message of ours holds a part of the URL: with a character that had to be percent-encoded, any part may be of the
  password.  So what a driver would take apart in another way than we do is refused.
- Whatever waits for a server has an end: all together stay below the 4 s after which a bridge gives up on a program.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import unquote

if TYPE_CHECKING:
    import psycopg
    from psycopg.abc import RV, PQGen

CONNECT = 2
"""Seconds for a new connection; libpq takes no less.  Each of several hosts has as long."""

STATEMENT = 1.2
"""Seconds for one statement, which the server itself ends then; for as long data may stay unacknowledged, too."""

_LOCK = 1
"""Seconds to wait for somebody else's lock."""

_MARGIN = 0.2
"""Seconds by which we wait longer than the server: its own message tells more."""

SYSTEMS = {"postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
"""By what a URL begins with; the driver may follow (`postgresql+psycopg`), but only the one that is used."""

_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql"}

PACKAGES = "sqlalchemy>=2, and psycopg>=3.2 with libpq5 for PostgreSQL, pymysql>=1.2 for MariaDB and MySQL"


class BadURL(Exception):
    """The URL or the password's file cannot be used.  str() is one line, safe to show."""


class Address(NamedTuple):
    """Where the database is.

    Attributes:
      system: "postgresql", "mysql" (MariaDB too) or "sqlite".
      url: for the driver, with no password if it came from a file.
      password: None if there is none, or the driver finds it by itself.
      exposed: the URL holds a password.
    """

    system: str
    url: str
    password: str | None
    exposed: bool

    def __repr__(self) -> str:
        return f"Address({self.system})"


def address(url: str, password_file: str | None = None) -> Address:
    """What a URL says.

    Raises:
      BadURL: it cannot be used.
    """
    scheme, separator, rest = url.partition("://")
    name, _, driver = scheme.partition("+")
    if not separator or name not in {*SYSTEMS, "sqlite"}:
        raise BadURL("a URL is expected: postgresql://, mysql://, mariadb:// or sqlite:///")
    if name == "sqlite":
        return Address(name, url, None, False)
    if any("\ud800" <= char <= "\udfff" for char in url):
        raise BadURL("the URL is not UTF-8")
    system = SYSTEMS[name]
    if driver not in ("", _DRIVERS[system]):
        raise BadURL(f"the driver for this database is {_DRIVERS[system]}: leave it out of the URL")
    user = re.match(r"[^/?#@]*@", rest)
    if rest.count("@") > bool(user) or "#" in rest:  # one behind a ? may end a password with a ? in it
        raise BadURL("a part of the URL has to be percent-encoded: @ as %40, / as %2F, : as %3A, # as %23, ? as %3F")
    inline = re.search(r"[?&](?:password|passwd)=([^&]*)", rest)
    own = user[0][:-1].partition(":")[2] if user else ""
    known = own or (inline[1] if inline else "")
    if password_file is not None:
        return Address(system, f"{system}://{rest}", read_password(password_file), bool(known))
    return Address(system, f"{system}://{rest}", unquote(known) or None, bool(known))


def read_password(path: str) -> str:
    """The first line of a file.

    Raises:
      BadURL: it cannot be read, or others can read it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            password = file.readline().rstrip("\r\n")
    except OSError as error:
        raise BadURL(f"cannot read the password's file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadURL("the password's file is not UTF-8") from None
    if mode & stat.S_IRWXO:
        raise BadURL("everybody may read the password's file: chmod o= FILE")
    if not password:
        raise BadURL("the password's file is empty")
    return password


def connector(where: Address) -> Callable[[], Any]:
    """What opens a connection, in autocommit mode, and raises the driver's errors.

    Raises:
      BadURL: the driver does not understand the URL.
      ImportError: the driver is not installed.
    """
    return {"postgresql": _postgresql, "mysql": _mysql, "sqlite": _sqlite}[where.system](where)


_SESSION = "; ".join(
    f"SET {name} = {seconds * 1000:.0f}"
    for name, seconds in (
        ("statement_timeout", STATEMENT),
        ("lock_timeout", _LOCK),
        ("idle_in_transaction_session_timeout", STATEMENT * 2),
    )
)
"""PostgreSQL's limits.  By statements, not by `options`, which poolers refuse; in one, as each is a round trip."""


def _postgresql(where: Address) -> Callable[[], Any]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        given = conninfo_to_dict(where.url)
    except psycopg.Error:
        raise BadURL("libpq does not understand the URL") from None
    if not all(map(_is_port, str(given.get("port", "")).split(","))):
        raise BadURL("a port in the URL is none: is it the password, as in USER:PASSWORD without @HOST?")
    settings: dict[str, Any] = {
        "connect_timeout": CONNECT,
        "tcp_user_timeout": int(STATEMENT * 1000),  # a server that vanished does not acknowledge
        "keepalives_idle": 10,
        "application_name": "extauth-sql",
        **given,
        "client_encoding": "utf8",
    }
    if where.password is not None:
        settings["password"] = where.password
    opening = _impatient()

    def connect() -> Any:
        # Prepared statements would outlive a pooler's connection, and gain nothing for such questions.
        connection = opening.connect(**settings, autocommit=True, prepare_threshold=None)
        connection.execute(_SESSION.encode())
        return connection

    return connect


def _is_port(text: str) -> bool:
    """Whether libpq takes it; what it does not take it quotes."""
    return not text or (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16)


def _impatient() -> type[psycopg.Connection[Any]]:
    """A connection that does not wait for ever for a server that stands still, whose kernel acknowledges everything."""
    import psycopg

    class NoAnswerInTime(psycopg.OperationalError):
        pass

    class Impatient(psycopg.Connection[Any]):
        def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
            del timeout  # nothing here gives one, and psycopg 3.2 has none
            return super().wait(_bounded(gen, NoAnswerInTime()), interval)

    return Impatient


_Result = TypeVar("_Result")


def _bounded(steps: Generator[Any, Any, _Result], late: Exception) -> Generator[Any, Any, _Result]:
    """The steps of a query, which are sent what is ready, or nothing now and then; raises `late` in the end."""
    end = time.monotonic() + STATEMENT + _MARGIN
    ready: Any = None
    while True:
        try:
            wanted = steps.send(ready)
        except StopIteration as done:
            result: _Result = done.value
            return result
        ready = yield wanted
        if not ready and time.monotonic() > end:
            raise late


_NOT_IN_URLS = {"ssl", "ssl_disabled", "ssl_verify_cert", "ssl_verify_identity"}
"""Settings of PyMySQL with which it forgets `ssl_ca`, as SQLAlchemy hands that over in another way."""


def _mysql(where: Address) -> Callable[[], Any]:
    from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
    from sqlalchemy.engine import make_url

    driver: Any = MySQLDialect_pymysql.import_dbapi()
    try:
        url = make_url(where.url)
        _, given = MySQLDialect_pymysql().create_connect_args(url)
    except Exception:  # what it says may hold a part of the URL
        raise BadURL("the URL cannot be understood") from None
    if re.search(r"[?&]ssl_\w+=(&|$)", where.url):
        raise BadURL("a setting of TLS is empty")
    asked = {name for name in url.query if name.startswith("ssl")}
    is_off = asked == {"ssl_disabled"} and url.query["ssl_disabled"] == "true"
    if _NOT_IN_URLS & asked and not is_off:
        raise BadURL(
            "ssl_ca=FILE has the server's certificate and its name checked: no other setting is needed for that"
        )
    settings: dict[str, Any] = {
        "connect_timeout": CONNECT,
        "read_timeout": STATEMENT + _MARGIN,
        "write_timeout": STATEMENT,
        # MariaDB reads /*M! */, MySQL the other one.
        "init_command": f"SET SESSION /*M!100101 max_statement_time = {STATEMENT}, */"
        f" /*!50708 max_execution_time = {STATEMENT * 1000:.0f}, */"
        f" innodb_lock_wait_timeout = {_LOCK}, lock_wait_timeout = {_LOCK}",
        **given,
        "charset": "utf8mb4",
        "sql_mode": "TRADITIONAL",  # what does not fit is refused, not cut to somebody else's name
        "autocommit": True,
    }
    if where.password is not None:
        settings["password"] = where.password.encode()  # of text PyMySQL takes Latin-1 only
    return lambda: _securely(driver, settings)


def _securely(driver: Any, settings: dict[str, Any]) -> Any:
    """A connection, with TLS if that is among the settings."""
    try:
        connection = driver.connect(**settings)
    except UnicodeError:
        raise BadURL("the URL holds characters that cannot be sent") from None
    except (TypeError, ValueError):
        raise BadURL("the URL has a setting that PyMySQL does not know") from None
    except OSError as error:
        raise BadURL(f"cannot use a file that the URL names: {error.strerror}") from None
    if "ssl" in settings and not connection._secure:  # PyMySQL before 1.2 goes on if the server offers no TLS
        connection.close()
        raise driver.OperationalError(2026, "the server offers no TLS")
    return connection


def _sqlite(where: Address) -> Callable[[], Any]:
    import sqlite3

    path = sqlite_path(where)
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    # mode=rw: SQLite would otherwise create a missing file, and refuse everybody.
    return lambda: sqlite3.connect(f"file:{quoted}?mode=rw", uri=True, timeout=_LOCK, isolation_level=None)


def sqlite_path(where: Address) -> str:
    """The file of an SQLite database.

    Raises:
      BadURL: the URL names none.
    """
    path = where.url.removeprefix("sqlite:///")
    if path == where.url or path in ("", ":memory:"):
        raise BadURL("a file is expected: sqlite:////var/lib/users.db")
    return os.path.abspath(path)
