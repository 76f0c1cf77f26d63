"""Real back ends for the examples of systemd/examples, on loopback, each in a directory of its own.

None runs as root that need not; each is known by the process that `start` started, and by nothing else.
"""

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from support import canary, procfs
from support.components import command
from support.process import PATIENCE, ROOT

EXAMPLES = ROOT / "bridge" / "systemd" / "examples"

ODD = 'a:b"c\\d %{u}*()&=+ä€😀'
"""Carol's password: what may mean something to anybody on the way."""

HOST = "example.com"


class Backend:
    """One that is started, stopped, and frozen.

    Args:
      folder: for all its files; made.

    Attributes:
      example: the file of systemd/examples that asks it.
      settings: what an administrator would write at the top of that.
      prefix: the words before the example's own.
      accounts: who is let in.
      at_a_time: how many are asked side by side where there is much to ask.
    """

    example = ""
    prefix: Sequence[str] = ()
    at_a_time = 1

    def __init__(self, folder: Path) -> None:
        canary.also(ODD)
        self.folder = folder
        self.settings: Mapping[str, object] = {}
        self.accounts = {"alice": canary.right("alice"), "carol": ODD}
        self.process: subprocess.Popen[bytes] | None = None

    def words(self) -> Sequence[object]:
        """The command that runs it in the foreground, in a process group of its own."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it can be asked."""
        raise NotImplementedError

    def start(self) -> None:
        assert self.process is None
        self.process = self.run(self.words())
        self.wait(self.process, self.answers)

    def wait(self, process: subprocess.Popen[bytes], there: Callable[[], bool]) -> None:
        """Until something is there, which nothing tells."""
        deadline = time.monotonic() + PATIENCE
        while not there():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"it does not start: {(self.folder / 'output').read_text()}")
            time.sleep(0.01)

    def run(self, words: Sequence[object]) -> subprocess.Popen[bytes]:
        """Run this in the background, in a process group of its own."""
        with open(self.folder / "output", "ab") as output:
            words, none = [*map(str, words)], subprocess.DEVNULL
            return subprocess.Popen(words, stdin=none, stdout=output, stderr=output, process_group=0, cwd=self.folder)

    def stop(self) -> None:
        """Kill all of it, and wait until nothing of it holds a port any more."""
        if self.process is not None:
            for number in (signal.SIGKILL, signal.SIGCONT):
                os.killpg(self.process.pid, number)
            self.process.wait(PATIENCE)
            deadline = time.monotonic() + PATIENCE
            while any(not one.is_zombie for one in procfs.group(self.process.pid)):
                assert time.monotonic() < deadline, "it cannot be killed"
                time.sleep(0.005)
            self.process = None

    def close(self) -> None:
        """Stop it, and all that it needed."""
        self.stop()

    def freeze(self) -> None:
        """All of it stands still: its sockets are connected to, and nothing is ever answered."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)
        self.wait(self.process, self._stands_still)  # a thread may still have been about to answer

    def _stands_still(self) -> bool:
        assert self.process is not None
        return all(procfs.stands_still(one.pid) for one in procfs.group(self.process.pid))

    def thaw(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)

    def edited(self, folder: Path, **settings: object) -> list[str]:
        """A copy of the example with these settings at its top; the command that runs it."""
        text = (EXAMPLES / self.example).read_text()
        for name, value in {**self.settings, **settings}.items():
            rows = [row for row in text.splitlines() if row.startswith(f"{name} = ")]
            assert len(rows) == 1, f"{name}: {rows}"
            text = text.replace(rows[0], f"{name} = {value!r}")
        folder.mkdir(exist_ok=True, parents=True)
        copy = folder / self.example
        copy.write_text(text)
        copy.chmod(0o755)
        return [*self.prefix, str(copy)]


def unprivileged() -> list[str]:
    """What has root start a command as nobody."""
    if os.geteuid():
        return []
    return [command("setpriv", "util-linux"), "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def owner() -> tuple[int, int]:
    """Whose the files of such a command have to be."""
    nobody = pwd.getpwnam("nobody")
    return (os.geteuid(), os.getegid()) if os.geteuid() else (nobody.pw_uid, nobody.pw_gid)


def given(folder: Path) -> None:
    """Have all there belong to it."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *owner())


def listens(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as client:
        return client.connect_ex((address, port)) == 0


def certificate(folder: Path, name: str = "server") -> tuple[Path, Path]:
    """A new certificate of `localhost` and 127.0.0.2, but not 127.0.0.1, signed by itself; and its key."""
    made, key = folder / f"{name}.pem", folder / f"{name}.key"
    words = [command("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(made)]
    words += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.2"]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    return made, key
