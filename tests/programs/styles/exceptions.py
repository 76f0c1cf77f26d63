#!/usr/bin/env python3
"""Says nothing to a question that raises an exception: here, of a password with a colon."""

import logging
import struct
import sys

logging.basicConfig(filename="/dev/null", level=logging.INFO)


def isuser(user, server):
    return not user.split("-")[-1].startswith("no")


def auth(user, server, password):
    return isuser(user, server) and password == "pw-" + user


def reply(result):
    sys.stdout.buffer.write(struct.pack(">HH", 2, int(result)))
    sys.stdout.buffer.flush()


while True:
    header = sys.stdin.buffer.read(2)
    if len(header) < 2:
        break
    (size,) = struct.unpack(">H", header)
    try:
        fields = sys.stdin.buffer.read(size).decode("utf-8").split(":")
        if fields[0] == "auth":
            _, user, server, password = fields
            reply(auth(user, server, password))
        elif fields[0] in ("isuser", "setpass"):
            reply(isuser(fields[1], fields[2]))
        else:
            reply(False)
    except Exception:
        logging.exception("could not handle request")
