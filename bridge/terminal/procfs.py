"""What Linux says about a process: readers of /proc, and the tables needed to interpret them.

Rules:
- Nothing is concluded here about what a process is about to do.  `home` is always its directory, /proc/PID.
- Errors are the kernel's: ProcessLookupError or FileNotFoundError for what is gone, PermissionError for what
  may not be seen.
- No path below /proc/PID/fd is ever opened: opening a ptmx makes a new terminal, opening a FIFO can block.
  Only the links are read, and stat(2) is used on terminals only (on a dead network file system it would hang).
- Standard library only, and quick to import: the relay uses it too.
"""

import os
from collections.abc import Iterator

# /dev/ptmx in every devpts and devtmpfs: fixed numbers in the kernel's list of devices.
PTMX = os.makedev(5, 2)
# The first major number of pty slaves (UNIX98); the minor number is the pty's index.
PTY_SLAVE_MAJOR = 136

# More than any chain of parents has; bounds a walk through pids that are being reused.
MAX_ANCESTORS = 256

# The system calls a thread can wait in that matter here.
READ, SELECT, POLL, EPOLL = "read", "select", "poll", "epoll"

# System call numbers, from the kernel's tables (arch/*/**/syscall.tbl). readv counts as read (pread does not: a
# terminal refuses it); select and pselect6 have the same first arguments, as have poll and ppoll.
_X86_64 = {READ: (0, 19), SELECT: (23, 270), POLL: (7, 271), EPOLL: (232, 281, 441)}
_I386 = {READ: (3, 145), SELECT: (142, 308, 413), POLL: (168, 309, 414), EPOLL: (256, 319, 441)}
_ARM = {READ: (3, 145), SELECT: (142, 335, 413), POLL: (168, 336, 414), EPOLL: (252, 346, 441)}
_GENERIC = {READ: (63, 65), SELECT: (72,), POLL: (73,), EPOLL: (22, 441)}
_PPC64 = {READ: (3, 145), SELECT: (142, 280), POLL: (167, 281), EPOLL: (238, 303, 441)}
_S390X = {READ: (3, 145), SELECT: (142, 301), POLL: (168, 302), EPOLL: (251, 312, 441)}
# By e_machine and word size (bytes) in the ELF header.
_SYSCALLS = {
    (3, 4): _I386,
    (21, 8): _PPC64,
    (22, 8): _S390X,
    (40, 4): _ARM,
    (62, 8): _X86_64,
    (183, 8): _GENERIC,  # aarch64
    (243, 8): _GENERIC,  # riscv64
}

# Bytes enough for a small file of /proc (a line of `syscall` is below 200 bytes).
_SMALL = 4096
# Bytes read at once of a file that can be long: an epoll set's has about 80 bytes per descriptor.
_LARGE = 1 << 16


class Kept:
    """A file of /proc that stays open: a look costs one pread(2), below a microsecond.

    The kernel generates the content again at every read from the start.  The descriptor stays bound to the
    process, not to its pid: once the process is gone, reads fail with ESRCH or ENOENT, even if the pid is
    reused.
    """

    __slots__ = ("_fd", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY)

    def read(self, size: int = _SMALL, offset: int = 0) -> bytes:
        return os.pread(self._fd, size, offset)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Machine:
    """A program's architecture: its system call numbers, word size and byte order."""

    __slots__ = ("_little", "_word", "pollfd", "waits")

    def __init__(self, waits: dict[str, tuple[int, ...]], word: int, little: bool) -> None:
        self.waits = {b"%d" % number: kind for kind, numbers in waits.items() for number in numbers}
        self.pollfd = "<ihh" if little else ">ihh"  # int fd; short events, revents
        self._word = word
        self._little = little

    def fd_set_byte(self, number: int) -> int:
        """The offset in an fd_set, an array of longs, of the byte for this descriptor; its bit is number % 8."""
        if self._little:
            return number // 8
        return number // (self._word * 8) * self._word + self._word - 1 - number % (self._word * 8) // 8


def machine(home: str) -> Machine | None:
    """The architecture this process's program was built for; None if unknown.

    From its ELF header, not from uname(2): a 64-bit kernel also runs 32-bit programs, which use other numbers.
    """
    header = read(f"{home}/exe", 20)
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    word = {1: 4, 2: 8}.get(header[4], 0)
    little = header[5] == 1
    kind = int.from_bytes(header[18:20], "little" if little else "big")
    waits = _SYSCALLS.get((kind, word))
    return None if waits is None else Machine(waits, word, little)


def read(path: str, size: int = _SMALL) -> bytes:
    """The first `size` bytes of a small file, in one read."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def read_all(path: str) -> bytes:
    """A whole file of any length."""
    fd = os.open(path, os.O_RDONLY)
    try:
        chunks = list(iter(lambda: os.read(fd, _LARGE), b""))
    finally:
        os.close(fd)
    return b"".join(chunks)


def ancestors(proc: str) -> Iterator[int]:
    """The pids of our parent, its parent and so on, in this /proc's numbering, as far as they can be seen."""
    home = f"{proc}/self"
    for _ in range(MAX_ANCESTORS):
        try:
            stat = read(f"{home}/stat")
            # The name is in parentheses and may itself hold any; state and parent follow.
            parent = int(stat.rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return
        if parent <= 0:
            return
        yield parent
        home = f"{proc}/{parent}"


def links(home: str) -> Iterator[tuple[int, str]]:
    """Every descriptor of this process, and what it links to.

    Raises:
      PermissionError: they may not be seen (another uid, not dumpable).
      FileNotFoundError: the process is gone, or hidden.
    """
    for number in os.listdir(f"{home}/fd"):
        try:
            yield int(number), os.readlink(f"{home}/fd/{number}")
        except FileNotFoundError:
            continue  # closed meanwhile


def masters(home: str, terminal: os.stat_result) -> set[int]:
    """The descriptors of this process that are a terminal's master.

    Args:
      terminal: the stat of its slave.

    Raises:
      PermissionError, FileNotFoundError: as for `links`.
    """
    found = set[int]()
    for number, link in links(home):
        if not os.path.basename(link).startswith("ptmx"):
            continue
        try:
            index = tty_index(read(f"{home}/fdinfo/{number}"))
            if index == os.minor(terminal.st_rdev) and _same_instance(home, number, link, terminal):
                found.add(number)
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def _same_instance(home: str, number: int, link: str, terminal: os.stat_result) -> bool:
    """Whether this ptmx is of our terminal's devpts (every container has its own); true if it cannot be seen."""
    ptmx = os.stat(f"{home}/fd/{number}")
    if ptmx.st_rdev != PTMX:
        return False
    if ptmx.st_dev == terminal.st_dev:
        return True
    directory = os.path.dirname(link)
    if os.path.basename(directory) == "pts":
        return False
    try:
        # For a node outside a devpts, the kernel uses the devpts at `pts` beside it.
        return os.stat(f"{home}/root{directory}/pts").st_dev == terminal.st_dev
    except OSError:
        return True


def is_stdin(home: str, terminal: os.stat_result) -> bool:
    """Whether this terminal is the process's standard input."""
    try:
        if not os.readlink(f"{home}/fd/0").startswith("/dev/pts/"):
            return False
        its = os.stat(f"{home}/fd/0")
    except FileNotFoundError:
        return False
    return (its.st_dev, its.st_rdev) == (terminal.st_dev, terminal.st_rdev)


def tty_index(fdinfo: bytes) -> int | None:
    """The pty index in a master's fdinfo; None if it is not a master's, or the kernel is too old."""
    at = fdinfo.find(b"tty-index:")
    if at < 0:
        return None
    value = fdinfo[at + 10 : at + 32].split(None, 1)[:1]
    return int(value[0]) if value and value[0].isdigit() else None


def epoll_events(fdinfo: bytes, number: int) -> int:
    """The events (a mask) that an epoll set waits for on descriptor `number`, from the set's fdinfo; 0 if none.

    A line is `tfd:        7 events:       19 data: ...`, the events in hexadecimal; a one-shot entry that has
    fired shows none.  There can be 10,000 lines, so they are searched, not split.
    """
    events = 0
    words = b" %d events:" % number
    at = fdinfo.find(words)
    while at >= 0:
        start = at + len(words)
        events |= int(fdinfo[start : start + 24].split(None, 1)[0], 16)
        at = fdinfo.find(words, start)
    return events


def slept(status: bytes) -> bytes | None:
    """How often a thread has gone to sleep, from its `status`; None if it is not asleep now.

    The same number before and after something means that it slept throughout.
    """
    state = status.partition(b"State:\t")[2][:1]
    switches = status.partition(b"\nvoluntary_ctxt_switches:\t")[2].partition(b"\n")[0]
    return switches if state in (b"S", b"D") and switches else None
