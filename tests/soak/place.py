"""One daemon with its configuration, its relays, and reloads that must end as expected."""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from soak import crowd, truth
from support import procfs
from support.daemon.serving import Daemon
from support.process import COMMAND, ROOT, environment

HURRIED = (sys.executable, str(Path(__file__).with_name("hurried.py")))
PATIENCE = 60.0

SETTINGS = """
listen = "{folder}/auth.sock"
status_listen = "{folder}/status.sock"
program = ["{program}", "{name}"{lie}]
pool_size = 4
pool_max = 12
answer_timeout = 3.0
start_timeout = 5.0
max_requests = 500
max_age = 10.0
probe = "u0@example.org"
probe_interval = 0.2
max_clients = {clients}
shutdown_grace = 0.2
[log]
target = "file:{folder}/log"
[hosts."{other}"]
program = ["{program}", "other"]
pool_size = 2
[hosts."{broken}"]
program = ["/bin/false"]
pool_size = 1
[hosts."{name}.example"]
program = ["{program}", "guest"]
pool_size = 1
"""
"""`name` is a new one with each reload that is to be put in force: programs are replaced, a host comes and one goes."""

CLIENTS = 48
"""More than a crowd, so that whoever is refused is one of those who knock."""

REFUSED = (
    "this is no TOML\n",
    "no_such_key = 1\n{good}",
    '{good}\n[hosts."new.example"]\nprogram = "/no/such/program"\n',
    '{good}\n[hosts."new.example"]\nprogram = "/bin/false"\n',
    '{good}\n[hosts."new.example"]\nprogram = ["/bin/sh", "-c", "echo hello; sleep 9"]\n',
)


class Place:
    """A daemon in a folder of its own, which is made; what it does wrong is counted in `faults`."""

    def __init__(
        self, folder: Path, program: Path, faults: Counter[str], hurried: bool = True, lies: bool = False
    ) -> None:
        folder.mkdir()
        self._folder, self._program, self._lies = folder, program, lies
        self._file = folder / "auth.toml"
        self._names = 0
        self._kinds = cycle([text for refused in REFUSED for text in ("", refused)])
        self._reload: subprocess.Popen[bytes] | None = None
        self._expected = 0
        self.reloads: Counter[str] = Counter()
        self.faults = faults
        self._file.write_text(self._good())
        self.daemon = Daemon(folder, file=self._file, command=HURRIED if hurried else COMMAND)
        self.pid = self.daemon.process.pid
        self.connect().close()
        self.relays: list[subprocess.Popen[bytes]] = []

    def _good(self) -> str:
        return SETTINGS.format(
            folder=self._folder,
            program=self._program,
            name=f"n{self._names}",
            lie=', "lie"' if self._lies else "",
            clients=CLIENTS,
            other=truth.OTHER,
            broken=truth.BROKEN,
        )

    # --- clients -----------------------------------------------------------------------------------------

    def connect(self) -> socket.socket:
        client = self.daemon.connect()
        self.daemon.clients.clear()  # whoever connects closes it
        return client

    def relay(self) -> socket.socket:
        """A new relay's standard input and output."""
        mine, its = socket.socketpair()
        command = [*COMMAND, "connect", str(self.daemon.path)]
        with its, (self._folder / f"relay{len(self.relays)}.log").open("wb") as log:
            relay = subprocess.Popen(command, stdin=its, stdout=its, stderr=log, cwd=ROOT, env=environment())
        self.relays.append(relay)
        mine.sendall(b"x" * 5000 + b"\n")  # is logged, and so the log is opened before anything is counted
        assert mine.recv(2) == b"0\n"
        return mine

    def knock(self) -> None:
        """More clients than there may be connect at once, and go."""
        knocking = [self.connect() for _ in range(2 * CLIENTS)]
        for client in knocking:
            client.close()

    # --- what it is told, and tells ----------------------------------------------------------------------

    def reload(self) -> None:
        """Begin the next reload if the one before is done: every other one is to be refused."""
        if not self.is_reloaded():
            return
        change = next(self._kinds)
        self._names += not change
        self._file.write_text(change.format(good=self._good()) if change else self._good())
        self._expected = 1 if change else 0
        command = [*COMMAND, "reload", str(self.daemon.status_path)]
        self._reload = subprocess.Popen(command, stdout=-3, stderr=-3, cwd=ROOT, env=environment())

    def is_reloaded(self) -> bool:
        """Whether no reload is under way; one that has ended must have done so as expected."""
        if self._reload is None:
            return True
        status = self._reload.poll()
        if status is None:
            return False
        self._reload = None
        self.reloads["refused" if self._expected else "in force"] += 1
        if status != self._expected:
            self.faults[f"a reload ended with {status}, not {self._expected}"] += 1
        return True

    def status(self) -> dict[str, Any]:
        page = b""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(os.fspath(self.daemon.status_path))
            client.shutdown(socket.SHUT_WR)
            while data := client.recv(65536):
                page += data
        told: dict[str, Any] = json.loads(page)
        return told

    def unsettled(self) -> str:
        """What has not its usual size: a reload, a query, a suspect, a spare, somebody who is leaving; or nothing."""
        if not self.is_reloaded():
            return "a reload is under way"
        if not self._answers():  # which also has the pool notice what is over
            return "there are too many clients"
        programs, there = 0, len(procfs.children(self.pid))
        for name, pool in self.status()["pools"].items():
            states = [program["state"] for program in pool["programs"]]
            programs += len(states)
            if not pool["down"] and (pool["in_flight"] or pool["suspects"] or states != ["ready"] * pool["pool_size"]):
                return f"{name}: {pool['in_flight']} in flight, {pool['suspects']} suspects, {states}"
        return "" if programs == there else f"{there} processes, but {programs} programs"

    def _answers(self) -> bool:
        try:
            with self.connect() as client:
                client.sendall(truth.login(0) + b"\n")
                return client.recv(2) == b"1\n"
        except ConnectionError:  # there are still too many clients
            return False

    def settle(self) -> bool:
        """Wait for everything to have its usual size; returns whether it came to that."""
        deadline = time.monotonic() + PATIENCE
        while why := self.unsettled():
            if time.monotonic() > deadline:
                self.faults[f"did not come to rest: {why}"] += 1
                return False
            time.sleep(0.02)
        return True

    def processes(self) -> list[procfs.Process]:
        """All descendants, in whichever group or session they are."""
        found, left = [], [self.pid]
        while left:
            children = procfs.children(left.pop())
            found += children
            left += [child.pid for child in children]
        return found

    # --- the end -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """End everything; what has been logged must hold no fault of the bridge's own."""
        for process in (*self.relays, self.daemon.process):
            process.terminate()
            process.wait(PATIENCE)
        if self.daemon.process.returncode:
            self.faults["the daemon ended with an error"] += 1
        for log in (self.daemon.log, *self._folder.glob("relay*.log")):
            with log.open("rb") as lines:
                wrong = sum(b"internal error" in line or b"Traceback" in line for line in lines)
            if wrong:
                self.faults[f"an internal error in {log.name}"] += wrong


def open_crowd(place: Place, relays: int) -> crowd.Crowd:
    return crowd.Crowd(place.connect, [place.relay() for _ in range(relays)])


def build(folder: Path, gcc: str = "gcc") -> Path:
    """Compile the program; returns its path."""
    target = folder / "program"
    source = Path(__file__).with_name("program.c")
    flags: Sequence[str] = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE")
    subprocess.run([gcc, *flags, "-o", str(target), str(source)], check=True)
    return target
