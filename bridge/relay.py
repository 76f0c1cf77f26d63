"""`extauth-bridge connect SOCKET`: relay a client on standard input and output to the shared daemon.

Prosody starts one helper for every host, and again after each crash: a relay has to be small and quick.  The
sessions, the lockstep rule and the gate are those of `run`; only whom they ask is another (`upstream`).  Standard
library only, no trio; what logging needs is imported when there is something to log and no question is open:
while a question is open, each millisecond counts for the 50 ms of the lockstep rule.

On a program's terminal the relay stays whatever is wrong, answers `0` and says why in the log.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence

from bridge.alarm import FOREVER, Alarm
from bridge.descriptors import borrow, is_one_stream, owned
from bridge.relayfile import LogChoice, NotUsable, RelaySettings, shown
from bridge.switchboard import Switchboard
from bridge.terminal import ProgramTerminal
from bridge.upstream import Upstream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.lockstepsession import LockstepSession
    from bridge.session import Session

USAGE = "extauth-bridge connect SOCKET"

_QUIET = 0.2
"""Seconds without any question after which the log is written: the first one usually comes with the start."""

_NOTES = 64
"""Log lines that are kept until they can be written."""


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Relay to the socket that `argv` names until the input ends.

    Returns:
      exit status: 0, or 2 for a wrong command line unless on a program's terminal.
    """
    if taken is None and [*argv] in (["-h"], ["--help"]):
        print(f"usage: {USAGE}\n\nRelay Prosody's lines on standard input to the daemon that listens on SOCKET.")
        return 0

    def read() -> RelaySettings:
        if len(argv) != 1 or argv[0].startswith("-"):
            raise NotUsable(f"usage: {USAGE}")
        if len(os.fsencode(argv[0])) > 107:
            raise NotUsable(f"the name of a socket has at most 107 bytes, but this one is longer: {shown(argv[0])}")
        return RelaySettings(argv[0])

    return relay(read, taken)


def relay(read: Callable[[], RelaySettings], taken: ProgramTerminal | None) -> int:
    """Relay until the input ends.

    Args:
      read: the settings, as they are now; raises NotUsable.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        settings = read()
    except NotUsable as error:
        if taken is None:
            print(f"extauth-bridge: {error}", file=sys.stderr)
            return 2
        settings = RelaySettings(broken=str(error))
    Relay(settings, read, taken).run()
    return 0


class Notes:
    """What is to be logged, once there is time for it.

    Args:
      client_terminal: stderr is where the answers go, and gets nothing.
    """

    def __init__(self, settings: LogChoice, client_terminal: bool, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._client_terminal = client_terminal
        self._clock = clock
        self._notes: list[tuple[str, str, dict[str, object]]] = []
        self._lost = 0
        self._writer: Callable[[str, str, dict[str, object]], None] | None = None

    def __bool__(self) -> bool:
        return bool(self._notes)

    def info(self, message: str, **fields: object) -> None:
        """Something an operator wants to know."""
        self._add("INFO", message, fields)

    def warn(self, message: str, **fields: object) -> None:
        """Something an operator may have to see to."""
        self._add("WARNING", message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Something an operator has to repair."""
        self._add("ERROR", message, fields)

    def write(self) -> None:
        """Log them all; a field that is a function is called now."""
        if self._writer is None:
            self._writer = self._open()
        if self._lost:
            lost, self._lost = self._lost, 0
            self._notes.append(("WARNING", "log lines lost", {"count": lost}))
        notes, self._notes = self._notes, []
        for level, message, fields in notes:
            self._writer(level, message, fields)

    def reconfigure(self, settings: LogChoice) -> None:
        """Log as these say from now on."""
        self._settings, self._writer = settings, None

    def _add(self, level: str, message: str, fields: dict[str, object]) -> None:
        if len(self._notes) < _NOTES:
            self._notes.append((level, message, fields))
        else:
            self._lost += 1

    def _open(self) -> Callable[[str, str, dict[str, object]], None]:
        import logging

        from bridge.log import RateLimited, configure

        configure(self._settings, self._client_terminal)
        limited = RateLimited(5, 60.0, self._clock)
        levels = logging.getLevelNamesMapping()

        def write(level: str, message: str, fields: dict[str, object]) -> None:
            known = {name: value() if callable(value) else value for name, value in fields.items()}
            limited.log(levels[level], (message, fields.get("reason")), message, **known)

        return write


class Relay:
    """One client, one daemon, and the loop that drives both."""

    def __init__(
        self, settings: RelaySettings, read: Callable[[], RelaySettings], taken: ProgramTerminal | None
    ) -> None:
        self._read = read
        self._over = False
        self._signals = 0
        log_on_client = is_one_stream(1, 2) if taken is None else 2 in taken.was
        self._notes = Notes(settings.log, log_on_client, time.monotonic)
        self._board = Switchboard()
        self._upstream = Upstream(
            settings, self._read_again, taken is not None, self._board, self._notes.warn, time.monotonic
        )
        self._alarms = [self._upstream.alarm]
        self._hurry: Alarm | None = None  # of a lockstep client: while it is set, there is something to be written
        if settings.broken:
            self._notes.error("every question is answered 0 until this is repaired", error=settings.broken)
        self._session = self._pipelined() if taken is None else self._lockstep(taken)
        self._session.over = self._end
        self._obey_signals(taken is not None)

    def run(self) -> None:
        """Relay until the client is gone or a signal says so, and write what is left to be logged."""
        poll = select.poll()
        poll.register(self._board.fileno(), select.POLLIN)
        while not self._over:
            if not poll.poll(self._pause()) and self._may_log():
                self._notes.write()
            self._board.turn()
            now = time.monotonic()
            for alarm in self._alarms:
                if alarm.when <= now:
                    alarm.ring()
        self._upstream.close()
        self._session.close()
        self._board.close()
        if self._notes:
            self._notes.write()

    def _pause(self) -> float | None:
        """Milliseconds until something is to be done by itself; `None` if nothing is."""
        if self._board.busy:
            return 0.0
        due = min(alarm.when for alarm in self._alarms)
        pause = max(0.0, due - time.monotonic())
        if self._may_log():
            pause = min(pause, 0.0 if self._upstream.asked else _QUIET)
        return None if pause == FOREVER else pause * 1000.0

    def _may_log(self) -> bool:
        if not self._notes:
            return False
        return self._hurry is None or (self._upstream.idle and self._hurry.when == FOREVER)

    def _pipelined(self) -> Session:
        from bridge.session import Session

        return Session(borrow(0, os.O_RDONLY), borrow(1, os.O_WRONLY), self._upstream, self._board)

    def _lockstep(self, taken: ProgramTerminal) -> LockstepSession:
        from bridge.gate import Gate
        from bridge.lockstepsession import LockstepSession
        from bridge.waiting import Watcher

        source = owned(taken.descriptor, taken.may_block)
        sink = owned(os.dup(taken.descriptor), taken.may_block) if 1 in taken.was else borrow(1, os.O_WRONLY)
        watcher = Watcher(taken.descriptor)
        gate = Gate(watcher)
        session = LockstepSession(source, sink, self._upstream, self._board, gate)
        self._notes.info("client on a terminal", rule=gate.describe, client=watcher.describe)
        self._hurry = session.alarm
        self._alarms.append(session.alarm)
        return session

    # --- from outside ------------------------------------------------------------------------------------

    def _end(self) -> None:
        self._over = True

    def _obey_signals(self, on_terminal: bool) -> None:
        """A first signal ends it after the answers that are owed, a second one at once."""
        bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

        def obey() -> None:
            self._signals += os.eventfd_read(bell)
            self._session.stop()
            if self._signals > 1:
                self._session.abort()
                self._over = True

        self._board.watch(bell, obey)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            # A shell's background job and what nohup starts ignore one of them, and so it stays.
            if on_terminal or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda _number, _frame: os.eventfd_write(bell, 1))

    def _read_again(self) -> RelaySettings:
        """A configuration that was broken, perhaps repaired."""
        try:
            return self._read()
        except NotUsable as error:
            return RelaySettings(broken=str(error))

    def _reconfigure(self) -> None:
        settings = self._upstream.settings
        if settings.broken:
            return
        self._session.reconfigure(settings)
        self._notes.reconfigure(settings.log)
        self._notes.info("configuration loaded")
