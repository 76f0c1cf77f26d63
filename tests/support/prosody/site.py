"""What stands around a test of the Prosody module: a virtual host of its own, a daemon, clients, and the checks.

One Prosody serves all tests of a run; each test has a host with a name and a socket that no other test uses, so
that nothing one of them leaves behind (a connection, a back-off) is another's.
"""

import contextlib
import itertools
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import trio

from support import canary, configfile
from support.process import environment
from support.programs.bad import CHAMELEON, Journal
from support.prosody.server import PATIENCE, Prosody
from support.prosody.xmpp_client import Client
from support.prosody.xmpp_slixmpp import Login, log_in

_numbers = itertools.count(1)


def right(user: str) -> str:
    """The password of a user, by the truth table of tests/programs/wire.py."""
    return canary.right(user)


class Daemon:
    """A real `extauth-bridge serve` with a configuration file."""

    def __init__(self, directory: Path, path: Path, journal: Journal) -> None:
        self.path = path
        self.log = directory / "daemon.log"
        self.file = directory / "daemon.toml"
        self._journal = journal
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, program: Sequence[str] = CHAMELEON, *, level: str = "debug", **settings: object) -> None:
        """Write the configuration; any user may connect, because Prosody is another one where root runs the tests."""
        fixed = {"program": list(program), "listen": self.path, "socket_mode": 0o666, "shutdown_grace": 0.2}
        log = {"target": f"file:{self.log}", "level": level}
        configfile.write(self.file, {"pool_size": 4, **fixed, **settings, "log": log})

    def start(self) -> None:
        """Start it, and wait until it can be connected to."""
        command = [sys.executable, "-m", "bridge", "serve", str(self.file)]
        self._process = subprocess.Popen(command, env=environment(self._journal.environment))
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            assert self._process.poll() is None, "the daemon has gone"
            assert time.monotonic() < deadline, "the daemon does not come up"
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(self.path))
            return True
        return False

    def reload(self) -> None:
        """SIGHUP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        if self._process is not None:
            self._process.terminate()
            try:
                assert self._process.wait(PATIENCE) == 0
            finally:
                self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash; its socket stays behind."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Site:
    """One test's host.

    Attributes:
      host: its name; socket: the path its module connects to.
      secrets: every password that a client of this site has sent.
    """

    def __init__(self, prosody: Prosody) -> None:
        self.prosody = prosody
        self.host = f"h{next(_numbers)}.example"
        self.directory = prosody.root / self.host
        self.directory.mkdir()
        self.socket = self.directory / "auth.sock"
        self.journal = Journal(self.directory / "journal")
        self.daemon = Daemon(self.directory, self.socket, self.journal)
        self.secrets: set[str] = set()
        self._log_before = len(prosody.log())

    def configure(self, **options: object) -> None:
        """Bring the host up, with these options of the module or of Prosody."""
        self.prosody.add_host(self.host, extauth_bridge_socket=self.socket, **options)

    def serve(self, program: Sequence[str] = CHAMELEON, *, level: str = "debug", **settings: object) -> Daemon:
        """Start the real daemon with this program and these settings; `level`: of its log."""
        self.daemon.configure(program, level=level, **settings)
        self.daemon.start()
        return self.daemon

    # --- clients -----------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def client(self, sender: str = "") -> AsyncIterator[Client]:
        """A raw client whose stream is open; `sender`: the address that it says it has."""
        async with Client.connected(self.prosody.port, self.host, sender) as client:
            client.secrets = self.secrets
            yield client

    async def plain(self, user: str | bytes, password: str | bytes) -> str:
        """One attempt on a connection of its own; its outcome."""
        async with self.client() as client:
            return await client.plain(user, password)

    async def log_in(self, *logins: Login) -> list[str]:
        """slixmpp's attempts, all at once."""
        for login in logins:
            self.secrets.update(filter(None, (login.password, login.change_to)))
        return await log_in(self.prosody.port, self.host, *logins)

    async def recovers(self, user: str = "alice", seconds: float = PATIENCE) -> float:
        """Log in until it works; wrong passwords in between never do.  Returns the seconds it took.

        There is no event to wait for: the module may hold off for a while before it connects again.
        """
        started = trio.current_time()
        async with self.client() as client:
            with trio.fail_after(seconds):
                while True:
                    wrong = await client.plain(user, "wrong-password")
                    assert wrong in ("not-authorized", "temporary-auth-failure"), wrong
                    outcome = await client.plain(user, right(user))
                    if outcome == "success":
                        return trio.current_time() - started
                    await trio.sleep(0.05)

    # --- what came of it ---------------------------------------------------------------------------------

    def line(self, command: str, user: str, secret: str | None = None) -> bytes:
        """A line, or a frame's body, about a user of this host."""
        return ":".join([command, user, self.host, *([] if secret is None else [secret])]).encode()

    def frames(self, *commands: str) -> list[bytes]:
        """What reached programs, in order; with `commands` only those."""
        wanted = tuple(f"{command}:".encode() for command in commands)
        return [frame for frame in self.journal.frames() if not wanted or frame.startswith(wanted)]

    def log(self) -> str:
        """What Prosody has logged since this test began."""
        return self.prosody.log()[self._log_before :]

    def close(self) -> None:
        """Everything goes; nobody has logged a password, and nothing of Prosody has broken."""
        try:
            assert self.prosody.running(), self.prosody.tail()
            self.prosody.remove_host(self.host)
            self.daemon.stop()
        finally:
            self.daemon.kill()
        self._check_log(self.log())
        if self.daemon.log.exists():
            self._check_log(self.daemon.log.read_text(errors="replace"))

    def _check_log(self, text: str) -> None:
        broken = text.lower().find("traceback")
        assert broken < 0, f"something broke: …{text[max(0, broken - 1000) : broken + 3000]}"
        for secret in self.secrets:
            for piece in re.split(r"[\x00-\x1f\x7f-\x9f]", secret):
                if len(piece) >= 6:
                    assert piece not in text, "a password is in the log"
                    assert piece.encode().hex() not in text, "a password is in the log, in hexadecimal"


@contextlib.contextmanager
def site(prosody: Prosody) -> Iterator[Site]:
    """A site of one test."""
    place = Site(prosody)
    try:
        yield place
    finally:
        place.close()
