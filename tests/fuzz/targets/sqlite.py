"""extauth-sqlite: four bytes for each frame, right ones, or an end; against users in a dict."""

import contextlib
import os
import sqlite3
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.programs import sqlite, users
from fuzz.engine import Check
from fuzz.source import Source
from fuzz.targets.lines import may_pass

SECRET = "canary-6f1e"
COMMANDS = ("auth", "isuser", "setpass", "tryregister", "removeuser", "removeuser3")

_YES, _NO = b"\x00\x02\x00\x01", b"\x00\x02\x00\x00"
_NAMES = (b"a:h", b"b:h", b"a:g", b"\xc3\xa9:h", b"A:h", b":h", b"a:")
_SECRETS = (
    SECRET.encode(),
    b"other-canary-6f1e",
    b"x:canary-6f1e",
    b"canary-6f1e\0",
    "canary-\u00e9".encode(),
    b"",
    b" ",
)

TOKENS = (
    b"auth:a:h:canary-6f1e",
    b"isuser:a:h",
    b"setpass:b:h:",
    b"\x00\x0a",
    b"\xff\xff",
    b"\x00\x00",
    b"a:h",
    b":",
    b"\xff",
)


@contextlib.contextmanager
def target() -> Iterator[Check]:
    """Hashes cost next to nothing here, and the database is in memory where the machine has a place for that."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-sqlite-", dir=place) as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(users, "COST", users.Cost(2, 1, 1))
        sizes = [1]
        patch.setattr(sqlite, "os", types.SimpleNamespace(**{**vars(os), "read": in_pieces(sizes)}))
        database = Path(directory, "users.db")
        with users.Users(database) as first:
            first.add("a", "h", SECRET)
        with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as own:
            own.execute("CREATE TABLE first AS SELECT * FROM users")

            def check(data: bytes) -> None:
                own.execute("DELETE FROM users")
                own.execute("INSERT INTO users SELECT * FROM first")
                source = Source(data)
                sizes[:] = [1 + source.below(8) * source.below(8) for _ in range(3)]
                stream = frames(source)
                status, replies, said = served(database, stream)
                judged(stream, status, replies)
                assert said.count(b"\n") <= 1 and b"canary" not in said
                assert sorted(own.execute("SELECT user, host FROM users")) == sorted(left(stream))

            yield check


def in_pieces(sizes: list[int]) -> Callable[[int, int], bytes]:
    """os.read from a pipe into which is written a little at a time."""

    def read(descriptor: int, size: int) -> bytes:
        sizes.append(sizes.pop(0))
        return os.read(descriptor, min(size, sizes[0]))

    return read


def frames(source: Source) -> bytes:
    """A stream of frames, most of them good questions, some not; the last one may be cut off."""
    stream = b""
    while source:
        kind = source.below(16)
        if kind < 10:
            body = source.pick(COMMANDS).encode() + b":" + source.pick(_NAMES)
            body += b":" + source.pick(_SECRETS) if kind < 7 else b""
        elif kind < 13:
            body = source.take(source.below(24))
        else:
            stream += source.take(source.below(12))
            continue
        stream += len(body).to_bytes(2, "big") + body
    return stream


def served(database: Path, stream: bytes) -> tuple[int, bytes, bytes]:
    """What the program makes of its input: exit status, standard output, and standard error."""
    files = [os.memfd_create(name) for name in ("in", "out", "err")]
    kept = [os.dup(number) for number in range(3)]
    os.write(files[0], stream)
    os.lseek(files[0], 0, os.SEEK_SET)
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
        status = sqlite.serve(str(database))
    finally:
        for number, file in enumerate(kept):
            os.dup2(file, number)
        for file in kept:
            os.close(file)
        written = [os.pread(file, 1 << 20, 0) for file in files[1:]]
        for file in files:
            os.close(file)
    return status, written[0], written[1]


def judged(stream: bytes, status: int, replies: bytes) -> None:
    bodies, whole = split(stream)
    state = {("a", "h"): SECRET}
    assert replies == b"".join(_YES if answer(state, body) else _NO for body in bodies)
    assert status == (0 if whole else 1)


def left(stream: bytes) -> list[tuple[str, str]]:
    state = {("a", "h"): SECRET}
    for body in split(stream)[0]:
        answer(state, body)
    return [*state]


def split(stream: bytes) -> tuple[list[bytes], bool]:
    """All complete frames' bodies, and whether nothing follows them."""
    bodies: list[bytes] = []
    while len(stream) >= 2 and len(stream) >= (end := 2 + stream[0] * 256 + stream[1]):
        bodies.append(stream[2:end])
        stream = stream[end:]
    return bodies, not stream


def answer(state: dict[tuple[str, str], str], body: bytes) -> bool:
    if not may_pass(body, [*COMMANDS]):
        return False
    command, user, host, *rest = body.decode().split(":")
    secret, account = ":".join(rest), (user, host)
    if command == "isuser":
        return account in state
    if command == "auth":
        return state.get(account) == secret
    if command == "setpass":
        return account in state and bool(state.update({account: secret}) or True)
    if command == "tryregister":
        return account not in state and state.setdefault(account, secret) == secret
    return (command == "removeuser" or state.get(account) == secret) and state.pop(account, None) is not None
