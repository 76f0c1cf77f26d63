"""A machine to try units on: a real systemd, booted as pid 1 of namespaces of its own.

    with Machine(debian_root(), lifetime=60) as machine:
        machine.run("systemctl start foo.service")

- The root is an overlay on memory, a copy where the kernel knows no overlay: nothing that happens in there reaches
  a disk, or the next machine.
- It has a network of its own, with nothing but loopback.
- Its end is the end of its pid 1: the kernel kills every process in there, and all mounts go with them.  That
  happens too when the test run itself is killed, or when nobody has used the machine for long.
"""

import contextlib
import ctypes
import os
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from support import procfs
from support.components import command, missing

# Seconds, generous: reached only by a test that fails.
PATIENCE = 30.0

# Seconds that a machine may exist after something was last done with it: all tests of a file may have the same one.
LIFETIME = 290.0

# From <sched.h>: a namespace of this kind is entered.
CLONE_NEWNET = 0x40000000

# The first thing in the namespaces, with the root to boot in $LOWER and a directory to mount on in $WORK.
# As in every container, /dev is made by hand, for the host's own holds its disks, and what belongs to the one
# kernel, such as its variables in /proc/sys, is only to be read, and its modules are not loaded in here.
BOOT = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 machine "$WORK"
mkdir "$WORK/upper" "$WORK/work" "$WORK/root"
layers="lowerdir=$LOWER,upperdir=$WORK/upper,workdir=$WORK/work"
mount -t overlay -o "$layers" machine "$WORK/root" || {
    cp -a "$LOWER/." "$WORK/root"
    mount --bind "$WORK/root" "$WORK/root"
}
cd "$WORK/root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid,noexec dev dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 dev/tty c 5 0
mount -t tmpfs -o mode=755,nosuid,nodev run run
mount -t tmpfs -o mode=1777,nosuid,nodev tmp tmp
ln -sf /dev/null etc/systemd/system/systemd-modules-load.service
pivot_root . .
umount -l .
mount --make-rshared /
exec env -i container=machine PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init
"""

SPACES = ("--cgroup", "--pid", "--mount", "--ipc", "--uts", "--net")

# What runs BOOT.  `unshare --cgroup` makes the group it is in the root of the new namespace.
UNSHARE = """
echo 0 > "$GROUP/cgroup.procs"
exec unshare "$@" --fork --kill-child=SIGKILL sh -c "$BOOT"
"""


class Machine:
    """One machine; `close`, which leaving the `with` block does, ends it.

    Args:
      root: the root file system; it is only read.
      lifetime: seconds after its last use until it is killed; what waits for it then fails.

    Attributes:
      init: the host's process id of its pid 1.
      path: its root directory, as seen from here: its files, and its sockets to connect to.
    """

    def __init__(self, root: Path, lifetime: float = LIFETIME) -> None:
        if subprocess.run([command("unshare", "util-linux"), *SPACES, "--fork", "true"], check=False).returncode:
            missing("root with CAP_SYS_ADMIN, to boot a machine in namespaces", "sudo")
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            self._control_group = undo.enter_context(control_group())
            self._work = Path(tempfile.mkdtemp(prefix="machine-"))
            undo.callback(self._work.rmdir)
            self._log = undo.enter_context(tempfile.TemporaryFile("w+"))
            self._unshare = self._start(root)
            undo.callback(self._kill)
            self._used = time.monotonic()
            closed = threading.Event()
            threading.Thread(target=self._end_if_unused, args=(lifetime, closed)).start()
            undo.callback(closed.set)
            self.init = self._find_init()
            self.path = Path(f"/proc/{self.init}/root")
            self.until("systemd has booted", self._is_up, lifetime)  # copying the root can take long
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill everything in there and take away what was made for it."""
        self._undo.close()

    def command(self, *words: str) -> list[str]:
        """`words`, run in there, as a command to be run out here."""
        self._used = time.monotonic()
        enter = ["nsenter", f"--target={self.init}", *SPACES]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root", "TERM=dumb"]
        return [*enter, "--root", "--wd", "--", *clean, *words]

    def run(
        self, script: str, *, typed: str = "", check: bool = True, timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run shell text as root in there, with `typed` as its input.  Both streams come back as `stdout`.

        Raises:
          AssertionError: it failed, and `check` was not False; the text says how.
          TimeoutExpired: `timeout` seconds were not enough.
        """
        words = self.command("bash", "-euo", "pipefail", "-c", script)
        done = subprocess.run(
            words,
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"exit status {done.returncode}\n{script}\n{done.stdout}"
        return done

    def show(self, unit: str, name: str) -> str:
        """One property of a unit, as `systemctl show` has it."""
        return self.run(f"systemctl show --value --property={name} '{unit}'").stdout.strip()

    def journal(self, unit: str) -> str:
        """What the unit has logged, and systemd about it, with all that the journal has not read yet."""
        return self.run(f"journalctl --sync; journalctl --no-pager --output=short-precise --unit='{unit}'").stdout

    def connect(self, port: int) -> socket.socket:
        """A TCP connection to a port on the machine's loopback."""

        def from_inside() -> socket.socket:
            # What a thread has entered it never leaves, so this one is not used for anything else; its socket is.
            with open(f"/proc/{self.init}/ns/net") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            return socket.create_connection(("127.0.0.1", port), PATIENCE)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(from_inside).result()

    def until(self, what: str, holds: Callable[[], object], patience: float = PATIENCE) -> None:
        """Return when `holds()` is true.

        Raises:
          TimeoutError: it is not, after `patience` seconds.
        """
        end = time.monotonic() + patience
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {patience} s: {what}\n{self._output()}")
            if self._unshare.poll() is not None:
                raise AssertionError(f"the machine is gone before {what}\n{self._output()}")
            time.sleep(0.05)

    def _start(self, root: Path) -> subprocess.Popen[bytes]:
        paths = {"LOWER": str(root), "WORK": str(self._work), "GROUP": str(self._control_group)}
        # unshare is killed with the test run, and its end kills what it forked: the machine's pid 1.
        return subprocess.Popen(
            [command("setpriv", "util-linux"), "--pdeathsig=KILL", "sh", "-euc", UNSHARE, "sh", *SPACES],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "BOOT": BOOT, **paths},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def _find_init(self) -> int:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._unshare.poll() is None:
            if found := procfs.children(self._unshare.pid):
                # A group with processes cannot give controllers to those below it: only pid 1, which moves, stays.
                (self._control_group.parent / "cgroup.procs").write_text(str(self._unshare.pid))
                return found[0].pid
            time.sleep(0.01)
        raise AssertionError(f"no pid 1 was started\n{self._output()}")

    def _is_up(self) -> bool:
        try:
            name = Path(f"/proc/{self.init}/comm").read_text()
        except FileNotFoundError:
            return False  # `until` says why it is gone
        if name != "systemd\n":
            return False  # still the shell of BOOT, in the root out here
        state = self.run("systemctl is-system-running", check=False).stdout.strip()
        assert state not in {"degraded", "maintenance"}, self.run("systemctl --failed", check=False).stdout
        return state == "running"

    def _end_if_unused(self, lifetime: float, closed: threading.Event) -> None:
        while not closed.wait(max(0.0, left := self._used + lifetime - time.monotonic())):
            if left <= 0:
                self._unshare.kill()
                return

    def _output(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def _kill(self) -> None:
        self._unshare.kill()
        self._unshare.wait()


@contextlib.contextmanager
def control_group() -> Iterator[Path]:
    """A control group (version 2) of our own, with the controllers there are for it; removed at the end."""
    with contextlib.ExitStack() as undo:
        group = undo.enter_context(unified_hierarchy()) / f"machine-{uuid.uuid4().hex[:8]}"
        with contextlib.suppress(OSError):  # not where another hierarchy has them
            (group.parent / "cgroup.subtree_control").write_text("+memory +pids")
        group.mkdir()
        undo.callback(remove_control_groups, group)
        yield group


@contextlib.contextmanager
def unified_hierarchy() -> Iterator[Path]:
    """The directory where the cgroup2 file system is mounted, and can be written to."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            yield Path(place)
            return
    missing("a writable cgroup2 file system", "systemd")


def remove_control_groups(top: Path) -> None:
    """Remove the group and all below it; the last of their processes were killed a moment ago."""
    end = time.monotonic() + PATIENCE
    for directory, _, _ in os.walk(top, topdown=False):
        while True:
            try:
                os.rmdir(directory)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
