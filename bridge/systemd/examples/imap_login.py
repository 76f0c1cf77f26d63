#!/usr/bin/python3 -I
"""Passwords from a mail server: logs in by IMAP as the user.

Edit what follows; install -m 755 -D imap_login.py /opt/auth/imap_login.py; in auth.toml:

  program = "/opt/auth/imap_login.py"
  commands = ["auth", "isuser"]

A NO with one of RFC 5530's codes but those for wrong passwords, such as [UNAVAILABLE], and whatever else the server
says ends this program without a reply, and so does the end of TIMEOUT, by SIGALRM: nobody could be asked.  A NO without
a code counts as a wrong password.

Dovecot has an address with wrong passwords wait, up to 15 seconds, for right ones, too; all come from this one now.
What ends that, and leaves it to the bridge and fail2ban, who know the clients' addresses:

  service anvil {
    unix_listener anvil-auth-penalty {
      mode = 0
    }
  }
"""

import base64
import os
import resource
import signal
import socket
import ssl
import sys
from typing import BinaryIO

HOST, PORT = "imap.example.com", 993
TLS = True  # from the first byte on; False only on this machine
CA = None  # a file with who may have signed the certificate; None: whom this system trusts
LOGIN = "{user}@{host}"  # or "{user}"
ISUSER = True  # IMAP cannot tell who exists: are there users of any name?  If not, Prosody refuses messages to users
# who are offline, and contact requests; if so, it takes them for users who do not exist, too.  It lets nobody in.
TIMEOUT = 3.5  # seconds for an answer: less than the bridge's answer_timeout, more than a NO is held back

HERE: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
NO = (b"[AUTHENTICATIONFAILED]", b"[AUTHORIZATIONFAILED]", b"[EXPIRED]")
LONGEST = 1000  # bytes of name and password: servers end the connection at some length
context: ssl.SSLContext


def start() -> None:
    global context
    context = ssl.create_default_context(cafile=CA)
    connect().close()  # now: nobody should wait for one that cannot ask


def connect() -> socket.socket:
    if not TLS and HOST not in HERE:
        raise Trouble("TLS must be True")
    server = socket.create_connection((HOST, PORT), TIMEOUT - 0.5)
    return context.wrap_socket(server, server_hostname=HOST) if TLS else server


def check(user: str, host: str, secret: str) -> bool:
    plain = f"\0{LOGIN.format(user=user, host=host)}\0{secret}".encode()
    if len(plain) > LONGEST:
        return False
    with connect() as server, server.makefile("rb") as replies:
        if not line(replies).startswith(b"* OK"):
            raise Trouble("the server is busy, or asks nobody for a password (PREAUTH)")
        server.sendall(b"1 AUTHENTICATE PLAIN\r\n")
        if not reply(replies).startswith(b"+"):
            raise Trouble("the server does not take AUTHENTICATE PLAIN here")
        server.sendall(base64.b64encode(plain) + b"\r\n")  # so that nothing can end the line or a quoted string
        match reply(replies).split():
            case [b"1", b"OK", *_]:
                return True
            case [b"1", b"NO", *words] if not words or words[0].upper() in NO or not words[0].startswith(b"["):
                return False
            case _:
                raise Trouble("the server says neither yes nor no, as when its own back end is away")


def reply(replies: BinaryIO) -> bytes:
    """To our command; untagged ones are about other things."""
    while (data := line(replies)).startswith(b"* "):
        pass
    return data


def line(replies: BinaryIO) -> bytes:
    if not (data := replies.readline(8192)).endswith(b"\r\n"):
        raise Trouble("the server has ended the connection")
    return data


def exists(user: str, host: str) -> bool:
    return ISUSER


def change(user: str, host: str, secret: str) -> bool:
    return False  # IMAP has no command for it


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
