"""The contents of a regular file of bounded size: nothing else is read, and nothing here waits.

A configuration is read again while the daemon serves. What is no file could keep it from answering for as long as
somebody holds a FIFO open, and merely to open a device can do something: rewind a tape, make a terminal, start a
watchdog. So the path is looked at before it is opened, and again after: it may have been replaced in between.

Nothing slow is imported: a relay begins with this.
"""

import os
import stat
from errno import EINVAL

SIZE_MAX = 1 << 20
"""Bytes; a larger file is no configuration, but a database perhaps."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def contents(path: str) -> bytes:
    """What is in the file, or more than `SIZE_MAX` bytes from its beginning if it is larger.

    Raises:
      OSError: it is no regular file, or cannot be read; `strerror` says why.
      ValueError: there is a NUL in the path.
    """
    _must_be_regular(os.stat(path))
    # O_NONBLOCK stays for the reads: some regular files of /proc and tracefs wait for their next line.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _must_be_regular(os.fstat(descriptor))
        data = b""
        while len(data) <= SIZE_MAX and (more := os.read(descriptor, SIZE_MAX + 1)):
            data += more
        return data
    finally:
        os.close(descriptor)


def _must_be_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(EINVAL, f"it must be a regular file, but is {kind}")
