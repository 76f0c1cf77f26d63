"""What a line's answer must be at most: the checks of a line and the test programs' truth table, anew.

Deliberately shares no code with the bridge: the two can only agree by both being right.
"""

import re
from collections.abc import Collection

WITH_SECRET = {b"auth", b"setpass", b"tryregister", b"removeuser3", b"certauth"}
WITHOUT_SECRET = {b"isuser", b"removeuser"}

# C0, DEL and C1, the latter as UTF-8 has them
CONTROL = re.compile(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]")


def lets_through(
    line: bytes,
    *,
    commands: Collection[bytes] = (b"auth", b"isuser", b"setpass"),
    max_line: int = 4096,
    allow_empty_password: bool = False,
) -> bool:
    """May this line, given without its `\\n`, reach a program?"""
    line = line.removesuffix(b"\r")
    command, *fields = line.split(b":")
    if len(line) > max_line or command not in commands or CONTROL.search(line):
        return False
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    if len(fields) < 2 or not fields[0] or not fields[1]:
        return False
    if command in WITHOUT_SECRET:
        return len(fields) == 2
    return len(fields) >= 3 and (allow_empty_password or fields[2:] != [b""])


def truth(line: bytes) -> bool:
    """What a correct test program says to a line that was let through (see tests/programs/wire.py)."""
    command, user, _host, *secret = line.removesuffix(b"\r").split(b":", 3)
    if user.split(b"-")[-1][:2] == b"no":
        return command == b"tryregister"
    match command:
        case b"auth" | b"removeuser3":
            return secret == [b"pw-" + user]
        case b"certauth":
            return secret == [b"cert-" + user]
        case _:
            return command in (b"isuser", b"setpass", b"removeuser")


def best_answer(line: bytes) -> str:
    """The answer of the bridge when nothing goes wrong; when something does, `0` is right too, `1` never."""
    return "1" if lets_through(line) and truth(line) else "0"
