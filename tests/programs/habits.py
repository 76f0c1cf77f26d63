"""Programs with one bad habit each: `habits.py NAME [NUMBER]`; every function below is one program.

All of them answer by the common truth table (see wire.py) unless their habit is about the answer itself.
What real programs do so is said with each of them.
"""

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NO, YES, note, read_frame, reply, truth, until_gate_is_open, write


def answer_all() -> None:
    """Answer until end of input."""
    while (body := read_frame()) is not None:
        reply(body)


def stay() -> None:
    """Be there until killed."""
    while True:
        time.sleep(3600)


# --- well-behaved, to compare with -----------------------------------------------------------------------


def good(milliseconds: int) -> None:
    """Right, each reply after `milliseconds`."""
    while (body := read_frame()) is not None:
        time.sleep(milliseconds / 1000)
        reply(body)


def denies(_: int) -> None:
    """Says no to everything."""
    while read_frame() is not None:
        write(NO)


# --- at start --------------------------------------------------------------------------------------------


def stillborn(status: int) -> None:
    """Leaves before it reads anything."""
    os._exit(status)


def starts_slowly(milliseconds: int) -> None:
    """Needs its time before it reads (some need half a second)."""
    time.sleep(milliseconds / 1000)
    answer_all()


def banner(_: int) -> None:
    """Text on stdout before the first frame, as PHP without a php.ini."""
    write(b"PHP Warning:  Module 'pdo' is already loaded in Unknown on line 0\n")
    answer_all()


def yes_ahead(_: int) -> None:
    """A yes before any question; what follows is right, and one question late."""
    write(YES)
    answer_all()


def alone(_: int) -> None:
    """Must be alone: a second one kills the first, whose pid is in the file EXTAUTH_TEST_STATE/lock."""
    lock = os.path.join(os.environ["EXTAUTH_TEST_STATE"], "lock")
    with contextlib.suppress(OSError, ValueError), open(lock) as file:
        os.kill(int(file.read()), signal.SIGTERM)
    with open(lock, "w") as file:
        file.write(str(os.getpid()))
    answer_all()


def needs_backend(_: int) -> None:
    """Exits at once while the file EXTAUTH_TEST_STATE/backend is missing."""
    if not os.path.exists(os.path.join(os.environ["EXTAUTH_TEST_STATE"], "backend")):
        write(b"cannot connect to the backend\n", 2)
        os._exit(1)
    answer_all()


# --- reading ---------------------------------------------------------------------------------------------


def deaf(_: int) -> None:
    """Closes stdin and lives on: whoever writes gets EPIPE."""
    os.close(0)
    stay()


def silent(_: int) -> None:
    """Reads everything, never replies; leaves at end of input."""
    while read_frame() is not None:
        pass


def one_read(_: int) -> None:
    """Takes one read for one frame, as a third of the real ones; anything else is noted as broken."""
    while data := os.read(0, 65536):
        whole = len(data) >= 2 and int.from_bytes(data[:2], "big") == len(data) - 2
        note("frame" if whole else "broken", data[2:])
        write(YES if whole and truth(data[2:]) else NO)


def nibbles(_: int) -> None:
    """Reads byte by byte."""
    while header := os.read(0, 1):
        size = header[0] << 8 | os.read(0, 1)[0]
        body = b"".join(os.read(0, 1) for _ in range(size))
        note("frame", body)
        reply(body)


# --- replying --------------------------------------------------------------------------------------------


def once(status: int) -> None:
    """One reply, then gone."""
    body = read_frame()
    if body is not None:
        reply(body)
    os._exit(status)


def dies_after(count: int) -> None:
    """Dies of the question after `count` replies, as a recursion of a thousand levels does."""
    for _ in range(count):
        body = read_frame()
        if body is None:
            return
        reply(body)
    read_frame()
    os._exit(1)


def leaks_descriptors(count: int) -> None:
    """Opens a file for each question and never closes it; says no when it cannot any more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
    while (body := read_frame()) is not None:
        try:
            os.open("/dev/null", os.O_RDONLY)
        except OSError:
            note("starved", body)
            write(NO)
        else:
            reply(body)


def agrees(_: int) -> None:
    """Yes, twice, to a command it does not know; right to the others."""
    while (body := read_frame()) is not None:
        if body.partition(b":")[0] in (b"auth", b"isuser", b"setpass"):
            reply(body)
        else:
            write(YES)
            write(YES)


def afterthought(milliseconds: int) -> None:
    """The right reply, and a yes `milliseconds` later, when it is idle."""
    while (body := read_frame()) is not None:
        reply(body)
        time.sleep(milliseconds / 1000)
        note("unsolicited")
        write(YES)
        note("written")  # if it lives to see it


def afterthought_at_gate(_: int) -> None:
    """The same when the test opens the gate."""
    while (body := read_frame()) is not None:
        reply(body)
        until_gate_is_open()
        note("unsolicited")
        write(YES)
        note("written")


# --- stderr ----------------------------------------------------------------------------------------------


def floods(kibibytes: int) -> None:
    """That much on stderr before each reply: it blocks for ever where nobody reads it."""
    while (body := read_frame()) is not None:
        write(b"flood " * 170 * kibibytes, 2)
        write(b"\n" + b"short flood line\n" * 1000, 2)
        reply(body)


def floods_beside(_: int) -> None:
    """Right, while a child of its own writes on stderr as fast as it can."""
    if os.fork() == 0:
        while True:
            write(b"flood " * 10 + b"\n" * 600, 2)
    answer_all()


def tells_late(count: int) -> None:
    """Every secret on stderr, written when `count` of them have come together, as stdio does with a file or a pipe."""
    buffered: list[bytes] = []
    while (body := read_frame()) is not None:
        buffered.append(b"debug: the password was " + body.split(b":", 3)[3] + b"\n")
        reply(body)
        if len(buffered) == count:
            write(b"".join(buffered), 2)
            buffered.clear()
    write(b"".join(buffered), 2)


def tells_before(_: int) -> None:
    """The whole question on stderr, then the reply."""
    while (body := read_frame()) is not None:
        write(b"debug: got " + body + b"\n", 2)
        reply(body)


def tells_after(milliseconds: int) -> None:
    """The reply, and the secret on stderr a little later."""
    while (body := read_frame()) is not None:
        reply(body)
        time.sleep(milliseconds / 1000)
        write(b"debug: the password was " + body.split(b":", 3)[3] + b"\n", 2)


def tells_in_pieces(milliseconds: int) -> None:
    """The secret on stderr in two writes, with a pause in the middle of it."""
    while (body := read_frame()) is not None:
        secret = body.split(b":", 3)[3]
        half = len(secret) // 2
        write(b"debug: password=" + secret[:half], 2)
        time.sleep(milliseconds / 1000)
        write(secret[half:] + b" end\n", 2)
        reply(body)


def tells_parts(_: int) -> None:
    """The secret cut at its colons, a line for each part, as programs that split at every colon do."""
    while (body := read_frame()) is not None:
        for field in body.split(b":")[3:]:
            write(b"debug: field " + field + b"\n", 2)
        reply(body)


def tells_without_newline(_: int) -> None:
    """The secret on stderr as the last thing before it dies, with no newline behind."""
    body = read_frame()
    if body is not None:
        write(b"fatal: " + body.split(b":", 3)[3], 2)
    os._exit(1)


def tells_far_out(count: int) -> None:
    """The secret behind `count` other bytes of the same line: across the place where long lines are cut."""
    while (body := read_frame()) is not None:
        write((b". " * count)[:count] + body.split(b":", 3)[3] + b"\n", 2)
        reply(body)


# --- the end ---------------------------------------------------------------------------------------------


def ignore_sigterm() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: note("ignored"))


def ignores_term(_: int) -> None:
    """Stays through SIGTERM, leaves at end of input."""
    ignore_sigterm()
    answer_all()


def ignores_end(_: int) -> None:
    """Stays after end of input, leaves on SIGTERM."""
    answer_all()
    stay()


def ignores_both(_: int) -> None:
    """Only SIGKILL helps."""
    ignore_sigterm()
    answer_all()
    stay()


def spins(_: int) -> None:
    """Runs at full speed after end of input, as a loop that never checks for it does."""
    answer_all()
    while True:
        pass


def leaves_slowly(milliseconds: int) -> None:
    """Leaves that long after end of input."""
    answer_all()
    time.sleep(milliseconds / 1000)


def leave_behind(first: Callable[[], None]) -> None:
    """Fork a child that does `first`, then stays with all descriptors; back when it is as far."""
    ready, told = os.pipe()
    if os.fork() == 0:
        first()
        note("grandchild")
        os.write(told, b".")
        stay()
    os.read(ready, 1)
    os.close(ready)
    os.close(told)


def grandchild(_: int) -> None:
    """Has a child of its own that keeps stdin, stdout and stderr open and ignores SIGTERM."""
    leave_behind(ignore_sigterm)
    answer_all()


def orphans(_: int) -> None:
    """Replies and leaves, while a child of its own keeps its pipes."""
    body = read_frame()
    leave_behind(lambda: None)
    if body is not None:
        reply(body)
    os._exit(0)


def dies_with_heir(_: int) -> None:
    """Its first question kills it, while a child of its own keeps its pipes; the next is a good one."""
    state = os.path.join(os.environ["EXTAUTH_TEST_STATE"], "dead")
    if os.path.exists(state):
        answer_all()
        return
    read_frame()
    os.close(os.open(state, os.O_CREAT))
    leave_behind(lambda: None)
    os._exit(1)


def daemon(_: int) -> None:
    """Has a child in a session of its own, out of reach of any signal to the group, that keeps the pipes."""
    leave_behind(os.setsid)
    answer_all()


def forks_twice(milliseconds: int) -> None:
    """Leaves an orphan in a session of its own at each question, as what starts a daemon does; it ends a little later.

    A question about "gone" ends the program, with status 3.
    """
    while (body := read_frame()) is not None:
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                os.closerange(0, 3)
                time.sleep(milliseconds / 1000)
            os._exit(0)
        os.waitpid(child, 0)
        if b":gone:" in body:
            os._exit(3)
        reply(body)


def main() -> None:
    note("start")
    globals()[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 0)


main()
