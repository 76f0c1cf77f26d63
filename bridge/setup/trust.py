"""Whether only root can change the code that a service runs.

Whoever can write to a file, or to a directory on the way to it, decides what it does: also where the sticky bit is set,
for a name that is free for a moment can be taken.  Links are followed, each step of the way.  An access list that lets
others write shows as a group that may.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from bridge.setup.host import Host
from bridge.worker.startfault import HOMES

_LINKS = 40
"""More links than the kernel follows."""

Faults = dict[str, str]
"""What is wrong with a path."""


class Trust:
    """Looks at what a service is to run.

    Attributes:
      faults: what others than the host's owner can write, or the service cannot use, and why.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._seen: set[tuple[Path, frozenset[int]]] = set()
        self.faults: Faults = {}

    def path(self, path: str | Path, *, owners: Iterable[int] = ()) -> None:
        """Look at every directory on the way to a path, and at what is there, if anything is.

        Args:
          owners: users who may own the last of them, too.
        """
        way = [*self._way(Path(path))]
        for at in way:
            self._look(at, frozenset(owners) if at == way[-1] else frozenset())

    def tree(self, top: str | Path) -> None:
        """Look at a path, and at everything below it."""
        self.path(top)
        for folder, folders, names in os.walk(self._host.path(top)):
            for name in (*folders, *names):
                entry = Path(folder, name)
                if entry.is_symlink():
                    self.path(self._named(entry))
                else:
                    self._look(entry)

    def usable(self, path: str | Path) -> None:
        """Find out whether every user can get at a path, within the units' sandbox."""
        for at in self._way(Path(path)):
            mode = at.stat().st_mode
            if str(self._named(at)) in HOMES:
                self._fault(at, f"{path} is in it, where the service cannot see anything (ProtectHome=)")
            elif not mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH):
                self._fault(at, f"the service, which is neither its owner nor its group, cannot use {path}")

    def _look(self, at: Path, others: frozenset[int] = frozenset()) -> None:
        """Find out who else can write to what is there."""
        if (at, others) in self._seen:
            return
        self._seen.add((at, others))
        try:
            status = at.lstat()
        except FileNotFoundError:
            return
        if stat.S_ISLNK(status.st_mode):
            return  # it leads round in a circle
        if status.st_uid not in others | {self._host.owner}:
            self._fault(at, f"belongs to {_user(status.st_uid)}")
        elif status.st_mode & stat.S_IWOTH:
            self._fault(at, "everybody can write to it")
        elif status.st_mode & stat.S_IWGRP:
            self._fault(at, f"the group {_group(status.st_gid)} can write to it")

    def _fault(self, at: Path, why: str) -> None:
        self.faults.setdefault(str(self._named(at)), why)

    def _named(self, at: Path) -> Path:
        """The name that a path has on the host."""
        return Path("/") / at.relative_to(self._host.root)

    def _way(self, path: Path) -> Iterator[Path]:
        """Every directory that is searched on the way, and the end of it."""
        at, links = self._host.root, 0
        yield at
        left = deque(path.parts)
        while left:
            part = left.popleft()
            if part in ("/", ".."):
                at = self._host.root if part == "/" else at.parent
                continue
            following = at / part
            if following.is_symlink() and links < _LINKS:
                links += 1
                left.extendleft(reversed(Path(os.readlink(following)).parts))
                continue
            at = following
            yield at


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
