#!/usr/bin/python3 -I
"""Passwords of this machine's accounts: has saslauthd ask PAM, and needs no privilege itself.

apt-get install sasl2-bin; in /etc/default/saslauthd: START=yes, MECHANISMS="pam"; adduser extauth-bridge sasl
/etc/pam.d/xmpp, where `account` is what refuses accounts that have expired:

  auth required pam_unix.so nodelay
  account required pam_unix.so

Edit what follows; install -m 755 -D pam_saslauthd.py /opt/auth/pam_saslauthd.py; in auth.toml:

  program = "/opt/auth/pam_saslauthd.py"
  commands = ["auth", "isuser"]

systemctl restart saslauthd.service extauth-bridge.service
All XMPP domains have the same users.  If saslauthd is away or silent, this program ends without a reply: nobody could
be asked.  If what PAM asks is away, saslauthd says NO; that cannot be told from a wrong password.
"""

import os
import pwd
import resource
import signal
import socket
import sys

SOCKET = "/run/saslauthd/mux"
SERVICE = "xmpp"  # the file in /etc/pam.d
REALM = ""  # PAM does not look at it; others of saslauthd's mechanisms do
FIRST_UID = 1000  # accounts below are the system's: nobody is let in as root, nor tries root's passwords
TIMEOUT = 3.5  # seconds for an answer: less than the bridge's answer_timeout, more than PAM delays a no

LONGEST = 256  # bytes of a field: saslauthd's MAX_REQ_LEN
NOBODY = (b"NO PAM start error", b"NO internal mechanism failure", b"NO NULL response from mechanism")


def start() -> None:
    connect().close()  # now: nobody should wait for one that cannot ask


def connect() -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.settimeout(TIMEOUT - 0.5)
    server.connect(SOCKET)
    return server


def uid(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def check(user: str, host: str, secret: str) -> bool:
    fields = [field.encode() for field in (user, secret, SERVICE, REALM)]
    account = uid(user)
    if (account is not None and account < FIRST_UID) or max(map(len, fields)) > LONGEST:
        return False
    with connect() as server, server.makefile("rb") as replies:
        server.sendall(b"".join(len(field).to_bytes(2, "big") + field for field in fields))
        size = int.from_bytes(replies.read(2), "big")
        reply = replies.read(size)
    status = reply.split(b" ")[0]
    if len(reply) < size or status not in (b"OK", b"NO") or reply in NOBODY:
        raise Trouble("saslauthd says neither yes nor no")
    return status == b"OK"


def exists(user: str, host: str) -> bool:
    account = uid(user)
    return account is not None and account >= FIRST_UID


def change(user: str, host: str, secret: str) -> bool:
    return False  # saslauthd cannot


# --- The same in all examples: questions on stdin, replies on stdout ----------------------------------------


class Trouble(Exception):
    """Nobody can be asked.  Its text is shown, so nothing of a question is in it."""


def answer(text: str) -> bool:
    """Whether `command:user:host[:secret]` is granted; the secret is all the rest, colons included."""
    command, *fields = text.split(":", 3)
    if "" in fields or any(char < " " or "\x7f" <= char <= "\x9f" or char == "\ufffd" for char in text):
        return False
    match command, fields:
        case "auth", [user, host, secret]:
            return check(user, host, secret)
        case "isuser", [user, host]:
            return exists(user, host)
        case "setpass", [user, host, secret]:
            return change(user, host, secret)
        case _:
            return False


try:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold passwords
    signal.setitimer(signal.ITIMER_REAL, TIMEOUT)  # SIGALRM ends the process, wherever it waits
    start()
    signal.setitimer(signal.ITIMER_REAL, 0)
    while len(head := sys.stdin.buffer.read(2)) == 2:
        size = int.from_bytes(head, "big")
        if len(body := sys.stdin.buffer.read(size)) < size:
            break  # only a part of a question
        signal.setitimer(signal.ITIMER_REAL, TIMEOUT)
        granted = answer(body.decode(errors="replace"))
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(1, b"\0\2\0\1" if granted else b"\0\2\0\0")
except Exception as error:  # and no reply: nobody was asked.  What other errors say could hold a secret
    sys.exit(f"{sys.argv[0]}: {error if isinstance(error, Trouble | OSError) else type(error).__name__}")
