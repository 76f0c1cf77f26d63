#!/usr/bin/python3 -I
"""Passwords from an LDAP directory: finds the user's entry, and binds as that.

apt-get install python3-ldap; edit what follows; install -m 755 -D ldap_bind.py /opt/auth/ldap_bind.py; in auth.toml:

  program = "/opt/auth/ldap_bind.py"
  commands = ["auth", "isuser"]  # and "setpass", if BIND_DN may change passwords

"No" is a wrong password, a locked account, or an unknown user.  Whatever else the directory says ends this program
without a reply, and so does the end of TIMEOUT, by SIGALRM: nobody could be asked.
"""

import os
import resource
import signal
import sys
from urllib.parse import urlsplit

import ldap
from ldap.dn import escape_dn_chars
from ldap.filter import escape_filter_chars

URI = "ldaps://ldap.example.com"  # ldap:// means STARTTLS, but to this machine; several: all ldaps:// or all ldap://
CA = "/etc/ssl/certs/ca-certificates.crt"  # who may have signed the certificate, which must be of the name in URI
BASE = "ou=people,dc=example,dc=com"
FILTER = "(&(objectClass=person)(uid={user}))"  # of exactly one entry; or (mail={user}@{host})
DN = ""  # instead of BASE and FILTER: "uid={user},ou=people,dc=example,dc=com"; isuser then says yes to any name
BIND_DN = ""  # who searches, and changes passwords; if empty, the search is anonymous, and there are no changes
PASSWORD_FILE = "/etc/extauth-bridge/ldap.password"  # BIND_DN's; mode 0640, group extauth-bridge
TIMEOUT = 3.0  # seconds for an answer: less than the bridge's answer_timeout

SERVERS = [urlsplit(one) for one in URI.replace(",", " ").split()]  # each may be the one that is connected to
NO = (ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE_AUTH, ldap.NO_SUCH_OBJECT)
FORBIDDEN = (ldap.CONSTRAINT_VIOLATION, ldap.UNWILLING_TO_PERFORM)  # a password against the policy; 389 DS: locked


def start() -> None:
    global password
    password = open(PASSWORD_FILE).read().strip("\r\n") if BIND_DN else ""
    if BIND_DN and not password:
        raise Trouble(f"{PASSWORD_FILE} is empty")
    for option, value in {
        ldap.OPT_NETWORK_TIMEOUT: TIMEOUT - 0.5,
        ldap.OPT_TIMEOUT: TIMEOUT - 0.5,
        ldap.OPT_REFERRALS: 0,  # who is referred to would be sent the password
        ldap.OPT_X_TLS_REQUIRE_CERT: ldap.OPT_X_TLS_DEMAND,  # whatever ldap.conf says
        ldap.OPT_X_TLS_CACERTFILE: CA,
    }.items():
        ldap.set_option(option, value)
    connect()
    if not DN:
        bind(BIND_DN, password)  # now: nobody should wait for one that cannot ask


def connect() -> None:
    global directory
    directory = ldap.initialize(URI)
    if not all(to.scheme in ("ldaps", "ldapi") or to.hostname in ("localhost", "127.0.0.1", "::1") for to in SERVERS):
        directory.start_tls_s()


def bind(dn: str, secret: str) -> None:
    """Bind; on a new connection if the old one was lost meanwhile."""
    try:
        directory.simple_bind_s(dn, secret)
    except ldap.SERVER_DOWN:
        connect()
        directory.simple_bind_s(dn, secret)


def find(user: str, host: str) -> str:
    """The DN of the user's entry, with BIND_DN bound; empty unless there is exactly one."""
    if BIND_DN or not DN:
        bind(BIND_DN, password)
    if DN:
        dn = DN.format(user=escape_dn_chars(user), host=escape_dn_chars(host))
        return dn if len(dn) < 2000 else ""  # a directory would say that it is none
    wanted = FILTER.format(user=escape_filter_chars(user), host=escape_filter_chars(host))
    try:
        found = directory.search_ext_s(BASE, ldap.SCOPE_SUBTREE, wanted, ["1.1"], sizelimit=2)
    except ldap.SIZELIMIT_EXCEEDED:
        return ""
    entries = [dn for dn, _ in found if dn]  # referrals have none
    return entries[0] if len(entries) == 1 else ""


def check(user: str, host: str, secret: str) -> bool:
    if not secret or not (dn := find(user, host)):
        return False  # without either a bind is anonymous, and succeeds
    try:
        bind(dn, secret)
    except (*NO, *FORBIDDEN):
        return False
    return True


def exists(user: str, host: str) -> bool:
    return bool(find(user, host))


def change(user: str, host: str, secret: str) -> bool:
    if not BIND_DN or not (dn := find(user, host)):
        return False  # without a DN it would be the password of whoever is bound
    try:
        directory.passwd_s(dn, None, secret)  # RFC 3062: the directory hashes it
    except (ldap.NO_SUCH_OBJECT, *FORBIDDEN):
        return False
    return True


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
