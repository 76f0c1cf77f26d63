"""A small ejabberd program for the tests on a pty: a truth table, a delay, a gate.

Settings come from the environment:

- USERS: a JSON file, `{"user@host": "password"}`, read for every question, written by setpass;
- DELAY: seconds before every answer;
- CONTROL: a Unix socket of the test. It hears `hello PID`, then `asked HEX` for every question and `answered HEX 0|1`
  for every answer;
- GATED: users, space-separated, whose questions are answered only when the test says `go` on that socket;
- NOISE: bytes of stderr written for every question, in which the question itself occurs, password and all.
"""

import json
import os
import socket
import sys
import time

USERS = os.environ["USERS"]
DELAY = float(os.environ.get("DELAY", "0"))
GATED = os.environ.get("GATED", "").split()
NOISE = int(os.environ.get("NOISE", "0"))

control = socket.socket(socket.AF_UNIX)
control.connect(os.environ["CONTROL"])


def say(text: str) -> None:
    """One line to the test; when the test is gone there is nothing left to do."""
    try:
        control.sendall(text.encode() + b"\n")
    except OSError:
        sys.exit(0)


def answer(body: bytes) -> bool:
    """The truth."""
    command, _, rest = body.decode().partition(":")
    user, _, rest = rest.partition(":")
    host, _, secret = rest.partition(":")
    with open(USERS, encoding="utf-8") as file:
        users = json.load(file)
    name = f"{user}@{host}"
    if user in GATED and not control.recv(3):
        sys.exit(0)
    if command == "isuser":
        return name in users
    if command == "auth":
        return users.get(name) == secret
    if command == "setpass" and name in users:
        users[name] = secret
        with open(USERS + ".new", "w", encoding="utf-8") as file:
            json.dump(users, file)
        os.replace(USERS + ".new", USERS)
        return True
    return False


def main() -> None:
    """Frames until end of input."""
    say(f"hello {os.getpid()}")
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while len(header := stdin.read(2)) == 2:
        body = stdin.read(int.from_bytes(header, "big"))
        say(f"asked {body.hex()}")
        for _ in range(NOISE // 1000):
            sys.stderr.buffer.write((b"1\n0\nwarning: " + body + b"\n").ljust(1000, b"!"))
        sys.stderr.flush()
        verdict = answer(body)
        time.sleep(DELAY)
        stdout.write(b"\0\2\0\1" if verdict else b"\0\2\0\0")
        stdout.flush()
        say(f"answered {body.hex()} {verdict:d}")


main()
