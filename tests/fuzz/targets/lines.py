"""Lines, however they arrive, and which of them may reach a program."""

import contextlib
from collections.abc import Collection, Iterator

from bridge.protocol.checks import Checks
from bridge.protocol.lines import LineReader
from bridge.protocol.query import Refusal
from fuzz.engine import Check
from fuzz.source import Source, pieces

TOKENS = (
    *(b"auth:u:h:", b"isuser:u:h", b"setpass:", b"tryregister:u:h:p", b"removeuser3:", b"removeuser:u:h", b"certauth:"),
    *(b"\n", b"\r\n", b"\r\r\n", b":", b"::", b"x" * 16, b"\x00", b"\x7f", "é".encode(), b"\xc2\x85", b"\xff"),
    *("\u2028".encode(), "\U0001f600".encode(), b"\xed\xa0\x80", b"\xc0\xaf", "\u00a0".encode()),
)

_WITH_SECRET = ("auth", "setpass", "tryregister", "removeuser3", "certauth")
_WITHOUT = ("isuser", "removeuser")

SETS = tuple(
    (commands, empty, Checks(commands, empty))
    for commands in (("auth", "isuser", "setpass"), (*_WITH_SECRET, *_WITHOUT), ("isuser",), ("certauth",))
    for empty in (False, True)
)


@contextlib.contextmanager
def target() -> Iterator[Check]:
    yield check


def check(data: bytes) -> None:
    source = Source(data)
    limit, sizes = 16 + source.below(48), [1 + source.below(24) for _ in range(4)]
    stream = source.rest()
    expected = [*lines(stream, limit)]
    for cut in ([stream], [bytes([byte]) for byte in stream], pieces(stream, sizes)):
        reader = LineReader(limit)
        got: list[bytes | Refusal] = []
        for piece in cut:
            got += reader.feed(piece)
            assert reader.unfinished <= 2 * limit + 1, "it stores what it will not return"
        assert [*got, *reader.finish()] == expected
    for line in expected:
        if isinstance(line, bytes):
            checked(line)


def checked(line: bytes) -> None:
    for commands, empty, checks in SETS:
        allowed = may_pass(line, commands, empty)
        assert (checks(line) is None) == allowed
        assert allowed or not checks.plain([line]), "let through by the short way alone"


def lines(stream: bytes, limit: int) -> Iterator[bytes | Refusal]:
    """What the lines of a stream are, if all of it is there."""
    *whole, last = stream.split(b"\n")
    for line in (*whole, last) if last else whole:
        bare = line.removesuffix(b"\r")
        yield bare if len(bare) <= limit else Refusal.LENGTH


def may_pass(line: bytes, commands: Collection[str], empty: bool = False) -> bool:
    """Whether a line may reach a program that may be asked these commands."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return False
    command, *fields = text.split(":")
    if command not in commands or any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
        return False
    if command in _WITHOUT:
        return len(fields) == 2 and all(fields)
    user, host, *secret = fields if len(fields) > 2 else ("", "")
    return bool(user and host and (empty or ":".join(secret)))
