"""extauth-sql: the ejabberd authentication program for a shared database: PostgreSQL, MariaDB, MySQL, SQLite.

Its users are in a table of its own, in ejabberd's or in Prosody's.  How it talks is `bridge.programs.sqlite`'s matter.
"""

from __future__ import annotations

import getopt
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from bridge.programs.hashes import COST, WORK_MOST, Cost, Scheme, is_possible
from bridge.programs.names import NOT_IN_NAMES, Refused, clean, parse_name
from bridge.programs.sqlite import (
    FALSE,
    TRUE,
    Program,
    add_user,
    change_password,
    delete_user,
    list_users,
    read_frame,
    show,
)
from bridge.programs.sqlurl import PACKAGES, Address, BadURL, address, sqlite_path
from bridge.programs.users import Unavailable

if TYPE_CHECKING:
    from bridge.programs.sqlusers import SqlUsers, Ways

HELP = """\
usage: extauth-sql [OPTIONS] URL                     answer ejabberd's questions on stdin and stdout
       extauth-sql [OPTIONS] URL createtable         create its own table
       extauth-sql [OPTIONS] URL adduser USER@HOST   add a user, and create its own table if it is missing
       extauth-sql [OPTIONS] URL passwd USER@HOST    give a user a new password
       extauth-sql [OPTIONS] URL deluser USER@HOST   remove a user
       extauth-sql [OPTIONS] URL listusers [HOST]    list all users, or those of one host

An authentication program for ejabberd, or for Prosody behind extauth-bridge, as extauth-sqlite, with the
users in a database that any number of machines share.

URL  postgresql://USER@HOST/DATABASE   whatever libpq takes, several hosts and its PGPASSFILE included
     mysql://USER@HOST/DATABASE        or mariadb://
     sqlite:////PATH/OF/FILE

  --password-file FILE   its first line is the password. Everybody can see one that is in the URL
  --table own            a table of its own, extauth_users (this is the default)
  --table ejabberd       ejabberd's table users
  --table prosody        Prosody's table prosody
  --host HOST            serve this host only; needed if ejabberd's table does not name hosts
  --write                change the table of another server, too; without it, it is only read
  --format FORM          of new passwords there: plain, scram-sha-1, scram-sha-256 or scram-sha-512;
                         by default as the user's is, or most of that host
  --scrypt LN,R,P        cost of new hashes in its own table; by default 14,8,5, about 0.2 s

On a terminal the password of a user is prompted for, twice; otherwise it is one line of standard input.

exit status: 0  done
             1  the answer was no: the user exists already, or does not exist
             2  wrong usage, or the database cannot be used; one line on stderr says why

examples: extauth-sql --password-file /etc/extauth-bridge/db.password postgresql://xmpp@db.example.com/xmpp
          extauth-sql --password-file F mariadb://xmpp@db.example.com/xmpp adduser alice@example.com
"""

INSTALL = f"it needs {PACKAGES}: pip install 'extauth-bridge[sql]'"

FORMS: dict[str, Scheme | None] = {
    "plain": None,
    "scram-sha-1": Scheme("SHA-1", 10_000),
    "scram-sha-256": Scheme("SHA-256", 10_000),
    "scram-sha-512": Scheme("SHA-512", 10_000),
}

TABLES = ("own", "ejabberd", "prosody")


class Options(NamedTuple):
    """What was typed before and between the words."""

    password_file: str | None = None
    table: str = "own"
    host: str | None = None
    write: bool = False
    form: str | None = None
    cost: Cost = COST


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command `extauth-sql`.

    Args:
      arguments: those after the command's name; by default the process's.

    Returns:
      the exit status.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold passwords
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & {*words}:
        return show(HELP, complain)
    try:
        options, words = read_options(words)
        where = address(words[0], options.password_file)
        if where.exposed:
            complain("everybody on this machine can see the password in the URL: put it into a --password-file")
        return run(where, options, words[1:])
    except (Refused, BadURL, Unavailable) as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        return 130  # as a shell reports SIGINT
    except Exception as error:  # its text could hold a secret
        complain(f"internal error: {type(error).__name__}")
        return 2


def complain(message: str) -> None:
    with suppress(OSError):  # a closed stderr is no reason to stop
        os.write(2, f"extauth-sql: {message}\n".encode(errors="backslashreplace"))


def read_options(words: list[str]) -> tuple[Options, list[str]]:
    """Options and words.

    Raises:
      Refused: wrong usage.  What was typed is not shown: it could be a password.
    """
    names = ["password-file=", "table=", "host=", "write", "format=", "scrypt="]
    try:
        found, words = getopt.gnu_getopt(words, "", names)
    except getopt.GetoptError:
        raise Refused("an unknown option, or one without its value, see --help") from None
    given = dict(found)
    if not words:
        raise Refused("usage: [OPTIONS] URL [createtable|adduser|passwd|deluser|listusers], see --help")
    options = Options(
        given.get("--password-file"),
        given.get("--table", "own"),
        clean(given["--host"].lower(), "HOST", NOT_IN_NAMES) if "--host" in given else None,
        "--write" in given,
        given.get("--format"),
        read_cost(given["--scrypt"]) if "--scrypt" in given else COST,
    )
    if options.table not in TABLES or options.form not in (None, *FORMS):
        raise Refused(f"--table is one of {', '.join(TABLES)}, --format one of {', '.join(FORMS)}")
    return options, words


def read_cost(text: str) -> Cost:
    """The cost that LN,R,P says.

    Raises:
      Refused: it is none, impossible, or too high.
    """
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and 0 < int(part) < 64 for part in parts):
        raise Refused("--scrypt takes LN,R,P: three numbers, as in 14,8,5")
    ln, r, p = map(int, parts)
    cost = Cost(1 << ln, r, p)
    if not is_possible(cost):
        raise Refused("--scrypt takes an LN below 16 * R")
    if cost.work > WORK_MOST * COST.work:
        raise Refused(f"--scrypt is more than {WORK_MOST} times the default: a login would take too long")
    return cost


def run(where: Address, options: Options, words: list[str]) -> int:
    """Serve, or run a command.

    Raises:
      Refused: wrong usage.
      BadURL: the URL cannot be used.
      Unavailable: the database cannot be used.
    """
    try:
        import sqlalchemy

        if int(sqlalchemy.__version__.partition(".")[0]) < 2:
            raise ImportError
        from bridge.programs.sqlusers import SqlUsers

        users = SqlUsers(where, ways(options))
    except ImportError:
        raise Refused(INSTALL) from None
    with users:
        return manage(users, where, options, words) if words else serve(users)


def ways(options: Options) -> Ways:
    """How users are kept, from what was typed.

    Raises:
      Refused: the options do not go together.
    """
    from bridge.programs.sqlrows import Clear
    from bridge.programs.sqltables import Ejabberd, Own, Prosody
    from bridge.programs.sqlusers import Ways

    if options.table == "own":
        if options.form is not None:
            raise Refused("--format is for other servers' tables")
        return Ways(Own(), options.host, True, options.cost)
    if (options.table, options.form) == ("prosody", "scram-sha-512"):
        raise Refused("Prosody does not know SCRAM-SHA-512")
    form = None if options.form is None else FORMS[options.form] or Clear()
    table = Prosody() if options.table == "prosody" else Ejabberd(options.host)
    return Ways(table, options.host, options.write, options.cost, form)


# --- The program ----------------------------------------------------------------------------------------------


def serve(users: SqlUsers) -> int:
    """Answer frames until the input ends, or the database cannot be used.

    Returns:
      the exit status: 1 if the input ended inside a frame.

    Raises:
      Unavailable: the database cannot be used; there is no reply then, as "no" would mean "wrong password".
    """
    if os.isatty(0):
        raise Refused("its questions are binary, so start it from extauth-bridge, or see --help")
    program = Program(users, complain)
    try:
        os.fstat(0)  # before the connection can get its number
        users.exists("", "")  # now, as nobody should wait for a database that cannot answer
        if trouble := users.look():
            complain(f"cannot look which hashes there are, so the time of an answer may tell who is a user: {trouble}")
        while (body := read_frame()) is not None:
            os.write(1, TRUE if program.answer(body) else FALSE)
            users.look()  # after the reply: it may take its time
    except BrokenPipeError:
        return 0  # nobody reads the answer: a normal end
    except (EOFError, OSError) as error:
        complain(str(error))
        return 1
    return 0


# --- The administrator's side -----------------------------------------------------------------------------------


def manage(users: SqlUsers, where: Address, options: Options, words: list[str]) -> int:
    """Run an administrator's command.

    Returns:
      the exit status.

    Raises:
      Refused: wrong usage.
      Unavailable: the database cannot be used.
    """
    import signal  # late: serving starts quicker without it

    # SIGTERM raises KeyboardInterrupt, so that a password prompt turns the terminal's echo back on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    own = options.table == "own"
    if not own and words[0] in ("adduser", "passwd", "deluser") and not options.write:
        raise Refused("this table belongs to another server: --write allows to change it")
    match words:
        case ["createtable"] if own:
            return create(users, where)
        case ["adduser", name]:
            user, host = parse_name(name)
            if own:
                create(users, where)
            return add_user(users, user, host, complain)
        case ["passwd", name]:
            return change_password(users, *parse_name(name), complain)
        case ["deluser", name]:
            return delete_user(users, *parse_name(name), complain)
        case ["listusers"]:
            return list_users(users, None, complain)
        case ["listusers", host]:
            return list_users(users, clean(host.lower(), "HOST", NOT_IN_NAMES), complain)
        case _:  # do not show what was typed: it could be a password
            raise Refused("usage: URL [createtable | adduser|passwd|deluser USER@HOST | listusers [HOST]], see --help")


def create(users: SqlUsers, where: Address) -> int:
    """Create the table, and SQLite's file, which then nobody else can read."""
    if where.system == "sqlite":
        try:
            os.close(os.open(sqlite_path(where), os.O_WRONLY | os.O_CREAT, 0o600))
        except OSError as error:
            raise Unavailable(f"cannot create the database: {error.strerror}") from None
    users.create()
    return 0


if __name__ == "__main__":
    sys.exit(main())
