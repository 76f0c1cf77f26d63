#!/usr/bin/env python3
"""Logs whole questions, with their passwords, on stderr."""

import logging
import struct
import sys

logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)s %(message)s")
log = logging.getLogger("extauth")


def isuser(user):
    return not user.split("-")[-1].startswith("no")


def auth(user, password):
    return isuser(user) and password == "pw-" + user


while True:
    header = sys.stdin.buffer.read(2)
    if len(header) < 2:
        log.info("end of input, exiting")
        break
    data = sys.stdin.buffer.read(struct.unpack(">H", header)[0]).decode("utf-8")
    log.debug("received: %s", data)
    command, user, _server, *password = data.split(":", 3)
    if command == "auth":
        result = auth(user, password[0])
    elif command in ("isuser", "setpass"):
        result = isuser(user)
    else:
        result = False
    log.debug("result: %s", result)
    sys.stdout.buffer.write(struct.pack(">HH", 2, int(result)))
    sys.stdout.buffer.flush()
