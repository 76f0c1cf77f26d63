"""The daemon under chaos and its surroundings: sockets that outlive it, its files, what is left at the end."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import trio

from support import configfile, procfs
from support.availability.clients import TICK, Watch
from support.availability.stage import troubled
from support.chaos.clients import Single
from support.chaos.faults import Faults
from support.chaos.people import ANSWER_TIMEOUT, SQLITE_USERS
from support.process import COMMAND, ROOT, environment
from support.programs.bad import Journal

POOL = 4

UNPRIVILEGED = 54321
"""A daemon that root started is this user: the kernel's limit of processes is not for root.  A Python below /root stays
readable."""

LIMITS = {"nofile": "Max open files", "nproc": "Max processes", "as": "Max address space"}
"""As prlimit(1) and the kernel call them."""

MOST_PROGRAMS = 2 * (4 * POOL + POOL) + 2 * (8 + 2)
"""Of both pools with all their spares and successors, and of those that a reload replaces."""

FORBIDDEN = re.compile(rb"Traceback|internal error|pw-|guess\d|hangs-|exits-|twice-")
"""Of what no log may ever speak: errors of ours, and all secrets."""

SMALL = 4 << 20
"""Bytes of the file system for log and database."""


class Site:
    """One daemon after the other, on the same sockets, and its files.

    Args:
      breach: told of what must never happen.
      small: a directory on a small file system, for what may become full; None if there is none.

    Attributes:
      process: the daemon at present.
      most: the most programs that ran at once.
    """

    def __init__(self, folder: Path, small: Path | None, watch: Watch, breach: Callable[[str], None]) -> None:
        self.folder = folder
        self.small = small
        self.watch = watch
        self.breach = breach
        self.most = 0
        self.log = (small or folder) / "log"
        self.database = (small or folder) / "users.db"
        self.path, self.status = folder / "auth.sock", folder / "status.sock"
        self.journal = Journal(folder / "journal")
        self.faults = Faults(folder / "faults")
        self.stalls, self.leaves = folder / "stalls", folder / "leaves"
        self._sockets = [_listening(path) for path in (self.path, self.status)]
        self._user = unprivileged() if os.geteuid() == 0 else []
        self._make_users()
        self.configure()
        if self._user:
            places = {folder, *folder.rglob("*"), *((small, *small.rglob("*")) if small else ())}
            for place in places:
                os.chown(place, UNPRIVILEGED, UNPRIVILEGED)
        self.process = self.start()
        self._before: tuple[int, int] | None = None
        self._waited = (self.process.pid, 0.0)

    # --- configuration -----------------------------------------------------------------------------------

    def configure(self, program: Sequence[str] = (), target: str = "", **settings: object) -> Path:
        """Write the daemon's file: what it always is, except for this."""
        users = [sys.executable, "-m", "bridge.programs.sqlite", str(self.database)]
        always: dict[str, object] = {
            "program": list(program or troubled(stalls=self.stalls, leaves=self.leaves)),
            "pool_size": POOL,
            "answer_timeout": ANSWER_TIMEOUT,
            "start_timeout": 10.0,
            "shutdown_grace": 1.0,
            "max_requests": 100,
            "hosts": {"sql": {"program": users, "pool_size": 2}},
            "log": {"target": target or f"file:{self.log}", "verdicts": "failed"},
        }
        return configfile.write(self.folder / "auth.toml", {**always, **settings})

    def _make_users(self) -> None:
        for number in range(SQLITE_USERS):
            words = [sys.executable, "-m", "bridge.programs.sqlite", str(self.database), "adduser", f"s{number}@sql"]
            subprocess.run(words, input=f"pw-s{number}\n".encode(), env=environment(), check=True, capture_output=True)

    # --- the daemon --------------------------------------------------------------------------------------

    def start(self) -> subprocess.Popen[bytes]:
        """Start a daemon, with the sockets handed over as by systemd."""
        variables = {
            "LISTEN_FDS": "2",
            "LISTEN_FDNAMES": "auth:status",
            "CHAOS_FAULTS": str(self.faults.path),
            **self.journal.environment,
        }
        env = environment(variables)
        env["PYTHONPATH"] = f"{self.faults.path}:{env['PYTHONPATH']}"

        def prepare() -> None:
            high = [os.dup2(sock.fileno(), 100 + number) for number, sock in enumerate(self._sockets)]
            for number, descriptor in enumerate(high):
                os.dup2(descriptor, 3 + number)

        self.process = subprocess.Popen(
            [
                "/bin/sh",
                "-c",
                'LISTEN_PID=$$ exec "$@"',
                "sh",
                *self._user,
                *COMMAND,
                "serve",
                str(self.folder / "auth.toml"),
            ],
            env=env,
            cwd=ROOT,
            stderr=open(self.folder / "stderr", "ab"),  # noqa: SIM115 (Popen has its own)
            preexec_fn=prepare,  # noqa: PLW1509 (between fork and exec there is nothing but this)
            pass_fds=(3, 4),
        )
        return self.process

    async def ended(self, seconds: float = 10.0) -> int | None:
        """Wait for the daemon's end; its exit status, None if it does not end."""
        with trio.move_on_after(seconds):
            while self.process.poll() is None:
                await trio.sleep(TICK)
        return self.process.poll()

    def programs(self) -> list[int]:
        """The programs that run now: neither zombies nor what is only about to become one."""
        children = [child.pid for child in procfs.children(self.process.pid) if not child.is_zombie]
        words = {pid: procfs.arguments(pid) for pid in children}
        return [pid for pid, argv in words.items() if argv and "serve" not in argv and argv[1:2] != ["-p"]]

    def troubled(self) -> list[int]:
        """Those of the pool that everybody asks."""
        return [pid for pid in self.programs() if str(self.stalls) in " ".join(procfs.arguments(pid))]

    @contextlib.contextmanager
    def limited(self, kind: str, soft: int) -> Iterator[None]:
        """Meanwhile the daemon has this limit, and so has what it starts."""
        before = procfs.limit(self.process.pid, LIMITS[kind])[0]
        self._limit(kind, str(soft))
        try:
            yield
        finally:
            self._limit(kind, before)

    def _limit(self, kind: str, soft: str) -> None:
        """As the daemon's user: root in a container may not do it."""
        words = [*self._user, "prlimit", "--pid", str(self.process.pid), f"--{kind}={soft}:"]
        subprocess.run(words, check=True, capture_output=True, timeout=20)

    async def command(self, *words: object) -> subprocess.CompletedProcess[bytes]:
        """Run one of the bridge's other commands."""
        argv = [*COMMAND, *map(str, words)]
        with trio.move_on_after(30):
            return await trio.run_process(
                argv, cwd=ROOT, env=environment(), check=False, capture_stdout=True, capture_stderr=True
            )
        self.breach(f"the command {words[0]} does not end")
        return subprocess.CompletedProcess(argv, -1, b"", b"")

    # --- relays ------------------------------------------------------------------------------------------

    def relay_file(self, name: str, **settings: object) -> Path:
        """The configuration of a relay that is a little more patient than the daemon."""
        log = {"target": f"file:{self.folder / name}.log"}
        always = {"connect": str(self.path), "answer_timeout": ANSWER_TIMEOUT + 0.5, "log": log}
        return configfile.write(self.folder / f"{name}.toml", {**always, **settings})

    def relay_command(self, name: str) -> Path:
        """A command without arguments, as a client on a pty starts it."""
        file, words = self.relay_file(name), self.folder / f"{name}.sh"
        path = shlex.quote(environment()["PYTHONPATH"])
        words.write_text(f"#!/bin/sh\nexport PYTHONPATH={path}\nexec {shlex.join([*COMMAND, str(file)])}\n")
        words.chmod(0o755)
        return words

    # --- what is looked at -------------------------------------------------------------------------------

    async def count(self) -> None:
        """Count the programs all the time; also the tick of the watch."""
        while True:
            for _ in range(8):
                await trio.sleep(TICK)
            number = len(procfs.children(self.process.pid))
            self.most = max(self.most, number)
            if number > MOST_PROGRAMS:
                self.breach(f"{number} programs at once")

    def lag(self) -> float:
        """Seconds, since the last call, for which the daemon waited for a CPU, and the longest that we did."""
        pid = self.process.pid
        waited = procfs.held_up(pid)
        before = self._waited if self._waited[0] == pid else (pid, 0.0)
        self._waited = pid, waited
        lag, self.watch.lag = self.watch.lag, 0.0
        return lag + (waited - before[1])

    async def up(self) -> None:
        """Wait until somebody is granted something."""
        with trio.move_on_after(60):
            while (await Single(self.path, self.watch, self.breach).ask(b"isuser:up:h", "-")).verdict != "1":
                await trio.sleep(TICK)
            return
        self.breach("the daemon does not come up")

    def remember(self) -> None:
        """Now that it has warmed up: how many descriptors and how much memory it has."""
        self._before = self._descriptors(), procfs.memory(self.process.pid)

    def _descriptors(self) -> int:
        """Beside those of programs, which come and go."""
        return len(procfs.descriptors(self.process.pid)) - 4 * len(procfs.children(self.process.pid))

    def scan_log(self) -> None:
        """Look at what has been logged, as well as at what was rotated away the last time; and rotate it."""
        rotated = self.log.with_suffix(".1")
        for path in (rotated, self.log):
            if path.exists():
                self.scan(path.read_bytes(), path.name)
        if rotated.exists():
            with open(self.folder / "log.all", "ab") as file:
                file.write(rotated.read_bytes())
        if self.log.exists():
            self.log.replace(rotated)

    def scan(self, text: bytes, name: str) -> None:
        """Look for what must not be in a log."""
        for line in text.splitlines():
            if FORBIDDEN.search(line):
                self.breach(f"{name}: {line.decode(errors='replace')[:300]}")

    # --- the end -----------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Stop the daemon; nothing of it is left."""
        await self._check_house()
        self.process.send_signal(signal.SIGTERM)
        if (status := await self.ended()) != 0:
            self.breach(f"the daemon ended with status {status}")
        for _ in range(2):  # what is left, and to the disk with it
            self.scan_log()
        for path in (self.folder / "stderr", *self.folder.glob("*.log")):
            if path.exists():
                self.scan(path.read_bytes(), path.name)
        self._check_changes()
        deadline = time.monotonic() + 3
        while (left := self.left()) and time.monotonic() < deadline:
            await trio.sleep(TICK)
        if left:
            self.breach(f"left behind: {[' '.join(procfs.arguments(pid)) for pid in left]}")

    async def _check_house(self) -> None:
        """All clients are gone: so are their descriptors; no zombie, no memory that is never given back."""
        if self._before is None or self.process.poll() is not None:
            return
        descriptors, memory = self._before
        with trio.move_on_after(5):
            while self._descriptors() > descriptors or any(it.is_zombie for it in procfs.children(self.process.pid)):
                await trio.sleep(TICK)
        if (now := self._descriptors()) > descriptors:
            self.breach(f"{now} descriptors beside the programs', {descriptors} at the beginning")
        if zombies := [it.pid for it in procfs.children(self.process.pid) if it.is_zombie]:
            self.breach(f"zombies: {zombies}")
        if (grown := procfs.memory(self.process.pid) - memory) > 20_000:
            self.breach(f"{grown} KiB more than at the beginning")

    def _check_changes(self) -> None:
        """No change was ever asked twice."""
        asked = Counter(event.body for event in self.journal.events("read") if event.body.startswith(b"setpass"))
        if twice := [body for body, times in asked.items() if times > 1]:
            self.breach(f"asked twice: {twice}")

    def left(self) -> list[int]:
        """Processes that carry what only those of this daemon do."""
        return procfs.having(*next(iter(self.journal.environment.items())))

    def destroy(self) -> None:
        """Whatever has happened, nothing is left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for sock in self._sockets:
            sock.close()


def unprivileged() -> list[str]:
    """What a command of ours has in front of it to run as a user without rights."""
    rights = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    return ["setpriv", f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--clear-groups", *rights]


def _listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.fspath(path))
    sock.listen(128)
    return sock
