"""Where a scene is played: a daemon with real programs, those who ask it, and what is counted meanwhile."""

import contextlib
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from support import configfile, procfs
from support.availability.clients import TICK, Client, Plain, Tagged, Watch
from support.availability.crowd import Crowd
from support.availability.verdict import Figures, Period, Result
from support.daemon.serving import Daemon
from support.process import COMMAND
from support.programs.bad import PROGRAMS, Journal

ANSWER_TIMEOUT, START_TIMEOUT = 4.0, 30.0
"""The bridge's defaults, in seconds."""


@dataclass(frozen=True)
class Tempo:
    """How fast a scene is played, and how closely it is looked at.

    Attributes:
      scale: of all times of the scene and of the bridge's own timeouts.
      length: of the time that is only watched, besides.
      leave: a share of the others' logins that may be late beyond what is wanted, for a busy machine.  Where there is
        one, none is late for the time in which the daemon waited for a CPU.
    """

    scale: float = 1.0
    length: float = 1.0
    leave: float = 0.0

    @property
    def late(self) -> float:
        """From how many seconds on an answer is late; below half a second that would be the machine's mood."""
        return max(self.scale, 0.5)


def troubled(**options: object) -> list[str]:
    """The command of tests/programs/troubled.py with these options."""
    words = [f"{name}={value}" for name, value in options.items()]
    return [sys.executable, "-I", "-S", "-B", str(PROGRAMS / "troubled.py"), *words]


def pool_max(pool_size: int) -> int:
    """How many programs may run at once, by default."""
    return 1 if pool_size == 1 else min(4 * pool_size, pool_size + 16)


class Stage:
    """One scene's.

    Attributes:
      result: the scene's row, which the scene itself completes.
      programs: how many run at this moment.
    """

    def __init__(
        self, folder: Path, tempo: Tempo, checkout: Path, result: Result, watch: Watch, nursery: trio.Nursery
    ) -> None:
        self.folder = folder
        self.tempo = tempo
        self.checkout = checkout
        self.result = result
        self.journal = Journal(folder / "journal")
        self.status = folder / "status.sock"
        self.daemon: Daemon
        self.crowd: Crowd
        self.programs = 0
        self._watch = watch
        self._nursery = nursery

    # --- the daemon --------------------------------------------------------------------------------------

    def configure(self, program: Sequence[str], **settings: object) -> Path:
        """Write the configuration: defaults but the pool size, and what the tempo demands."""
        timeouts = {"answer_timeout": self.scaled(ANSWER_TIMEOUT), "start_timeout": self.scaled(START_TIMEOUT)}
        needed = timeouts if self.tempo.scale != 1 else {}
        file = {"program": list(program), "status_listen": self.status, **needed, **settings}
        return configfile.write(self.folder / "auth.toml", file)

    async def serve(
        self,
        program: Sequence[str],
        *,
        client: str = "plain",
        command: Sequence[str] = COMMAND,
        **settings: object,
    ) -> None:
        """Start the daemon; everybody who asks is this kind of client."""
        env = {**self.journal.environment, "PYTHONPATH": str(self.checkout)}
        file = self.configure(program, **settings)
        self.daemon = Daemon(self.folder, file=file, env=env, checkout=self.checkout, command=command)
        self._nursery.start_soon(self._count)
        await self.until(self._listens, "the daemon listens", 20)
        path, watch = self.daemon.path, self._watch
        how: Client = Plain(path, watch)
        if client == "tagged":
            how = Tagged(path, watch, self._nursery)
            await how.connect()
        held_up = functools.partial(procfs.held_up, self.daemon.process.pid) if self.tempo.leave else float
        self.crowd = Crowd(how, self._nursery, self.scaled(ANSWER_TIMEOUT) + 6, held_up)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.daemon.path)) == 0

    async def up(self, programs: int) -> bool:
        """Wait until so many programs have started, and could answer."""
        return await self.until(lambda: len(self.journal.pids("up")) >= programs, "the programs are up", 20)

    def log_lines(self, pattern: str) -> list[str]:
        """The lines of the daemon's log in which this occurs."""
        return [line for line in self.daemon.logged().splitlines() if re.search(pattern, line)]

    async def command(self, *words: object) -> subprocess.CompletedProcess[bytes]:
        """Run one of the bridge's other commands."""
        argv = [*COMMAND, *map(str, words)]
        env = {**os.environ, "PYTHONPATH": str(self.checkout)}
        return await trio.run_process(
            argv, cwd=self.checkout, env=env, check=False, capture_stdout=True, capture_stderr=True
        )

    # --- time --------------------------------------------------------------------------------------------

    def scaled(self, seconds: float) -> float:
        """How long a part of the trouble itself takes."""
        return seconds * self.tempo.scale

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(self.scaled(seconds))

    async def watch(self, seconds: float) -> None:
        """Let time pass in which others are looked at: the longer, the more certain."""
        await trio.sleep(self.scaled(seconds) * self.tempo.length)

    async def until(self, true: Callable[[], object], what: str, seconds: float) -> bool:
        """Wait for a condition; whether it came.  If not, something is broken."""
        with trio.move_on_after(seconds):
            while not true():
                assert self.daemon.process.poll() is None, "the daemon is gone"
                await trio.sleep(TICK)
            return True
        self.result.broken.append(f"not within {seconds:g} s: {what}")
        return False

    @contextlib.contextmanager
    def period(self) -> Iterator[Period]:
        """What is asked inside belongs to it."""
        period = Period(time.monotonic())
        yield period
        period.end = time.monotonic()

    async def aftermath(self, wait: float = 1.0, *, late: float = 0.0) -> None:
        """The cause is gone: from `wait` seconds on everybody is granted, and at most this share late."""
        await self.sleep(wait)
        with self.period() as period:
            await trio.sleep(max(self.scaled(10) * self.tempo.length, 2.0))
        after = self.result.after = await self.of(period)
        self.result.want(not after.failed, f"afterwards {after.failed} of {after.asked} failed")
        self.result.want(after.late <= (late + self.tempo.leave) * after.asked, f"afterwards {after.late} were late")

    # --- what is counted ---------------------------------------------------------------------------------

    async def of(self, period: Period, who: str = "others") -> Figures:
        """What became of the right logins of this period, once all of them are answered."""
        await self.crowd.settled()
        return Figures.of((one for one in period.of(self.crowd.logins) if one.who == who), self.tempo.late)

    async def want_others(self, period: Period, *, failed: float = 0.0, late: float = 0.0) -> None:
        """At most these shares of the others' right logins in this period were not granted, or late."""
        found = self.result.others = await self.of(period)
        self.result.want(found.asked, "nobody else asked")
        self.result.want(found.failed <= failed * found.asked, f"{found.failed} of {found.asked} failed")
        self.result.want(found.late <= (late + self.tempo.leave) * found.asked, f"{found.late} of {found.asked} late")

    def want_at_most(self, programs: int) -> None:
        """So many programs at once, and never more."""
        self.result.want(self.result.most <= programs, f"{self.result.most} programs at once, of {programs}")

    async def _count(self) -> None:
        """Count the programs all the time; also the tick of the watch."""
        while True:
            self.programs = len(self.running())
            self.result.most = max(self.result.most, self.programs)
            await trio.sleep(TICK)

    def running(self) -> list[int]:
        """The daemon's children that run a program: neither a zombie nor one that is only about to.

        Nor what trio starts as it is imported, to find a library.
        """
        children = [child.pid for child in procfs.children(self.daemon.process.pid) if not child.is_zombie]
        arguments = {pid: procfs.arguments(pid) for pid in children}
        others = ["-m", "bridge"], ["-p"]
        return [pid for pid, words in arguments.items() if words and words[1:3] not in others]

    def killed(self) -> list[int]:
        """Programs that have ended without having noted that they would."""
        ended = set(self.journal.pids("end", "leaves", "exits", "dies", "stillborn"))
        return [pid for pid in self.journal.pids("start") if pid not in ended and not procfs.alive(pid)]

    def innocent(self) -> list[int]:
        """Those that were killed although they did not hang."""
        hanging = set(self.journal.pids("hangs"))
        return [pid for pid in self.killed() if pid not in hanging]

    # --- the end -----------------------------------------------------------------------------------------

    async def close(self) -> None:
        """The scene is over: nobody asks any more, and what it has cost is known."""
        self.crowd.stop()
        await self.crowd.settled()
        result, log = self.result, self.daemon.log.read_bytes()
        result.starts = len(self.journal.events("start"))
        result.kills, result.innocent = len(self.killed()), len(self.innocent())
        wrong = [login for login in self.crowd.logins if login.granted and not login.right]
        result.want(not wrong, f"{len(wrong)} WRONG GRANTS")
        leaks = [secret for secret in self.crowd.secrets if secret in log]
        result.want(not leaks, f"{len(leaks)} secrets in the log")
        result.want(b"Traceback" not in log, "a traceback in the log")

    def stop(self, *, may_kill: bool = True) -> None:
        """Stop the daemon, whatever has happened; nothing of it is left, unless it may not end its programs."""
        if not hasattr(self, "daemon") or self.daemon.process.poll() is not None:
            return
        self.result.lag = self._watch.lag
        try:
            self.result.want(self.daemon.stop() == 0, "the daemon did not stop well")
        except subprocess.TimeoutExpired:
            self.daemon.process.kill()
            self.daemon.process.wait()
            self.result.broken.append("the daemon did not stop")
        deadline = time.monotonic() + (1.0 if may_kill else 0.0)
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(TICK)
        self.result.want(not (left and may_kill), f"{len(left)} programs are left")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _left(self) -> list[int]:
        """Processes that carry what only those of this daemon do."""
        return procfs.having(*next(iter(self.journal.environment.items())))
