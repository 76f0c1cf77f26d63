"""Programs with one mistake each that `check` has to name: `mistakes.py NAME`; those of habits.py are others.

The truth table is that of wire.py, unless a function says otherwise.
"""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NO, YES, read_exactly, read_frame, truth, until_read, write


def verdict(body: bytes) -> bytes:
    return YES if truth(body) else NO


def answer_all(reply=verdict) -> None:
    while (body := read_frame()) is not None:
        write(reply(body))


# --- what is written


def line_end() -> None:
    """print() instead of write()."""
    answer_all(lambda body: verdict(body) + b"\n")


def blank() -> None:
    """A line before <?php."""
    write(b"\n")
    answer_all()


def mark() -> None:
    """A byte order mark before <?php."""
    write(b"\xef\xbb\xbf")
    answer_all()


def swapped() -> None:
    """Little-endian."""
    answer_all(lambda body: b"\2\0\1\0" if truth(body) else b"\2\0\0\0")


def third() -> None:
    """Neither yes nor no."""
    answer_all(lambda _: b"\0\2\0\2")


def short() -> None:
    """Three bytes."""
    answer_all(lambda _: b"\0\1\0")


def words() -> None:
    """Text."""
    answer_all(lambda body: b"true\n" if truth(body) else b"false\n")


def behind() -> None:
    """A remark behind every reply."""
    answer_all(lambda body: verdict(body) + b" done")


def twice() -> None:
    """Every reply again, a little later, when it is idle."""
    while (body := read_frame()) is not None:
        write(verdict(body))
        time.sleep(0.05)
        write(verdict(body))


def ahead() -> None:
    """A reply before anything was asked."""
    write(NO)
    answer_all()


def unflushed() -> None:
    """Replies that wait in a buffer until the end."""
    out = os.fdopen(1, "wb", buffering=1 << 16)
    while (body := read_frame()) is not None:
        out.write(verdict(body))
    out.flush()


def lines() -> None:
    """Prosody's lines."""
    for line in sys.stdin:
        print(int(truth(line.strip().encode())), flush=True)


def lines_without_end() -> None:
    """Prosody's lines, with digits alone."""
    for line in sys.stdin:
        write(b"1" if truth(line.strip().encode()) else b"0")


def lines_unflushed() -> None:
    """Prosody's lines, with digits that wait in a buffer."""
    for line in sys.stdin:
        print(int(truth(line.strip().encode())))


# --- what is read


def early() -> None:
    """Yes after the first bytes of a question."""
    while header := read_exactly(2):
        size = int.from_bytes(header, "big")
        first = read_exactly(min(size, 12))
        write(NO)
        until_read()
        time.sleep(0.2)
        read_exactly(size - len(first))


def one_read() -> None:
    """What one read returns is the question."""
    while header := os.read(0, 2):
        write(verdict(os.read(0, int.from_bytes(header, "big"))))


def characters() -> None:
    """As many characters as the length says bytes."""
    text = open(0, encoding="utf-8", errors="surrogateescape", newline="", closefd=False)  # noqa: SIM115
    while header := text.read(2):
        size = int.from_bytes(header.encode("utf-8", "surrogateescape"), "big")
        write(verdict(text.read(size).encode("utf-8", "surrogateescape")))


def ascii_only() -> None:
    """Ends at any other byte."""
    answer_all(lambda body: verdict(body.decode("ascii").encode()))


def colon() -> None:
    """The secret ends at its first colon."""
    answer_all(lambda body: verdict(b":".join(body.split(b":")[:4])))


def eight() -> None:
    """Eight bytes of a secret count."""

    def reply(body: bytes) -> bytes:
        command, user, _, *rest = body.split(b":", 3)
        same = command == b"auth" and rest[0][:8] == (b"pw-" + user)[:8]
        return YES if same else NO if command == b"auth" else verdict(body)

    answer_all(reply)


def unpacks_four() -> None:
    """Another colon is an exception, and the end."""

    def reply(body: bytes) -> bytes:
        if body.startswith(b"auth"):
            _, _, _, _ = body.split(b":")
        return verdict(body)

    answer_all(reply)


def longest(limit: int) -> None:
    """Ends at more than `limit` bytes."""
    answer_all(lambda body: verdict(body) if len(body) <= limit else sys.exit(1))


def line_feed() -> None:
    """Silent where the first byte of the length is a line feed."""
    answer_all(lambda body: b"" if len(body) >> 8 == 10 else verdict(body))


def no_isuser() -> None:
    """Ends at isuser."""
    answer_all(lambda body: sys.exit("isuser?") if body.startswith(b"isuser") else verdict(body))


def silent_to_unknown() -> None:
    """No reply to a command it does not know."""
    answer_all(lambda body: verdict(body) if body.split(b":")[0] in (b"auth", b"isuser", b"setpass") else b"")


def agrees_to_unknown() -> None:
    """Yes to a command it does not know."""
    answer_all(lambda body: verdict(body) if body.split(b":")[0] in (b"auth", b"isuser", b"setpass") else YES)


# --- what it remembers


def everybody() -> None:
    """Yes."""
    answer_all(lambda _: YES)


def remembers() -> None:
    """Yes for good after the first yes."""
    granted = False

    def reply(body: bytes) -> bytes:
        nonlocal granted
        granted = granted or (body.startswith(b"auth") and truth(body))
        return YES if granted else verdict(body)

    answer_all(reply)


def no_database() -> None:
    """Yes to isuser until fifty were asked, and no from then on."""
    asked = 0

    def reply(_: bytes) -> bytes:
        nonlocal asked
        asked += 1
        return YES if asked <= 50 else NO

    answer_all(reply)


def grows() -> None:
    """Keeps 32 KB of each question."""
    kept: list[bytes] = []

    def reply(body: bytes) -> bytes:
        kept.append(os.urandom(1 << 15))
        return verdict(body)

    answer_all(reply)


# --- how it ends


def stray() -> None:
    """A child out of reach of any signal to the group keeps its output open for a while."""
    answer_all()
    if os.fork() == 0:
        os.setsid()
        time.sleep(3)


def traceback_at_end() -> None:
    """A traceback where there is nothing to read."""
    while True:
        high, low = read_exactly(2)
        write(verdict(read_exactly(high << 8 | low)))


if __name__ == "__main__":
    globals()[sys.argv[1]](*map(int, sys.argv[2:]))
