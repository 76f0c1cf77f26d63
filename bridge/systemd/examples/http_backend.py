#!/usr/bin/python3 -I
"""Passwords from a web application: its status says yes (200) or no (401, 403, 404); what it writes does not count.

Edit what follows; install -m 755 -D http_backend.py /opt/auth/http_backend.py; in auth.toml:

  program = "/opt/auth/http_backend.py"
  commands = ["auth", "isuser"]  # and "setpass", if it is among COMMANDS, too

It gets a form by POST, in UTF-8: command=auth&user=alice&host=example.com&password=secret; isuser has no password.
Any other status, such as a redirect, ends this program without a reply, and so does the end of TIMEOUT, by SIGALRM:
nobody could be asked.  At its start it asks with a name and a password that it has made up: a page that says yes to
these, as a form for logins does, is not believed.
"""

import base64
import contextlib
import http.client
import os
import resource
import secrets
import signal
import ssl
import sys
from urllib.parse import urlencode, urlsplit

URL = "https://www.example.com/xmpp-auth"  # http:// only on this machine
CA = None  # a file with who may have signed the certificate; None: whom this system trusts
COMMANDS = "auth isuser"  # what the application knows
BASIC = ""  # instead of a form: GET URL, by Basic authentication as "{user}", or "{user}@{host}"; tells auth only
ISUSER = True  # without isuser: are there users of any name?  If not, Prosody refuses messages to users who are
# offline, and contact requests; if so, it takes them for users who do not exist, too.  It lets nobody in.
TIMEOUT = 3.0  # seconds for an answer: less than the bridge's answer_timeout

LONGEST = 1000  # bytes of name and password in BASIC: servers refuse headers of some length
HERE = (("http", "localhost"), ("http", "127.0.0.1"), ("http", "::1"))
WHERE = urlsplit(URL)
PATH = WHERE._replace(scheme="", netloc="").geturl() or "/"
context: ssl.SSLContext


def start() -> None:
    global context
    if WHERE.scheme != "https" and (WHERE.scheme, WHERE.hostname) not in HERE:
        raise Trouble("URL must begin with https://")
    context = ssl.create_default_context(cafile=CA)
    if status("auth", secrets.token_hex(8), "localhost", secrets.token_hex(8)) == 200:
        raise Trouble(f"{URL} says yes to a name and a password that were made up")


def status(command: str, user: str, host: str, password: str = "") -> int:
    """What the application answers, on a connection of its own: so it cannot be the answer to another question."""
    if WHERE.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            WHERE.netloc, timeout=TIMEOUT - 0.5, context=context
        )
    else:
        connection = http.client.HTTPConnection(WHERE.netloc, timeout=TIMEOUT - 0.5)
    with contextlib.closing(connection):
        if BASIC:
            plain = f"{BASIC.format(user=user, host=host)}:{password}".encode()
            if len(plain) > LONGEST:
                return 401
            login = base64.b64encode(plain).decode()
            connection.request("GET", PATH, None, {"Authorization": f"Basic {login}", "Connection": "close"})
        else:
            form = {"command": command, "user": user, "host": host} | ({"password": password} if password else {})
            kind = "application/x-www-form-urlencoded"
            connection.request("POST", PATH, urlencode(form), {"Content-Type": kind, "Connection": "close"})
        return connection.getresponse().status


def ask(*question: str) -> bool:
    answered = status(*question)
    if answered not in (200, 401, 403, 404):
        raise Trouble(f"{URL} answers {answered}")
    return answered == 200


def check(user: str, host: str, secret: str) -> bool:
    return ask("auth", user, host, secret)


def exists(user: str, host: str) -> bool:
    return ask("isuser", user, host) if "isuser" in COMMANDS.split() and not BASIC else ISUSER


def change(user: str, host: str, secret: str) -> bool:
    return "setpass" in COMMANDS.split() and not BASIC and ask("setpass", user, host, secret)


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
