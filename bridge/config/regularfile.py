"""Reads a regular file of bounded size, and nothing else, without ever blocking.

The daemon reloads its configuration while it serves.  A FIFO could block it for as long as somebody holds it open,
and opening a device can have side effects: rewind a tape, make a terminal, start a watchdog.  So the path is checked
before it is opened, and again after, as it may have been replaced in between.

Nothing slow is imported: a relay starts with this.
"""

import os
import stat
from errno import EINVAL

SIZE_MAX = 1 << 20
"""Bytes; a larger file is not a configuration, but perhaps a database."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def read_regular_file(path: str) -> bytes:
    """Read the file.

    Returns:
      its contents; of a file larger than `SIZE_MAX`, more than `SIZE_MAX` bytes from its start.

    Raises:
      OSError: it is not a regular file, or cannot be read; `strerror` says why.
    """
    if "\0" in path:  # each version of Python has other words for it
        raise OSError(EINVAL, "its name holds a NUL")
    _must_be_regular(os.stat(path))
    # O_NONBLOCK stays on for the reads: some regular files in /proc and tracefs block until there is another line.
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
