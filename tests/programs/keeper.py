"""A program whose accounts have passwords that can be changed, and secrets that do harm; many of it share DIRECTORY.

    keeper.py DIRECTORY

The password of user@host is "pw:user:host" until it is changed; then it is what DIRECTORY/<hex of user@host> holds.
A name that begins with "no" does not exist. A wrong secret that ends in one of HARM does what stands there. While
there is a file DIRECTORY/slow, every answer takes the milliseconds that it holds.
"""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NO, YES, read_frame, write

DIRECTORY = sys.argv[1]


def path(user: bytes, host: bytes) -> str:
    return f"{DIRECTORY}/{(user + b'@' + host).hex()}"


def password(user: bytes, host: bytes) -> bytes:
    try:
        with open(path(user, host), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b"pw:" + user + b":" + host


def change(user: bytes, host: bytes, secret: bytes) -> None:
    """In one step, so that nobody reads half a password."""
    new = f"{path(user, host)}.{os.getpid()}"
    with open(new, "wb") as file:
        file.write(secret)
    os.rename(new, path(user, host))


def right(body: bytes) -> bool:
    command, _, rest = body.partition(b":")
    user, _, rest = rest.partition(b":")
    host, _, secret = rest.partition(b":")
    if user.startswith(b"no"):
        return False
    if command == b"setpass":
        change(user, host, secret)
    return command in (b"setpass", b"isuser") or (command == b"auth" and secret == password(user, host))


def leave(_: bytes) -> None:
    """Without a word."""
    os._exit(0)


def crash(_: bytes) -> None:
    """In the middle of a yes."""
    write(YES[:3])
    os.abort()


def hang(_: bytes) -> None:
    time.sleep(3600)


def late(_: bytes) -> None:
    """A yes, when nobody waits any more."""
    time.sleep(4.5)
    write(YES)


def twice(_: bytes) -> None:
    """A no, and a yes to nobody."""
    write(NO)
    write(YES)


def twice_apart(_: bytes) -> None:
    """The same, when the next question may have been asked already."""
    write(NO)
    time.sleep(0.002)
    write(YES)


HARM = {b"-leave": leave, b"-crash": crash, b"-hang": hang, b"-late": late, b"-twice": twice, b"-apart": twice_apart}


def slow() -> None:
    try:
        with open(f"{DIRECTORY}/slow") as file:
            time.sleep(int(file.read()) / 1000)
    except FileNotFoundError:
        pass


def main() -> None:
    while (body := read_frame()) is not None:
        slow()
        if right(body):
            write(YES)
            continue
        HARM.get(b"-" + body.rpartition(b"-")[2], lambda _: write(NO))(body)


main()
