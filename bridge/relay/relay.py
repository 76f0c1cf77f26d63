"""`extauth-bridge connect SOCKET`: relay a client on standard input and output to the shared daemon.

Prosody starts one helper for every host, and again after each crash: a relay has to be small and quick.  The
sessions, the lockstep rule and the gate are those of `run`; only whom they ask is another (`upstream`).  Standard
library only, no trio; what logging needs is imported when there is something to log and no question is open:
while a question is open, each millisecond counts for the 50 ms of the lockstep rule.

On a program's terminal the relay stays whatever is wrong, answers `0` and says why in the log.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable

from bridge.clients import stdio
from bridge.loop.reactor import Reactor
from bridge.loop.timer import FOREVER, Timer
from bridge.relay.deferredlog import DeferredLog
from bridge.relay.settings import RelayConfigError, RelaySettings
from bridge.relay.upstream import Upstream
from bridge.terminal.takeover import ProgramTerminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.clients.lockstep import LockstepSession

_QUIET = 0.2
"""Seconds without any question after which the log is written: the first one usually comes with the start."""


def relay(read: Callable[[], RelaySettings], taken: ProgramTerminal | None) -> int:
    """Relay until the input ends.

    Args:
      read: the settings, as they are now; raises RelayConfigError.
    """
    try:
        settings = read()
    except RelayConfigError as error:
        if taken is None:
            print(f"extauth-bridge: {error}", file=sys.stderr)
            return 2
        settings = RelaySettings(broken=str(error))
    Relay(settings, read, taken).run()
    return 0


class Relay:
    """One client, one daemon, and the loop that drives both."""

    def __init__(
        self, settings: RelaySettings, read: Callable[[], RelaySettings], taken: ProgramTerminal | None
    ) -> None:
        self._read = read
        self._over = False
        self._signals = 0
        self._notes = DeferredLog(settings.log, stdio.stderr_is_the_clients(taken), time.monotonic)
        self._reactor = Reactor()
        self._upstream = Upstream(
            settings, self._read_again, taken is not None, self._reactor, self._notes.warn, time.monotonic
        )
        self._timers = [self._upstream.timer]
        self._hurry: Timer | None = None  # of a lockstep client: while it is set, there is something to be written
        if settings.broken:
            self._notes.error("every question is answered 0 until this is repaired", error=settings.broken)
        self._session = stdio.pipelined(None, self._upstream, self._reactor) if taken is None else self._lockstep(taken)
        self._session.over = self._end
        self._obey_signals(taken is not None)

    def run(self) -> None:
        """Relay until the client is gone or a signal says so, and write what is left to be logged."""
        poll = select.poll()
        poll.register(self._reactor.fileno(), select.POLLIN)
        while not self._over:
            if not poll.poll(self._pause()) and self._may_log():
                self._notes.write()
            self._reactor.run_once()
            now = time.monotonic()
            for timer in self._timers:
                if timer.when <= now:
                    timer.ring()
        self._upstream.close()
        self._session.close()
        self._reactor.close()
        if self._notes:
            self._notes.write()

    def _pause(self) -> float | None:
        """Milliseconds until something is to be done by itself; `None` if nothing is."""
        if self._reactor.busy:
            return 0.0
        due = min(timer.when for timer in self._timers)
        pause = max(0.0, due - time.monotonic())
        if self._may_log():
            pause = min(pause, 0.0 if self._upstream.asked else _QUIET)
        return None if pause == FOREVER else pause * 1000.0

    def _may_log(self) -> bool:
        if not self._notes:
            return False
        return self._hurry is None or (self._upstream.idle and self._hurry.when == FOREVER)

    def _lockstep(self, taken: ProgramTerminal) -> LockstepSession:
        session = stdio.lockstep(taken, self._upstream, self._reactor, self._notes.info)
        self._hurry = session.timer
        self._timers.append(session.timer)
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

        self._reactor.watch(bell, obey)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            # A shell's background job and what nohup starts ignore one of them, and so it stays.
            if on_terminal or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda _number, _frame: os.eventfd_write(bell, 1))

    def _read_again(self) -> RelaySettings:
        """A configuration that was broken, perhaps repaired."""
        try:
            return self._read()
        except RelayConfigError as error:
            return RelaySettings(broken=str(error))

    def _reconfigure(self) -> None:
        settings = self._upstream.settings
        if settings.broken:
            return
        self._session.reconfigure(settings)
        self._notes.reconfigure(settings.log)
        self._notes.info("configuration loaded")
