#!/usr/bin/env python3
"""A program for Prosody, as its documentation has them, in Python; the truth table is that of wire.py."""

import sys


def exists(user: str) -> bool:
    return not user.rpartition("-")[2].startswith("no")


def answer(line: str) -> bool:
    command, user, _host, *password = line.split(":", 3)
    if command == "auth":
        return exists(user) and password == ["pw-" + user]
    return command in ("isuser", "setpass") and exists(user)


for line in sys.stdin:
    print(int(answer(line.removesuffix("\n"))), flush=True)
