"""Sockets that systemd passes to a daemon it activates: sd_listen_fds(3).

Only variables addressed to this very process count: they may have been inherited.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Mapping
from typing import NamedTuple

from bridge.clients.listeners import ListenError
from bridge.daemon.systemd import number

NAMES = ("auth", "status")
"""What a socket can be for: `FileDescriptorName=` in its unit; without any name, in this order."""

_FIRST = 3
"""SD_LISTEN_FDS_START."""

_FILE_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class Handed(NamedTuple):
    """The sockets that systemd passed.

    Attributes:
      sockets: name (one of NAMES, repeated if there are several) and listening Unix stream socket, non-blocking
        and close-on-exec.  Its file is not ours, and must never be unlinked or changed.
      reason: for the log, why there are none although the environment mentions some; otherwise empty.
    """

    sockets: list[tuple[str, socket.socket]]
    reason: str


def handed_over(environ: Mapping[str, str], pid: int) -> Handed:
    """Take the sockets that `environ` says were passed to process `pid`, us.  To be called once, and early.

    Raises:
      ListenError: saying what was passed instead of listening Unix stream sockets with known names.
        All descriptors then stay open, and unchanged except for close-on-exec.
    """
    if not environ.keys() & {"LISTEN_PID", "LISTEN_FDS"}:
        return Handed([], "")
    said = environ.get("LISTEN_PID", "")
    if number(said) != pid:
        return Handed([], f'sockets were handed to the process "{said}" by LISTEN_PID, and not to us, {pid}')
    count = number(environ.get("LISTEN_FDS", ""))
    if count is None:
        raise ListenError(f'LISTEN_FDS must be a number, not "{environ.get("LISTEN_FDS", "")}"')
    names = _names(environ.get("LISTEN_FDNAMES", ""), count)
    descriptors = range(_FIRST, _FIRST + count)
    for descriptor in descriptors:
        _keep_private(descriptor, count)
    with contextlib.ExitStack() as undo:
        sockets: list[tuple[str, socket.socket]] = []
        for name, descriptor in zip(names, descriptors, strict=True):
            sock = _listening(name, descriptor)
            undo.callback(sock.detach)
            sockets.append((name, sock))
        undo.pop_all()
    for _, sock in sockets:
        sock.setblocking(False)
    return Handed(sockets, "")


def _names(given: str, count: int) -> list[str]:
    """A name for each of `count` sockets."""
    names = given.split(":") if given else [*NAMES[:count]]  # no names: systemd-socket-activate without --fdname
    if len(names) != count:
        what = f"{len(names)} names" if given else "no names"
        raise ListenError(f"{count} sockets were handed over with {what}: set FileDescriptorName= for each")
    for name in names:
        if name not in NAMES:
            known = " or ".join(NAMES)
            raise ListenError(f'a socket named "{name}" was handed over: FileDescriptorName= must be {known}')
    return names


def _keep_private(descriptor: int, count: int) -> None:
    try:
        os.set_inheritable(descriptor, False)
    except OSError as error:
        raise ListenError(f"LISTEN_FDS is {count}, but descriptor {descriptor} is not open") from error


def _listening(name: str, descriptor: int) -> socket.socket:
    """The listening Unix stream socket on `descriptor`.

    Raises:
      ListenError: it is something else.
    """
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFSOCK:
        raise _unwanted(name, descriptor, _FILE_KINDS.get(kind, "no socket"))
    with contextlib.ExitStack() as undo:
        try:
            sock = socket.socket(fileno=descriptor)
            undo.callback(sock.detach)
            listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        except OSError as error:
            raise _unwanted(name, descriptor, f"a socket that cannot be used ({error.strerror})") from error
        if (sock.family, sock.type, listening) != (socket.AF_UNIX, socket.SOCK_STREAM, True):
            family = getattr(sock.family, "name", f"family {sock.family}")
            sort = getattr(sock.type, "name", f"type {sock.type}")
            state = "listening" if listening else "not listening"
            raise _unwanted(name, descriptor, f"a socket of {family} {sort}, {state}")
        undo.pop_all()
        return sock


def _unwanted(name: str, descriptor: int, found: str) -> ListenError:
    return ListenError(
        f'descriptor {descriptor} ("{name}") must be a listening AF_UNIX SOCK_STREAM socket '
        f"(ListenStream=/path, Accept=no), but {found} was handed over"
    )
