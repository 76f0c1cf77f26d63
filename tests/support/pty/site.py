"""What stands around a client on a pty: the command it starts, the configuration, the programs, the log.

To see that a test really sees its hazard, run it against something else than the bridge:
`PTY_TESTS_COMMAND="python3 /tmp/naive.py"` replaces `python -m bridge` in every command file
(and `PTY_TESTS_PATIENCE=5`, in seconds, lets the tests give up sooner).
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from support import canary, configfile, procfs
from support.faults import fault
from support.pty.backend import Backend
from support.pty.driver import PATIENCE, Client, Emulation, LuaClient

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "tests" / "pty" / "program.py"
BRIDGE = shlex.split(os.environ.get("PTY_TESTS_COMMAND", "")) or [sys.executable, "-m", "bridge"]

HOST = "example.com"
# Long and odd enough that finding one in a log can be no accident.
PASSWORDS = {
    "alice": "wonder:land-7Kq",
    "bob": "b0b-is-no-Secret-93x",
    "slow": "slow-and-steady-55y",
    "late": "better-than-never-08z",
}
WRONG = "guess-Wrong-41w"
canary.also(*PASSWORDS.values(), WRONG)

# Clients that differ in what the bridge can see of them: the real lpty 1.0.1, lpty 1.2, lpty 1.0 (line editing on, no
# controlling terminal), lpty 1.2 without external_auth_blocking, and a wrapper script between client and bridge.
BLOCKING = ("lua", "lpty12", "lpty10", "wrapped")
EMULATED = ("lpty12", "lpty10", "wrapped", "nonblocking")
CLIENTS = (*BLOCKING, "nonblocking")
OPTIONS = {
    "lpty12": (),
    "lpty10": ("--icanon", "--no-ctty"),
    "nonblocking": ("--no-blocking",),
    "wrapped": (),
    "select loop": ("--loop", "select"),
    "person": ("--echo", "--icanon"),
}


def auth(user: str, password: str | None = None) -> str:
    """The line of a login, by default with the right password."""
    return f"auth:{user}:{HOST}:{PASSWORDS[user] if password is None else password}"


# Seconds after which these clients give up, where the test wants it.
GIVE_UP = 0.4

# A cycle of questions in which an answer that is shifted by one or two places is wrong, and lets somebody in.
CYCLE = (
    (auth("alice"), "1"),
    (auth("alice", WRONG), "0"),
    (auth("bob", WRONG), "0"),
    (f"isuser:bob:{HOST}", "1"),
    (auth("bob"), "1"),
    (f"isuser:nobody:{HOST}", "0"),
    (auth("bob", PASSWORDS["alice"]), "0"),
)


@attrs.frozen
class Logins:
    """What became of some questions: every verdict that was not the truth, as `number: start of the line, verdict`."""

    false_accepts: list[str]
    false_rejects: list[str]
    unanswered: list[str]
    garbage: list[str]

    @property
    def refused(self) -> int:
        """Logins that failed though they were right, and any others that nobody answered."""
        return len(self.false_rejects) + len(self.unanswered)


def logins(client: Client, count: int, helper: int = 0) -> Logins:
    """Ask `count` questions: half of them one by one, back in the client's main loop after each, half in a row.

    Gives up early when nobody answers any more.
    """
    questions = [CYCLE[number % len(CYCLE)] for number in range(count)]
    lines = [line for line, _ in questions]
    half = count // 2 if client.blocking else count
    verdicts: list[str] = []
    for line in lines[:half]:
        if verdicts.count("none") < 3:
            verdicts.append(client.ask(line, helper=helper))
    if len(verdicts) == half:
        verdicts += client.queries(lines[half:], helper=helper)
    found = Logins([], [], [], [])
    for number, (verdict, (line, truth)) in enumerate(zip(verdicts, questions, strict=False)):
        note = f"{number}: {line[:12]}, {verdict}"
        if verdict == "garbage":
            found.garbage.append(note)
        elif verdict not in ("0", "1"):
            found.unanswered.append(note)
        elif verdict != truth:
            (found.false_accepts if verdict == "1" else found.false_rejects).append(note)
    return found


def all_right(client: Client, count: int = 14, helper: int = 0) -> None:
    """Every one of `count` questions is answered by the truth: no stale answer is in the way."""
    got = logins(client, count, helper)
    assert got == Logins([], [], [], []), repr(got)


class Site:
    """A directory with everything for one test; checks at its end that nothing is left over and no secret logged."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.backend = Backend(root / "control")
        self.users = root / "users.json"
        self.users.write_text(json.dumps({f"{user}@{HOST}": word for user, word in PASSWORDS.items()}))
        self.log = root / "bridge.log"
        self.config = root / "bridge.toml"
        self.secrets = {*PASSWORDS.values(), WRONG}
        self.clients: list[Client] = []
        self.helpers: set[int] = set()
        # A wrapper script holds the pty's master too, so there is no hang-up when the client dies.
        self.wrapped = False

    # -- setting up --

    def configure(self, env: dict[str, object] | None = None, **settings: object) -> Path:
        """Write the configuration: one program, everything logged to a file, `settings` on top of that."""
        environment = {"USERS": str(self.users), "CONTROL": str(self.backend.path)}
        environment |= {key: str(value) for key, value in (env or {}).items()}
        # A program at the gate is let through when the test says so, however long a busy machine takes for that.
        if "GATED" in environment:
            settings = {"answer_timeout": PATIENCE, **settings}
        defaults = {
            "program": [sys.executable, "-I", "-S", str(PROGRAM)],
            "pool_size": 1,
            "env": environment,
            "log": {"level": "debug", "target": f"file:{self.log}"},
        }
        return configfile.write(self.config, {**defaults, **settings})

    def command(
        self,
        *arguments: str,
        before: str = "",
        prefix: Sequence[str] = (),
        behind: str = "",
        wrapped: bool = False,
        name: str = "helper",
    ) -> Path:
        """An executable file that runs the bridge with `arguments`, by default `run CONFIG`; lpty passes none itself.

        `before` is shell text to run first, `prefix` a command that runs the bridge, `behind` its redirections;
        `wrapped` leaves the shell alive as the bridge's parent.
        """
        words = shlex.join([*prefix, *BRIDGE, *(arguments or ("run", str(self.config)))])
        end = f"{words} {behind}\nexit $?" if wrapped else f"exec {words} {behind}"
        path = self.root / name
        path.write_text(f"#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(ROOT))}:$PYTHONPATH\n{before}\n{end}\n")
        path.chmod(0o755)
        return path

    def client(
        self,
        kind: str = "lpty12",
        *options: str,
        command: Path | None = None,
        helpers: int = 1,
        env: dict[str, str] | None = None,
    ) -> Client:
        """A client of that kind, not yet asking anything; it is closed at the end of the test."""
        if not self.config.exists():
            self.configure()
        self.wrapped |= kind == "wrapped"
        path = command or self.command(wrapped=kind == "wrapped")
        client: Client
        if kind == "lua":
            client = LuaClient(path, helpers)
        else:
            client = Emulation(
                path, *OPTIONS[kind], *options, helpers=helpers, env={**os.environ, **env} if env else None
            )
        self.clients.append(client)
        return client

    def emulation(self, kind: str = "lpty12", *options: str, command: Path | None = None, **more: object) -> Emulation:
        """As `client`, for what only the emulation can do."""
        client = self.client(kind, *options, command=command, **more)  # type: ignore[arg-type]
        assert isinstance(client, Emulation)
        return client

    def faulty(self, code: str) -> Emulation:
        """An emulation whose helper runs `code` before anything else; one of these for a site."""
        place = fault(self.root, code)["PYTHONPATH"]
        return self.emulation("lpty12", command=self.command(before=f"export PYTHONPATH='{place}'"))

    def ready(self, client: Client, helper: int = 0) -> None:
        """Start the helper without a query and wait for its program: no echo race, the terminal is raw."""
        before = len(self.started())
        client.start(helper)
        self.until_started(before + 1, client, helper)

    def until_started(self, count: int, client: Client, helper: int = 0) -> None:
        """Return when so many programs have started in all: a question then takes no start's time."""
        end = time.monotonic() + PATIENCE
        while len(self.started()) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"no program starts; the helper: {client.status(helper)}")
            time.sleep(0.002)

    def give_up(self, client: Client, text: str, helper: int = 0) -> None:
        """The client asks and gives up, and what it sends next is no part of the same burst.

        Only then: the bridge may read the line long after the client has lost patience with it.
        """
        assert client.ask(text, GIVE_UP, helper) == "none"
        self.backend.until(text)
        self.past_burst()

    def past_burst(self) -> None:
        """Let the 50 ms pass in which a line counts as part of the burst of the one that was read just now."""
        time.sleep(0.1)

    # -- looking --

    def is_raw(self, client: Emulation, helper: int = 0) -> bool:
        """Whether the terminal passes every byte on as it is: no signals, no line editing."""
        lflag = json.loads(client.settings(helper))[3]
        return not lflag & (termios.ISIG | termios.ICANON | termios.ECHO)

    def until_raw(self, client: Emulation, helper: int = 0) -> None:
        """Return when the bridge has made the terminal raw."""
        end = time.monotonic() + PATIENCE
        while not self.is_raw(client, helper):
            if time.monotonic() > end:
                raise TimeoutError(f"the terminal never becomes raw; the helper: {client.status(helper)}")
            time.sleep(0.001)

    def slow_import(self) -> str:
        """Shell text after which `import trio` says so (see until_importing) and takes until finish_import."""
        package = self.root / "slow" / "trio"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(
            f"""
import os, sys, time
open({str(self.root / "importing")!r}, "w").close()
while not os.path.exists({str(self.root / "imported")!r}):
    time.sleep(0.01)
sys.path.remove({str(self.root / "slow")!r})
del sys.modules["trio"]
import trio  # the real one
"""
        )
        if not self.config.exists():
            self.configure()
        return f"export PYTHONPATH='{self.root / 'slow'}':$PYTHONPATH"

    def finish_import(self) -> None:
        """Let `import trio` go on."""
        (self.root / "imported").touch()

    def until_importing(self) -> None:
        """Return when something imports trio."""
        end = time.monotonic() + PATIENCE
        while not (self.root / "importing").exists():
            if time.monotonic() > end:
                raise TimeoutError("nobody imports trio")
            time.sleep(0.005)

    def kill(self, pid: int, name: str) -> None:
        """Send a signal, given without SIG."""
        os.kill(pid, getattr(signal, f"SIG{name}"))

    def until_ended(self, client: Client, helper: int = 0) -> None:
        """Return when the helper has ended, as the client sees it."""
        end = time.monotonic() + PATIENCE
        while client.status(helper) == "running":
            if time.monotonic() > end:
                raise TimeoutError("the helper does not end")
            time.sleep(0.01)

    def slave_flags(self, client: Emulation, helper: int = 0) -> str:
        """Flags of the slave as the client has it open."""
        descriptor = client.call("slave", helper)[0]
        text = Path(f"/proc/{client.process.pid}/fdinfo/{descriptor}").read_text()
        return text.split("flags:")[1].split()[0]

    def password(self, user: str) -> str:
        """What the user's password is now."""
        return json.loads(self.users.read_text())[f"{user}@{HOST}"]

    def log_text(self) -> str:
        """The log so far."""
        return self.log.read_text() if self.log.exists() else ""

    def until_logged(self, pattern: str) -> str:
        """The first log line that matches (case apart); waits for it."""
        end = time.monotonic() + PATIENCE
        while True:
            for line in self.log_text().splitlines():
                if re.search(pattern, line, re.IGNORECASE):
                    return line
            if time.monotonic() > end:
                raise TimeoutError(f"no log line matches {pattern!r}:\n{self.log_text()}")
            time.sleep(0.02)

    def bridge_pid(self, client: Client) -> int:
        """The bridge's own process, also behind a wrapper: the last of the tree that is no program."""
        programs = set(self.started())
        return [pid for pid in tree(client.process.pid) if pid not in programs][-1]

    def started(self) -> list[int]:
        """Process ids of all programs that have started so far."""
        self.backend.settle()
        return self.backend.pids

    # -- the end --

    def close(self) -> None:
        """Crash all clients; nothing they started may survive that, and no secret may be in the log."""
        descendants = {pid for client in self.clients for pid in tree(client.process.pid)}
        for client in self.clients:
            client.close()
        left = until_gone(descendants | set(self.started()), 0 if self.wrapped else PATIENCE)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.backend.close()
        assert self.wrapped or not left, f"left behind when the client was gone: {left}"
        text = self.log_text()
        assert not [secret for secret in self.secrets if secret in text], "a secret is in the log"
        assert "Traceback" not in text


def tree(pid: int) -> list[int]:
    """All descendants of a process, parents before children."""
    found: list[int] = []
    for child in procfs.children(pid):
        if not child.is_zombie:
            found += [child.pid, *tree(child.pid)]
    return found


def until_gone(pids: set[int], patience: float = PATIENCE) -> set[int]:
    """Wait until none of these processes lives; those that still do after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        left = {pid for pid in pids if procfs.alive(pid)}
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.005)


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """A Site in a directory of its own that every user may enter (pytest's own directories are private)."""
    root = Path(tempfile.mkdtemp(prefix="pty-"))
    root.chmod(0o777)
    try:
        place = Site(root)
        try:
            yield place
        finally:
            place.close()
    finally:
        shutil.rmtree(root)
