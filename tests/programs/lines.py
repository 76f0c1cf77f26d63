"""Programs that speak Prosody's lines, with one habit each: `lines.py NAME [MILLISECONDS]`; each function is one.

The truth table and the journal are those of wire.py.  What real programs do so is said with each of them.
"""

import os
import select
import sys
import time
from collections.abc import Callable

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import note, read_line, truth, until_read, write

STATE = os.environ.get("EXTAUTH_TEST_STATE", "")  # a directory, for what happens only once


def digit(body: bytes) -> bytes:
    return b"1" if truth(body) else b"0"


def answer_all(reply: Callable[[bytes], object]) -> None:
    """Write what `reply` makes of each question."""
    while (body := read_line()) is not None:
        note("reply", body)
        made = reply(body)
        if isinstance(made, bytes):
            write(made)


def pause(milliseconds: int) -> None:
    time.sleep(milliseconds / 1000)


def next_question() -> None:
    """Wait until there is something to read."""
    select.select([0], [], [])


# --- honest


def good(milliseconds: int) -> None:
    """A digit and LF, later."""

    def reply(body: bytes) -> bytes:
        pause(milliseconds)
        return digit(body) + b"\n"

    answer_all(reply)


def crlf(_: int) -> None:
    """print with "\\r\\n", as on Windows."""
    answer_all(lambda body: digit(body) + b"\r\n")


def bare(_: int) -> None:
    """No line end, ever: echo, printf, process.stdout.write."""
    answer_all(digit)


def with_next(_: int) -> None:
    """The line end comes with the next answer, in one write: a library that separates lines."""
    first = True

    def reply(body: bytes) -> bytes:
        nonlocal first
        owed, first = b"" if first else b"\n", False
        return owed + digit(body)

    answer_all(reply)


def before_next(milliseconds: int) -> None:
    """The line end comes when the next question has been read, its answer a little later."""
    owed = False
    while (body := read_line()) is not None:
        if owed:
            write(b"\n")
            pause(milliseconds)
        note("reply", body)
        write(digit(body))
        owed = True


def late_end(milliseconds: int) -> None:
    """Two writes: the digit, and the line end later, which may be after the next question was given."""

    def reply(body: bytes) -> None:
        write(digit(body))
        pause(milliseconds)
        write(b"\n")

    answer_all(reply)


def end_later(milliseconds: int) -> None:
    """The same, so long after somebody has read the digit."""

    def reply(body: bytes) -> None:
        write(digit(body))
        until_read()
        pause(milliseconds)
        write(b"\n")

    answer_all(reply)


def late_crlf(milliseconds: int) -> None:
    """Three writes."""

    def reply(body: bytes) -> None:
        for piece in (digit(body), b"\r", b"\n"):
            write(piece)
            pause(milliseconds)

    answer_all(reply)


def forks(milliseconds: int) -> None:
    """A child for each question prints the answer, as in shell with a pipeline."""

    def reply(body: bytes) -> None:
        child = os.fork()
        if child == 0:
            pause(milliseconds)
            write(digit(body) + b"\n")
            os._exit(0)
        os.waitpid(child, 0)

    answer_all(reply)


def forks_on(milliseconds: int) -> None:
    """The same, and it reads on at once: its answers come in any order, if it has several questions."""
    while (body := read_line()) is not None:
        note("reply", body)
        if os.fork() == 0:
            pause(milliseconds)
            write(digit(body) + b"\n")
            os._exit(0)
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    break
            except ChildProcessError:
                break


def exits(_: int) -> None:
    """One answer, and gone."""

    def reply(body: bytes) -> None:
        write(digit(body) + b"\n")
        os._exit(0)

    answer_all(reply)


def exits_bare(_: int) -> None:
    """One digit, and gone."""

    def reply(body: bytes) -> None:
        write(digit(body))
        os._exit(0)

    answer_all(reply)


# --- what is no answer


def says(text: bytes) -> Callable[[int], None]:
    return lambda _: answer_all(lambda _: text)


ten = says(b"10\n")
eleven = says(b"11")
blank_behind = says(b"1 \n")
blank_before = says(b" 1\n")
sign = says(b"+1\n")
word_true = says(b"true\n")
word_ok = says(b"OK\n")
carriage_return = says(b"1\r")
nothing = says(b"\n")
nul = says(b"1\0\n")
warned = says(b"Warning: undefined variable\n1\n")
end_first = says(b"\n1")
two_ends = says(b"1\n\n")
two_digits = says(b"1\n1")
contrary = says(b"0\n1\n")
split = says(b"0\r1\n")
frame = says(b"\0\2\0\1")


def repeats(_: int) -> None:
    """The question comes back, and a yes behind it: a debugging print."""
    answer_all(lambda body: body + b"\n1\n")


def repeats_secret(_: int) -> None:
    """The password comes back, and the answer behind it."""
    answer_all(lambda body: body.split(b":", 3)[-1] + b"\n" + digit(body) + b"\n")


def quotes(_: int) -> None:
    """A yes, and what is wrong with the question."""
    answer_all(lambda body: b"1 because " + body + b"\n")


def tells(milliseconds: int) -> None:
    """Everything on stderr, in two pieces."""

    def reply(body: bytes) -> bytes:
        half = len(body) * 3 // 4
        write(b"asked: " + body[:half], 2)
        pause(milliseconds)
        write(body[half:] + b"\n", 2)
        return digit(body) + b"\n"

    answer_all(reply)


def banner(_: int) -> None:
    """A line for a person."""
    write(b"ready\n")
    answer_all(lambda body: digit(body) + b"\n")


def prompt(_: int) -> None:
    """A prompt before each question."""
    write(b"> ")
    answer_all(lambda body: digit(body) + b"\n> ")


def blank(_: int) -> None:
    """A blank line before <?php."""
    write(b"\n")
    answer_all(lambda body: digit(body) + b"\n")


def ahead(milliseconds: int) -> None:
    """Yes before any question, and one question late for ever."""
    pause(milliseconds)
    write(b"1\n")
    answer_all(lambda body: digit(body) + b"\n")


def ahead_bare(milliseconds: int) -> None:
    """The same with digits alone."""
    pause(milliseconds)
    write(b"1")
    answer_all(digit)


def buffered(_: int) -> None:
    """Answers wait in a buffer until end of input."""
    out = os.fdopen(1, "wb", buffering=1 << 16)
    while (body := read_line()) is not None:
        out.write(digit(body) + b"\n")
    out.flush()


def frames(_: int) -> None:
    """ejabberd's frames instead."""
    import wire

    while (body := wire.read_frame()) is not None:
        wire.reply(body)


# --- more than one answer


def twice(milliseconds: int) -> None:
    """The answer, and later a yes that nobody asked for."""

    def reply(body: bytes) -> None:
        write(digit(body) + b"\n")
        pause(milliseconds)
        write(b"1\n")

    answer_all(reply)


def twice_bare(milliseconds: int) -> None:
    """The same with digits alone."""

    def reply(body: bytes) -> None:
        write(digit(body))
        pause(milliseconds)
        write(b"1")

    answer_all(reply)


def stale(_: int) -> None:
    """The answer, and a yes when the next question is there, before it is read."""

    def reply(body: bytes) -> None:
        write(digit(body) + b"\n")
        next_question()
        write(b"1\n")

    answer_all(reply)


def stale_bare(_: int) -> None:
    """The same with digits alone."""

    def reply(body: bytes) -> None:
        write(digit(body))
        next_question()
        write(b"1")

    answer_all(reply)


def stale_end(_: int) -> None:
    """A digit; when the next question is there, its line end and a yes in one write, before that is read."""

    def reply(body: bytes) -> None:
        write(digit(body))
        next_question()
        write(b"\n1")

    answer_all(reply)


def stale_end_line(_: int) -> None:
    """The same, with a line end behind the yes."""

    def reply(body: bytes) -> None:
        write(digit(body))
        next_question()
        write(b"\n1\n")

    answer_all(reply)


def stale_pieces(milliseconds: int) -> None:
    """The same in two writes: the line end is due, and the yes behind it is not."""

    def reply(body: bytes) -> None:
        write(digit(body))
        next_question()
        write(b"\n")
        pause(milliseconds)
        write(b"1")

    answer_all(reply)


def stale_straddle(_: int) -> None:
    """A yes before the next question is read, its line end afterwards."""
    while (body := read_line()) is not None:
        note("reply", body)
        write(digit(body) + b"\n")
        next_question()
        write(b"1")
        if (body := read_line()) is None:
            return
        write(b"\n")


# --- silence


def deaf(_: int) -> None:
    """It closes its stdin behind the first answer."""
    write(digit(read_line() or b"") + b"\n")
    os.close(0)
    while True:
        time.sleep(3600)


def hangs(_: int) -> None:
    """No answer, ever."""
    read_line()
    while True:
        time.sleep(3600)


def hangs_with_child(_: int) -> None:
    """Neither it nor its child answers."""
    read_line()
    os.fork()
    while True:
        time.sleep(3600)


def by_user(milliseconds: int) -> None:
    """As the user's first part says: hang, die, garbage, echo, twice, slow; everybody else is answered rightly."""
    while (body := read_line()) is not None:
        kind = body.split(b":")[1].partition(b"-")[0]
        if kind == b"hang":
            hangs_now()
        elif kind == b"die":
            os._exit(3)
        elif kind == b"garbage":
            write(b"what is " + body + b"?\n")
        elif kind == b"tells":
            write(b"asked " + body + b"\n", 2)
            write(digit(body) + b"\n")
        else:
            if kind == b"slow":
                pause(milliseconds)
            note("reply", body)
            write(digit(body) + b"\n")
            if kind == b"twice":
                write(b"1\n")


def hangs_now() -> None:
    note("hangs")
    while True:
        time.sleep(3600)


# --- how a question is read


def colon(_: int) -> None:
    """The secret ends at its first colon."""
    answer_all(lambda body: digit(b":".join(body.split(b":")[:4])) + b"\n")


def strips(_: int) -> None:
    """Blanks at both ends go."""
    answer_all(lambda body: digit(body.strip()) + b"\n")


def drops_colon(_: int) -> None:
    """One colon at the end goes: shell's IFS=: read -r command user host secret."""
    answer_all(lambda body: digit(body.removesuffix(b":")) + b"\n")


def no_after_yes(_: int) -> None:
    """A yes is followed by a no: an else is missing."""
    answer_all(lambda body: b"1\n0\n" if digit(body) == b"1" and body.startswith(b"auth") else digit(body) + b"\n")


def unescapes(_: int) -> None:
    """Backslashes go; one at the end is for a line that goes on: shell's read without -r."""
    begun = b""
    while (body := read_line()) is not None:
        body = begun + body
        if body.endswith(b"\\"):
            begun = body[:-1]
            continue
        begun = b""
        write(digit(body.replace(b"\\", b"")) + b"\n")


def silent_to_unknown(_: int) -> None:
    """No answer to a command it does not know."""
    answer_all(lambda body: digit(body) + b"\n" if body.split(b":")[0] in (b"auth", b"isuser", b"setpass") else None)


def fgets(size: int) -> None:
    """A buffer of so many bytes, one of them for NUL: the rest of a longer line is another.  Silent to what is none."""
    data = b""
    while more := os.read(0, 65536):
        data += more
        while b"\n" in data or len(data) >= size - 1:
            end = data.find(b"\n", 0, size - 1) + 1 or size - 1
            line, data = data[:end].removesuffix(b"\n"), data[end:]
            if line.split(b":")[0] in (b"auth", b"isuser", b"setpass"):
                write(digit(line) + b"\n")


def latin(_: int) -> None:
    """Read as Latin-1, where byte 85 ends a line."""
    while (body := read_line()) is not None:
        for line in body.decode("latin-1").splitlines():
            write(digit(line.encode("latin-1")) + b"\n")


def chunks(milliseconds: int) -> None:
    """What one read returns is the question; it may have been busy for a while before."""
    while True:
        pause(milliseconds)
        if not (data := os.read(0, 65536)):
            return
        body = data.removesuffix(b"\n")
        note("frame", body)
        write(digit(body) + b"\n")


if __name__ == "__main__":
    note("start")
    globals()[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 0)
