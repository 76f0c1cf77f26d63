"""A program that does to each question what the question's user name asks for.

`slow20-alice` is answered after 20 ms, `hang-alice` never, and so on: the part before the first dash names
one of the functions below, and digits at its end are its number. Everybody else is answered rightly at once.
"""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NO, YES, note, read_frame, reply, truth, until_gate_is_open, write

STATE = os.environ.get("EXTAUTH_TEST_STATE", "")  # a directory, for what happens only once

GARBAGE = (
    b"\0\2\0\2",  # right length, third verdict
    b"\0\1\1",  # a shorter reply
    b"1\n",  # Prosody's protocol instead of ejabberd's
    b"\0\2\1\0",  # the verdict with its bytes swapped
    b"\2\0\1\0",  # little-endian
    b"\0\4\0\1",  # the number of bytes, counted with the header
    b"\0\2\0\1\n",  # a newline behind, as print() does
    b"PHP Warning: x\n\0\2\0\1",  # text before the reply
    b"true",  # four bytes of text
    b"\0\0\0\1",
    b"\xff\xff\xff\xff",
    b"\n\0\2\0\1",
)


def sleep(milliseconds: int) -> None:
    time.sleep(milliseconds / 1000)


def slow(body: bytes, milliseconds: int) -> None:
    """The right reply, later."""
    sleep(milliseconds)
    reply(body)


def late(body: bytes, milliseconds: int) -> None:
    """A yes to whatever was asked, later: meant to come when nobody waits for it any more."""
    sleep(milliseconds)
    note("late", body)
    write(YES)


def gate(body: bytes, _number: int) -> None:
    """The right reply, once the test opens the gate."""
    until_gate_is_open()
    reply(body)


def hang(body: bytes, _number: int) -> None:
    """No reply, ever."""
    while True:
        time.sleep(3600)


def freeze(body: bytes, _number: int) -> None:
    """Stopped by SIGSTOP: SIGTERM does not reach it, only SIGKILL does."""
    os.kill(os.getpid(), signal.SIGSTOP)


def die(body: bytes, status: int) -> None:
    """Read, not answered, gone."""
    os._exit(status or 1)


def slowdie(body: bytes, milliseconds: int) -> None:
    """Read, and gone some time later."""
    sleep(milliseconds)
    os._exit(1)


def crash(body: bytes, _number: int) -> None:
    """Read, not answered, killed by a signal."""
    os.kill(os.getpid(), signal.SIGKILL)


def dieonce(body: bytes, _number: int) -> None:
    """The first program that reads this question dies of it; any later one answers it."""
    try:
        os.close(os.open(os.path.join(STATE, body.hex()[:200]), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        reply(body)
    else:
        os._exit(1)


def exits(body: bytes, status: int) -> None:
    """The right reply, and gone at once."""
    reply(body)
    os._exit(status)


def garbage(body: bytes, which: int) -> None:
    """Something that is not a reply, then the next question as if nothing had happened."""
    write(GARBAGE[which % len(GARBAGE)])


def partial(body: bytes, count: int) -> None:
    """The first bytes of a yes, and nothing after them."""
    write(YES[: count or 2])
    hang(body, 0)


def partialdie(body: bytes, count: int) -> None:
    """The first bytes of a yes, and gone."""
    write(YES[: count or 2])
    os._exit(0)


def dribble(body: bytes, milliseconds: int) -> None:
    """The right reply, byte by byte."""
    for byte in YES if truth(body) else NO:
        sleep(milliseconds)
        write(bytes((byte,)))


def twice(body: bytes, _number: int) -> None:
    """Two replies in one write, the first one right."""
    write((YES if truth(body) else NO) + YES)


def after(body: bytes, milliseconds: int) -> None:
    """The right reply, and a little later a yes that nobody asked for."""
    reply(body)
    sleep(milliseconds)
    write(YES)


def babble(body: bytes, _number: int) -> None:
    """Endless text instead of a reply."""
    while True:
        write(b"x" * 65536)


def mute(body: bytes, _number: int) -> None:
    """Closes its stdout instead of replying, and lives on."""
    os.close(1)
    hang(body, 0)


def noise(body: bytes, lines: int) -> None:
    """Lines on stderr, without a secret, then the right reply."""
    write(b"chameleon: a notice on stderr\n" * (lines or 1), 2)
    reply(body)


WAYS = {
    way.__name__: way
    for way in (
        *(slow, late, gate, hang, freeze, die, slowdie, crash, dieonce, exits),
        *(garbage, partial, partialdie, dribble, twice, after, babble, mute, noise),
    )
}


def main() -> None:
    note("start")
    while (body := read_frame()) is not None:
        user = body.partition(b":")[2].partition(b":")[0].decode()
        prefix = user.partition("-")[0]
        name = prefix.rstrip("0123456789")
        way = WAYS.get(name)
        if way is None or "-" not in user:
            reply(body)
        else:
            way(body, int(prefix[len(name) :] or 0))


main()
