"""Unix sockets that clients connect to, and the identity of the process at the other end of a connection.

  - A socket's file never has wider permissions than configured, and has exactly those before anybody can connect.
  - Only a dead daemon's socket is replaced, never a live one's or anything that is not a socket.
  - While a daemon checks, makes or removes its file, it holds a lock on the directory: of two daemons that start at the
    same moment, one sees that the other's socket is in use.
  - A file is removed only by the daemon that made it, and only if it still is that very file.

Nothing here waits longer than `PATIENCE`, and a daemon that is stopping, with clients to answer, hardly at all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import socket
import stat
import struct
import time
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from bridge.config.settings import ConfigError
from bridge.log.text import escaped
from bridge.loop.streams import SOCKET_PATH_MAX

BACKLOG = 128
"""Connections that may wait to be accepted; beyond that connecting blocks, or says EAGAIN."""

PATIENCE = 5.0
"""Seconds to wait for the lock on the directory.  Another daemon holds it for about a millisecond."""

_LITTLE_PATIENCE = 0.1
"""Seconds to wait for it while clients wait.  Anybody who may read the directory can lock it."""

_LOCK_PAUSE = 0.01
"""Seconds between two tries: flock(2) has no timeout."""

_UCRED = struct.Struct("=iII")
"""`struct ucred`: pid, uid, gid (unix(7))."""

_SO_PEERGROUPS = 59
"""From asm-generic/socket.h, since Linux 4.13; Python has no name for it."""

_MOST_GROUPS = 256
"""As many as fit into the 1024 bytes of Python's getsockopt.  If a peer has more groups, only its gid is known."""

_MAX_ID = 2**32 - 2
"""(uid_t) -1 means "none" everywhere."""


class ListenError(ConfigError):
    """A socket cannot be used, or a user or group is unknown.  `str(error)` is one line for the operator."""

    def __init__(self, text: str) -> None:
        super().__init__(escaped(text))


class Listener:
    """A socket that clients connect to.

    Args:
      sock: listening and non-blocking; closed with the listener.
      path: its address, for messages.
      made: device and inode of the file, if we made it and have to remove it.
    """

    def __init__(self, sock: socket.socket, path: str, made: tuple[int, int] | None = None) -> None:
        self.socket = sock
        self.path = path
        self._made = made

    @classmethod
    def inherited(cls, sock: socket.socket) -> Listener:
        """A listener for a socket that was passed to us, with a file that is not ours."""
        address = sock.getsockname()
        path = os.fsdecode(address)  # bytes for one in the abstract namespace
        return cls(sock, "@" + path[1:] if path.startswith("\0") else path)

    def fileno(self) -> int:
        """The descriptor to watch; -1 once closed."""
        return self.socket.fileno()

    def withdraw(self) -> None:
        """Remove the file, if we made it and it still is that one.  Connections, accepted or queued, are not affected.

        A file that cannot be removed is left: the next daemon replaces it.
        """
        made, self._made = self._made, None
        if made is None:
            return
        directory, name = os.path.split(self.path)
        with contextlib.suppress(ListenError, OSError), _alone_in(directory, _LITTLE_PATIENCE) as place:
            # Our socket, still open, keeps the inode, so that no other file can have got its number.
            _remove(name, place, made)

    def close(self) -> None:
        """Withdraw, and close the socket.  One that another process holds too (systemd's) goes on queueing there."""
        if self.fileno() >= 0:
            self.withdraw()
            self.socket.close()


def listen(path: str, mode: int) -> Listener:
    """Make a listening stream socket at `path`, non-blocking and close-on-exec.

    Args:
      path: made absolute, as the working directory changes.
      mode: permissions of the file, whatever the umask; connecting requires write permission.

    Raises:
      ListenError: another daemon listens there, something else is there, the directory is missing, ...
    """
    path = os.path.abspath(path)
    if "\0" in path:
        raise ListenError(f"{path}: a path cannot hold a zero byte")
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise ListenError(f"{path}: too long for a socket, at most {SOCKET_PATH_MAX} bytes are possible")
    directory, name = os.path.split(path)
    try:
        with _alone_in(directory, PATIENCE) as place:
            _clear(path, name, place)
            return _make(path, name, mode, place)
    except OSError as error:
        raise ListenError(f"{path}: cannot listen there: {error.strerror}") from error


class Peer(NamedTuple):
    """A connection's other end, as it was when it connected.  65534 is an id unknown in our user namespace.

    Attributes:
      pid: 0 if it is unknown in our pid namespace.
      groups: `gid` and the supplementary groups.
    """

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]


def peer(sock: socket.socket) -> Peer:
    """The process connected to `sock`.

    The groups are those the kernel recorded with pid, uid and gid.  /proc/PID/status may by now be another
    process's, and ProtectProc=invisible hides it from us; the user database (getgrouplist) does not know the
    process's real groups, such as SupplementaryGroups= of a unit, and may ask the network.

    Raises:
      OSError: `sock` is not a Unix socket.
    """
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    groups = b""
    with contextlib.suppress(OSError):  # too many groups, or a kernel without it: fewer rights, never more
        groups = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    return Peer(pid, uid, gid, frozenset([gid, *memoryview(groups).cast("I")]))


def allowed(peer: Peer, users: frozenset[int] | None, groups: frozenset[int] | None) -> bool:
    """Whether `peer` may be a client: it is one of the users, or in one of the groups.

    Args:
      users: uids.
      groups: gids.  If both are `None`, everybody is allowed; root has no special rights.
    """
    if users is None and groups is None:
        return True
    return (users is not None and peer.uid in users) or (groups is not None and not groups.isdisjoint(peer.groups))


def resolve_users(names: Sequence[str]) -> frozenset[int]:
    """The uids of users given by name or number.

    Raises:
      ListenError: one is unknown; the message names the first such.
    """
    return frozenset(_resolved("user", name, lambda name: pwd.getpwnam(name).pw_uid) for name in names)


def resolve_groups(names: Sequence[str]) -> frozenset[int]:
    """The gids of groups given by name or number.

    Raises:
      ListenError: one is unknown; the message names the first such.
    """
    return frozenset(_resolved("group", name, lambda name: grp.getgrnam(name).gr_gid) for name in names)


def _resolved(kind: str, name: str, look_up: Callable[[str], int]) -> int:
    # A number needs no entry in the user database, and is never taken for a name.
    if name.isascii() and name.isdigit():
        if len(name) > len(str(_MAX_ID)) or int(name) > _MAX_ID:
            raise ListenError(f"no {kind} can have the number {name}")
        return int(name)
    try:
        return look_up(name)
    except (KeyError, ValueError, OSError) as error:  # unknown; no possible name; no database
        raise ListenError(f'there is no {kind} "{name}"') from error


@contextlib.contextmanager
def _alone_in(directory: str, patience: float) -> Generator[int, None, None]:
    """Lock `directory` against other daemons, and return its descriptor.

    The directory itself is locked: a lock file could never be removed, as that would open the race it is to prevent.
    """
    try:
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ListenError(f"{directory}: cannot use this directory for a socket: {error.strerror}") from error
    try:
        _lock(place, directory, patience)
        yield place
    finally:
        os.close(place)  # releases the lock


def _lock(place: int, directory: str, patience: float) -> None:
    until = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise ListenError(f"{directory}: another process keeps this directory locked") from None
        time.sleep(_LOCK_PAUSE)


def _clear(path: str, name: str, place: int) -> None:
    """Remove a dead daemon's socket, if there is one."""
    try:
        mode = os.stat(name, dir_fd=place, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"{path}: something is there that is not a socket: remove it, or listen elsewhere")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        status = probe.connect_ex(path)
    if status in (0, errno.EAGAIN):  # EAGAIN: alive, with a full backlog
        raise ListenError(f"{path}: another daemon listens there")
    if status == errno.EPROTOTYPE:
        raise ListenError(f"{path}: another process uses this socket, but not for connections")
    if status != errno.ECONNREFUSED:
        raise ListenError(f"{path}: cannot tell whether another daemon listens there: {os.strerror(status)}")
    os.unlink(name, dir_fd=place)


def _make(path: str, name: str, mode: int, place: int) -> Listener:
    sock = socket.socket(socket.AF_UNIX)
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        sock.setblocking(False)
        # bind gives the file the socket's mode less the umask: at most `mode` from the first moment, without changing
        # the umask, which belongs to the whole process.
        os.fchmod(sock.fileno(), mode)
        sock.bind(path)
        made = _identity(name, place)
        undo.callback(_remove, name, place, made)
        _set_mode(name, mode, place)
        sock.listen(BACKLOG)  # before this, connecting is refused
        undo.pop_all()
    return Listener(sock, path, made)


def _set_mode(name: str, mode: int, place: int) -> None:
    """chmod, only if needed, and never through a symbolic link."""
    file = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    try:
        if stat.S_IMODE(os.fstat(file).st_mode) != mode:
            os.chmod(f"/proc/self/fd/{file}", mode)
    finally:
        os.close(file)


def _remove(name: str, place: int, made: tuple[int, int]) -> None:
    if _identity(name, place) == made:
        os.unlink(name, dir_fd=place)


def _identity(name: str, place: int) -> tuple[int, int]:
    status = os.stat(name, dir_fd=place, follow_symlinks=False)
    return status.st_dev, status.st_ino
