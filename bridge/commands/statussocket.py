"""The status sockets of running daemons: where they are, what they say, and why one cannot be read."""

from __future__ import annotations

import errno
import glob
import grp
import json
import os
import pwd
import socket
import time
from typing import Any, cast

from bridge.clients.page import VERSION

FOLDER = "/run/extauth-bridge"
SOCKET = f"{FOLDER}/status.sock"
"""That of the systemd units; their instances have theirs next to it."""

_INSTANCE = ".status.sock"

_PATIENCE = 10.0
"""Seconds for the daemon to answer: systemd may have to start it first."""

_LARGEST = 1 << 26
"""Bytes of a page: a hundred times what one of ten thousand programs takes."""

_HOW = (
    "with systemd: systemctl enable --now extauth-bridge-status.socket; a daemon started by hand needs status_listen "
    "and its path here; the bridge that Prosody starts has none, but logs its figures on SIGUSR1"
)


class Unreadable(Exception):
    """A daemon's status cannot be read; the text says why, and what to do."""


def found() -> dict[str, str]:
    """The sockets of the systemd units, by instance; that of the plain unit by an empty string."""
    instances = {path[len(FOLDER) + 1 : -len(_INSTANCE)]: path for path in sorted(glob.glob(f"{FOLDER}/*{_INSTANCE}"))}
    return ({"": SOCKET} if os.path.exists(SOCKET) else {}) | instances


def read(path: str) -> dict[str, Any]:
    """The page of the daemon that listens on `path`.

    Raises:
      Unreadable: there is none, or not in a format of this version.
    """
    until = time.monotonic() + _PATIENCE
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(path)
            connection.shutdown(socket.SHUT_WR)  # a socket for clients is closed then, instead of waiting for a line
            told = cast("dict[str, Any] | None", json.loads(_received(connection, until) or b"null"))
        except OSError as error:
            raise Unreadable(explained(path, error)) from None
        except (ValueError, RecursionError):
            told = None
    if not isinstance(told, dict) or told.get("version") != VERSION:
        raise not_understood(path)
    return told


def not_understood(path: str) -> Unreadable:
    """The error for what is no page of this version."""
    return Unreadable(f"{path}: this is not the status socket of an extauth-bridge that this version understands")


def _received(connection: socket.socket, until: float) -> bytes:
    """All that the other end says; nothing if that is more than any page.

    Raises:
      OSError: it breaks off, or does not end in time, however often it says something.
    """
    said = bytearray()
    while more := connection.recv(65536):
        said += more
        if len(said) > _LARGEST:
            return b""
        if (left := until - time.monotonic()) <= 0:
            raise TimeoutError
        connection.settimeout(left)
    return bytes(said)


def none_found() -> str:
    """What to do if there is no socket where systemd has them."""
    return f"no daemon's status socket in {FOLDER}; {_HOW}"


def explained(path: str, error: OSError) -> str:
    """Why a status socket cannot be read, and what to do."""
    if error.errno == errno.ENOENT:
        return f"{path}: there is no such socket; {_HOW}"
    if error.errno == errno.ECONNREFUSED:
        return f"{path}: nobody listens there: the daemon has ended, or this is no socket"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path}: you may not read it{_readers(path)}"
    if isinstance(error, TimeoutError):
        return f"{path}: no answer within {_PATIENCE:g} s: the daemon hangs or cannot be started (systemctl status)"
    return f"{path}: {error.strerror or error}"


def _readers(path: str) -> str:
    """For whom a socket is, as far as that can be seen."""
    try:
        there = os.stat(path)
        return f": it is for user {pwd.getpwuid(there.st_uid).pw_name} and group {grp.getgrgid(there.st_gid).gr_name}"
    except (OSError, KeyError):
        return ""
