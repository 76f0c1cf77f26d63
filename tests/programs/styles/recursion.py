#!/usr/bin/env python3
"""Loops by calling itself, which Python allows a thousand times."""

import struct
import sys


def isuser(user):
    return not user.split("-")[-1].startswith("no")


def loop():
    header = sys.stdin.buffer.read(2)
    if len(header) < 2:
        return
    (size,) = struct.unpack(">H", header)
    command, user, _server, *password = sys.stdin.buffer.read(size).decode("utf-8").split(":", 3)
    if command == "auth":
        result = isuser(user) and password == ["pw-" + user]
    else:
        result = command in ("isuser", "setpass") and isuser(user)
    sys.stdout.buffer.write(struct.pack(">HH", 2, int(result)))
    sys.stdout.buffer.flush()
    loop()


loop()
