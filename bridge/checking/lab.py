"""Where trials are made: starts fresh processes, puts together questions, and collects what is written on stderr.

- Questions are about a name that nobody has, or about the account that was given.  Nothing changes anything.
- Every trial may be made beside others, each in a thread of its own.
- What is shown of a program's output has passed through the masks: a secret can have got into it.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import threading
from collections.abc import Generator, Iterable

import attrs

from bridge.checking.dialects import DIALECTS, Dialect
from bridge.checking.driver import Answer, Program
from bridge.checking.flaw import Flaw
from bridge.config.settings import ProgramSettings, Settings
from bridge.log.events import ending
from bridge.log.text import escaped, shortened
from bridge.worker import spawn
from bridge.worker.masks import Masks

NOWHERE = "example.com"
"""The host of questions about nobody, where none is known."""

_SHOWN = 160
"""Characters of a program's output in a finding."""

_LINES = 400
"""Lines of stderr that are searched: the first and the last ones."""


class Interrupted(Exception):
    """The check is over; start nothing."""


class NotReady(Exception):
    """A process gave no good first reply, although another did."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


@attrs.frozen
class Account:
    """Credentials that are good."""

    user: str
    host: str
    secret: bytes = attrs.field(repr=False)


class Lab:
    """One program's trials.

    Args:
      program: what is tried.
      settings: its surroundings.
      host: whom it serves; empty: anybody.  An account brings its own.
      account: if its credentials are known.
      changes: whether trials may change accounts.

    Attributes:
      nobody: a user that hardly exists.
      startup: seconds to the first reply, once known.
      usual: seconds of a reply.
      dialect: what it is spoken to in.
      is_bare: no line end comes behind its digits, so there is none to wait for.
      asks_isuser: whether it may be asked, and can answer that.
      ahead: what the first process wrote before its first reply, if anything.
      stderr: what each process has written there.
      left: processes that could not be killed.
    """

    def __init__(
        self, program: ProgramSettings, settings: Settings, host: str, account: Account | None, changes: bool
    ) -> None:
        self.program = program
        self.settings = settings
        self.account = account
        self.changes = changes
        self.host = account.host if account else host or NOWHERE
        self.nobody = f"check-{secrets.token_hex(4)}-nobody"
        self.startup = self.usual = 0.0
        self.dialect = DIALECTS[program.protocol]
        self.is_bare = False
        self.asks_isuser = "isuser" in program.commands
        self.ahead: Flaw | None = None
        self.stderr: list[bytes] = []
        self.left: list[int] = []
        self._secrets: set[bytes] = set()
        self._running: set[Program] = set()
        self._lock = threading.Lock()
        self._over = False

    def speaks_instead(self, protocol: object) -> bool:
        """Go on in this protocol, if that is another one and the first such change."""
        changes = protocol in DIALECTS and self.dialect is DIALECTS[self.program.protocol]
        changes = changes and protocol != self.dialect.name
        if changes:
            self.dialect = DIALECTS[str(protocol)]
        return changes

    # --- questions

    def plain(self, user: str = "") -> bytes:
        """A question that any program answers: isuser, or auth for one that does not know it."""
        return self.isuser(user) if self.asks_isuser else self.auth(secrets.token_hex(12).encode(), user)

    def isuser(self, user: str = "") -> bytes:
        """Is there such a user?"""
        return f"isuser:{user or self.nobody}:{self.host}".encode(errors="surrogateescape")

    def auth(self, secret: bytes, user: str = "", command: str = "auth") -> bytes:
        """Is this the user's secret?"""
        self._secrets.add(secret)
        return f"{command}:{user or self.nobody}:{self.host}:".encode(errors="surrogateescape") + secret

    def account_auth(self, secret: bytes, command: str = "auth") -> bytes:
        """Is this the account's secret?"""
        assert self.account is not None
        return self.auth(secret, self.account.user, command)

    # --- processes

    @contextlib.contextmanager
    def start(self, dialect: Dialect | None = None) -> Generator[Program, None, None]:
        """A fresh process.

        Args:
          dialect: what to speak to it in, if not its own.

        Raises:
          OSError: it cannot be started.
          Interrupted: the check is over.
        """
        with self._lock:
            if self._over:
                raise Interrupted
            process = spawn.start(self.program.argv, self.program.cwd, self.program.env)
            program = Program(process, dialect or self.dialect, waits=not self.is_bare)
            self._running.add(program)
        try:
            yield program
        finally:
            program.close()
            with self._lock:
                self._running.discard(program)
                program.forget()
                if program.exit is None:
                    self.left.append(program.pid)
                self.stderr.append(bytes(program.stderr))

    @contextlib.contextmanager
    def ready(self) -> Generator[Program, None, None]:
        """A fresh process that has given its first reply; what stood before that is overlooked here.

        Raises:
          OSError, Interrupted: see `start`.
          NotReady: it has not.
        """
        with self.start() as program:
            answer = program.ask(self.plain(), self.settings.start_timeout, quiet=0)
            if answer.verdict is None:
                more = program.reply(0)
                answer = attrs.evolve(answer, data=answer.data + more.data, exit=more.exit)
            if answer.verdict is None and not self.dialect.ends_well(answer.data):
                raise NotReady(answer)
            yield program

    def ask(self, program: Program, body: bytes) -> Answer:
        """Ask a process that is ready."""
        return program.ask(body, self.settings.answer_timeout)

    def stop(self) -> None:
        """End all trials."""
        with self._lock:
            self._over = True
            for program in self._running:
                program.signal(signal.SIGKILL)

    # --- what is shown

    def told(self, answer: Answer) -> str:
        """What came back, in words."""
        if answer.verdict is not None:
            return answer.verdict.value
        found = answer.dialect.flaw(answer.data)
        if found is not None:
            return found.seen + (f": {self.shown(found.text)}" if found.text else "")
        if answer.exit is not None:
            return f"no reply, and it ended ({ending(answer.exit)})"
        if answer.waited:
            return f"no reply within {answer.seconds:.2g} s"
        return "no reply, and it closed its stdout"

    def shown(self, data: bytes) -> str:
        """Output of the program as one short line without secrets."""
        line = data[: 8 * _SHOWN].replace(b"\n", b" ")
        masked = self._masks(self._all_secrets()).apply(line, torn=len(data) > 8 * _SHOWN)
        if masked is None:
            return "(not shown: it may hold a secret)"
        spaced = b" ".join(masked.split())  # only now: a secret may have two spaces in a row
        text = shortened(escaped(spaced.decode("utf-8", "backslashreplace")), _SHOWN)
        return text if not self._masks(self._all_secrets()).betrayed_by(text.encode()) else "(not shown)"

    def last_words(self, program: Program) -> str:
        """The last line on its stderr, for a finding; empty if there is none."""
        lines = [line for line in bytes(program.stderr).splitlines() if line.strip()]
        return f"; its last words: {self.shown(lines[-1])}" if lines else ""

    def leaks(self) -> bytes | None:
        """A line on stderr that holds a secret; only those count that we made up, which nothing else can hold."""
        known = self.account.secret if self.account else None
        masks = self._masks(made_up for made_up in self._secrets if known is None or known not in made_up)
        for line in self.chatter():
            if masks.betrayed_by(line):
                return line
        return None

    def chatter(self) -> list[bytes]:
        """Lines on stderr, of all processes."""
        lines = [line[:2048] for data in self.stderr for line in data.splitlines() if line.strip()]
        return lines if len(lines) <= 2 * _LINES else lines[:_LINES] + lines[-_LINES:]

    def _all_secrets(self) -> Iterable[bytes]:
        return self._secrets | ({self.account.secret} if self.account else set())

    def _masks(self, hidden: Iterable[bytes]) -> Masks:
        return Masks(hidden)


def duration(seconds: float) -> str:
    """Some time, as exactly as a person wants to know it."""
    if seconds < 0.1:
        return f"{max(1, round(seconds * 1000))} ms"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
