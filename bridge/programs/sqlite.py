"""extauth-sqlite: an ejabberd authentication program that keeps its users in an SQLite file.

It is small on purpose: an example to copy.  What an ejabberd program must get right:

- Standard input and output carry binary frames and nothing else: a 2-byte big-endian length, then that many
  *bytes* (not characters) of `command:user:host[:secret]`.  The secret is the rest, colons included.
- A frame may arrive in pieces, so read until it is complete.  Read no further: what follows is the next question.
- Every frame gets exactly one reply, in one write.  In doubt it is *false*: a program that stays silent or writes
  something else stops everybody's login.
- *False* means "wrong password", so it is no answer while the database cannot be used at all: then exit, without a
  reply.  The bridge tells its client that nobody could be asked, and starts the program again.
- Errors go to standard error, one line each, and never hold a frame or a secret.
- Exit at end of input.
"""

import os
import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol, Self

from bridge.programs.names import NOT_IN_NAMES, Refused, clean, has_controls, parse_name
from bridge.programs.users import BrokenUser, Unavailable, Users

TRUE = b"\x00\x02\x00\x01"
FALSE = b"\x00\x02\x00\x00"

FIELDS = {"auth": 4, "isuser": 3, "setpass": 4, "tryregister": 4, "removeuser": 3, "removeuser3": 4}
"""The number of fields of each command, itself included."""

HELP = """\
usage: extauth-sqlite DATABASE                     answer ejabberd's questions on stdin and stdout
       extauth-sqlite DATABASE adduser USER@HOST   add a user
       extauth-sqlite DATABASE passwd USER@HOST    give a user a new password
       extauth-sqlite DATABASE deluser USER@HOST   remove a user
       extauth-sqlite DATABASE listusers [HOST]    list all users, or those of one host
       extauth-sqlite DATABASE import --from prosody|ejabberd|csv [OPTIONS] PATH
       extauth-sqlite DATABASE export --to prosody|csv [OPTIONS] PATH

An authentication program for ejabberd, or for Prosody behind extauth-bridge. It keeps users in an
SQLite file, with salted scrypt hashes of their passwords. Any number of processes may serve and change
one file at once.

DATABASE is created by adduser or import, with mode 0600; if root creates it, it belongs to the owner of
its directory. The account that serves it must be able to write to that directory.
A plain copy of the file is a backup.

import takes over the users of another server, with their passwords' hashes (scrypt and SCRAM) as they
are; passwords that are not hashed are hashed now, which takes 0.2 s each on one CPU. All of it is
stored at once, or nothing. Users that exist already are kept, unless --replace is given. PATH is:
  prosody   its data directory, such as /var/lib/prosody (accounts/*.dat)
  ejabberd  a file of `ejabberdctl export_piefxis`, or a dump of the SQL table `users`
  csv       a file whose first line names its columns: user, host (or jid), and password or hash
export writes a new file or directory, which import reads; prosody: only users with SCRAM hashes.
--host says the host of those whose host is not in PATH, and leaves out those of any other.
--dry-run changes nothing, and says what would become of whom; --disabled takes accounts that Prosody has
marked as disabled, too; --json prints what was not taken, and why, for a script.

On a terminal the password is prompted for, twice; otherwise it is one line of standard input. It is never
an argument, where other accounts could see it. USER and HOST are converted to lower case, as in XMPP.

exit status: 0  done
             1  the answer was no: the user exists already, or does not exist;
                some users could not be imported or exported, all others were
             2  nothing was done: wrong usage, or a file cannot be used; one line on stderr says why

examples: extauth-sqlite /var/lib/extauth-bridge/users.db adduser alice@example.com
          extauth-sqlite /var/lib/extauth-bridge/users.db passwd alice@example.com < new-password
          extauth-sqlite /var/lib/extauth-bridge/users.db import --from prosody /var/lib/prosody
"""


EXAMPLE = """
  program = ["extauth-sqlite", "DATABASE"]            # in auth.toml
  extauth-sqlite DATABASE adduser alice@example.com   # by hand; see --help
  extauth-bridge ask auth alice@example.com -- extauth-sqlite DATABASE"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command `extauth-sqlite`.

    Args:
      arguments: those after the command's name; by default the process's.

    Returns:
      the exit status.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold passwords
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if {"-h", "--help"} & set(words):
            return show(HELP)
        if len(words) == 1 and not words[0].startswith("-"):
            return serve(words[0])
        return manage(words)
    except KeyboardInterrupt:
        return 130  # as a shell reports SIGINT


def complain(message: str) -> None:
    with suppress(OSError):  # a closed stderr is no reason to stop
        os.write(2, f"extauth-sqlite: {message}\n".encode(errors="backslashreplace"))


# --- The program: frames on stdin, replies on stdout --------------------------------------------------------


def serve(database: str) -> int:
    """Answer frames until the input ends, or the database cannot be used.

    Returns:
      the exit status: 1 if the input ended inside a frame, 2 if the database cannot be used.
    """
    if os.isatty(0):
        complain(f"its questions are binary, so start it from extauth-bridge:{EXAMPLE}")
        return 2
    with Users(database, create=False) as users:
        program = Program(users)
        try:
            os.fstat(0)  # before the database can get its number
            users.exists("", "")  # now, as nobody should wait for one that cannot answer
            while (body := read_frame()) is not None:
                os.write(1, TRUE if program.answer(body) else FALSE)
        except BrokenPipeError:
            return 0  # nobody reads the answer: a normal end
        except Unavailable as error:
            new = "" if os.path.exists(database) else "; `extauth-sqlite DATABASE adduser USER@HOST` creates it"
            complain(f"{error}{new}")
            return 2
        except (EOFError, OSError) as error:
            complain(str(error))
            return 1
    return 0


def read_frame() -> bytes | None:
    """The body of the next frame; None at end of input.

    Raises:
      EOFError: the input ended inside a frame.
    """
    head = read_up_to(2)
    if not head:
        return None
    size = int.from_bytes(head, "big")
    body = read_up_to(size) if len(head) == 2 else b""
    if len(head) < 2 or len(body) < size:
        raise EOFError("the input ended in the middle of a frame")
    return body


def read_up_to(size: int) -> bytes:
    """`size` bytes of standard input, in as many reads as it takes; fewer only if the input ends first."""
    data = b""
    while len(data) < size and (more := os.read(0, size - len(data))):
        data += more
    return data


class Store(Protocol):
    """What keeps the users: here a `Users`.  In doubt it raises BrokenUser or Unavailable."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def exists(self, user: str, host: str) -> bool: ...
    def check(self, user: str, host: str, secret: str) -> bool: ...
    def add(self, user: str, host: str, secret: str) -> bool: ...
    def change(self, user: str, host: str, secret: str) -> bool: ...
    def remove(self, user: str, host: str) -> bool: ...
    def remove_checked(self, user: str, host: str, secret: str) -> bool: ...
    def names(self, host: str | None = None) -> list[tuple[str, str]]: ...


class Program:
    """Answers questions from the database, and reports a problem once, not for every question."""

    def __init__(self, users: Store, tell: Callable[[str], None] = complain) -> None:
        self._users = users
        self._tell = tell
        self._trouble = ""

    def answer(self, body: bytes) -> bool:
        """The reply to a frame's body; False if it is not a question or cannot be answered.

        Raises:
          Unavailable: the database cannot be used, by anybody.
        """
        question = parse(body)
        if question is None:
            return False
        try:
            verdict = decide(self._users, question)
        except BrokenUser as error:
            self._note(str(error))
            return False
        except Unavailable:
            raise
        except Exception as error:  # whatever it is: no answer would be worse.  Its text could hold a secret.
            self._note(f"internal error: {type(error).__name__}")
            return False
        self._note("")
        return verdict

    def _note(self, trouble: str) -> None:
        if trouble != self._trouble:
            if trouble:
                self._tell(trouble)
            self._trouble = trouble


def parse(body: bytes) -> list[str] | None:
    """The fields of `command:user:host[:secret]`, none of them empty; None if `body` is anything else."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    fields = text.split(":", 3)
    if FIELDS.get(fields[0]) != len(fields) or "" in fields or has_controls(text):
        return None
    return fields


def decide(users: Store, question: list[str]) -> bool:
    match question:
        case ["auth", user, host, secret]:
            return users.check(user, host, secret)
        case ["isuser", user, host]:
            return users.exists(user, host)
        case ["setpass", user, host, secret]:
            return users.change(user, host, secret)
        case ["tryregister", user, host, secret]:
            return users.add(user, host, secret)
        case ["removeuser", user, host]:
            return users.remove(user, host)
        case ["removeuser3", user, host, secret]:
            return users.remove_checked(user, host, secret)
        case _:
            return False


# --- The administrator's side -------------------------------------------------------------------------------


def manage(words: Sequence[str]) -> int:
    """Run an administrator's command.

    Returns:
      the exit status.
    """
    import signal  # late: serving starts quicker without it

    # SIGTERM raises KeyboardInterrupt, so that a password prompt turns the terminal's echo back on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        match words:
            case [database, "adduser", name]:
                return add_user(Users(database, tell=complain), *parse_name(name))
            case [database, "passwd", name]:
                return change_password(Users(database, create=False, tell=complain), *parse_name(name))
            case [database, "deluser", name]:
                return delete_user(Users(database, create=False, tell=complain), *parse_name(name))
            case [database, "listusers"]:
                return list_users(Users(database, create=False), None)
            case [database, "listusers", host]:
                return list_users(Users(database, create=False), clean(host.lower(), "HOST", NOT_IN_NAMES))
            case [database, "import" | "export" as what, *options]:
                from bridge.programs import transfer  # late: serving starts quicker without it

                move = transfer.bring if what == "import" else transfer.export
                return move(database, options, complain, show)
            case _:  # do not show what was typed: it could be a password
                usage = "DATABASE [adduser|passwd|deluser USER@HOST | listusers [HOST] | import ... | export ...]"
                raise Refused(f"usage: {usage}, see --help")
    except (Refused, Unavailable) as error:
        complain(str(error))
        return 2


def add_user(store: Store, user: str, host: str, tell: Callable[[str], None] = complain) -> int:
    with store as users:
        if not users.exists(user, host) and users.add(user, host, ask_password(f"{user}@{host}")):
            return 0
    tell(f"{user}@{host} exists already")
    return 1


def change_password(store: Store, user: str, host: str, tell: Callable[[str], None] = complain) -> int:
    with store as users:
        if users.exists(user, host) and users.change(user, host, ask_password(f"{user}@{host}")):
            return 0
    tell(f"{user}@{host} does not exist")
    return 1


def delete_user(store: Store, user: str, host: str, tell: Callable[[str], None] = complain) -> int:
    with store as users:
        if users.remove(user, host):
            return 0
    tell(f"{user}@{host} does not exist")
    return 1


def list_users(store: Store, host: str | None, tell: Callable[[str], None] = complain) -> int:
    with store as users:
        names = users.names(host)
    return show("".join(f"{user}@{host}\n" for user, host in names), tell)


def show(text: str, tell: Callable[[str], None] = complain) -> int:
    """Write to standard output, in UTF-8 like XMPP.  A reader that stops early is not an error.

    Returns:
      the exit status.
    """
    try:
        with suppress(BrokenPipeError), open(1, "wb", closefd=False) as output:
            output.write(text.encode())
    except OSError as error:
        tell(f"cannot write: {error.strerror}")
        return 2
    return 0


def ask_password(name: str) -> str:
    """A new password: prompted for twice on a terminal, else one line of standard input.

    Raises:
      Refused: there is none, or it is not acceptable.
    """
    try:
        password = prompt_twice(name) if os.isatty(0) else read_line()
    except EOFError:
        raise Refused("no password given") from None
    except UnicodeDecodeError:
        raise Refused("the password is not valid UTF-8") from None
    except OSError as error:
        raise Refused(f"cannot read the password: {error.strerror}") from None
    return clean(password, "the password")


def prompt_twice(name: str) -> str:
    from getpass import getpass  # late: serving starts quicker without it

    password = getpass(f"Password for {name}: ")
    if getpass("The same again: ") != password:
        raise Refused("the two passwords differ, nothing was changed")
    return password


def read_line() -> str:
    """One line of standard input, without its line end."""
    with open(0, "rb", closefd=False) as file:
        return file.readline().removesuffix(b"\n").removesuffix(b"\r").decode()


if __name__ == "__main__":
    sys.exit(main())
