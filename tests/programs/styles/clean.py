#!/usr/bin/env python3
"""A well-behaved ejabberd program in Python; the truth table is that of wire.py."""

import struct
import sys


def exists(user: str) -> bool:
    return not user.rpartition("-")[2].startswith("no")


def answer(request: str) -> bool:
    command, user, _host, *password = request.split(":", 3)
    if command == "auth":
        return exists(user) and password == ["pw-" + user]
    return command in ("isuser", "setpass") and exists(user)


def main() -> None:
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while len(header := stdin.read(2)) == 2:
        (length,) = struct.unpack(">H", header)
        result = answer(stdin.read(length).decode())
        stdout.write(struct.pack(">HH", 2, result))
        stdout.flush()


main()
