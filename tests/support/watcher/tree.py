"""A made-up /proc for the Watcher, with what this machine or kernel does not have, and what no process does."""

import os
from pathlib import Path

from bridge.terminal.watcher import Look, Watcher

# Where `memory` writes, unless told otherwise.
ADDRESS = 0x2000
NANOSLEEP = "230 0x0 0x0 0x0 0x0 0x0 0x0 0x7ffc 0x7f5e"

# The heads of ELF files: word size (1: 32 bit, 2: 64 bit), byte order (1: little, 2: big), e_machine.
X86_64, I386, AARCH64, S390X = (2, 1, 62), (1, 1, 3), (2, 1, 183), (2, 2, 22)


class Tree:
    """A /proc of our process, its parent 100, which holds the master of `terminal`, and its grandparent 1.

    The terminal is real, and so is the ptmx that is linked to.  `now` is the Watcher's clock.
    """

    def __init__(self, path: Path, terminal: int) -> None:
        self.path = path
        self.terminal = terminal
        self.index = os.minor(os.fstat(terminal).st_rdev)
        self.now = 1000.0
        self.write("self/stat", "99 (bridge) R 100 99 99 0 -1")
        self.write("1/stat", "1 (init) S 0 1 1 0 -1")
        self.process(100, parent=1)

    def process(self, pid: int, parent: int) -> None:
        """A process on x86-64 that sleeps, with the master as descriptor 7 and an epoll set as 4."""
        self.write(f"{pid}/stat", f"{pid} (lua) S) R 9 (5.4) S {parent} {pid} {pid} 0 -1")
        self.write(f"{pid}/syscall", NANOSLEEP)
        self.write(f"{pid}/wchan", "hrtimer_nanosleep")
        self.write(f"{pid}/mem", "")
        self.write(f"{pid}/fdinfo/4", "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1057\n")
        self.write(f"{pid}/fdinfo/7", f"pos:\t0\nflags:\t02100002\nmnt_id:\t24\nino:\t91\ntty-index:\t{self.index}\n")
        self.write(f"{pid}/task/{pid}/syscall", "")
        self.sleeps(pid, 5)
        self.program(pid, X86_64)
        self.link(f"{pid}/fd/0", "/dev/null")
        self.link(f"{pid}/fd/4", "anon_inode:[eventpoll]")
        self.link(f"{pid}/fd/7", "/dev/ptmx")
        self.link(f"{pid}/root", "/")

    def write(self, name: str, content: str | bytes) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def link(self, name: str, target: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    def sleeps(self, pid: int, times: int, state: str = "S (sleeping)") -> None:
        self.write(
            f"{pid}/status",
            f"Name:\tlua\nState:\t{state}\nvoluntary_ctxt_switches:\t{times}\nnonvoluntary_ctxt_switches:\t3\n",
        )

    def program(self, pid: int, head: tuple[int, int, int]) -> None:
        word, order, machine = head
        self.write(
            f"{pid}/exe",
            b"\x7fELF" + bytes([word, order]) + bytes(12) + machine.to_bytes(2, "little" if order == 1 else "big"),
        )

    def memory(self, content: bytes, address: int = ADDRESS) -> None:
        self.write("100/mem", bytes(address) + content)

    def watcher(self) -> Watcher:
        return Watcher(self.terminal, proc=str(self.path), clock=lambda: self.now)

    def look(self) -> Look:
        watcher = self.watcher()
        try:
            return watcher.look()
        finally:
            watcher.close()
