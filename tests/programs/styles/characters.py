#!/usr/bin/env python3
"""Reads as many characters as the length says, instead of bytes: brought over from Python 2 without another thought."""

import struct
import sys


def from_ejabberd():
    input_length = sys.stdin.read(2)
    if len(input_length) < 2:
        sys.exit(0)
    (size,) = struct.unpack(">h", input_length.encode())
    return sys.stdin.read(size).split(":", 3)


def to_ejabberd(result):
    sys.stdout.write(struct.pack(">hh", 2, 1 if result else 0).decode())
    sys.stdout.flush()


def isuser(user, server):
    return not user.split("-")[-1].startswith("no")


def auth(user, server, password):
    return isuser(user, server) and password == "pw-" + user


while True:
    data = from_ejabberd()
    success = False
    if data[0] == "auth":
        success = auth(data[1], data[2], data[3])
    elif data[0] == "isuser" or data[0] == "setpass":
        success = isuser(data[1], data[2])
    to_ejabberd(success)
