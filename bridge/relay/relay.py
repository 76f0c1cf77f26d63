"""`extauth-bridge connect SOCKET`: relay a client on standard input and output to the shared daemon.

Prosody starts one helper for every host, and again after each crash, so a relay must be small and quick.  Sessions,
lockstep rule and gate are those of `run`, but they ask `upstream`.  Standard library only, no trio.  What logging
needs is imported only when there is something to log and no question is open: while one is, every millisecond counts
towards the 50 ms of the lockstep rule.

On a program's terminal the relay keeps running whatever is wrong, answers `0`, and logs why.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from bridge.clients import stdio
from bridge.loop.reactor import Reactor
from bridge.loop.timer import FOREVER
from bridge.relay.deferredlog import DeferredLog
from bridge.relay.settings import RelayConfigError, RelaySettings
from bridge.relay.upstream import Upstream
from bridge.terminal.takeover import ProgramTerminal

TYPE_CHECKING = False  # signal makes enums of all it has, which takes a tenth of the start
if TYPE_CHECKING:
    import signal as _signal

    from bridge.clients.lockstep import LockstepSession
    from bridge.clients.pipelined import PipelinedSession
else:
    import _signal

_QUIET = 0.2
"""Seconds the log is held back for the first question, which usually comes right at the start."""

_RETRY_LOG = 0.05
"""Seconds between checks whether no question is open, so that there is time for the log."""


def relay(read: Callable[[], RelaySettings], taken: ProgramTerminal | None) -> int:
    """Relay until the input ends.

    Args:
      read: the current settings; raises RelayConfigError.

    Returns:
      exit status: 0, or 2 if the settings are wrong and this is not a program's terminal.
    """
    try:
        settings = read()
    except RelayConfigError as error:
        if taken is None:
            print(f"extauth-bridge: {error}", file=sys.stderr)
            return 2
        settings = RelaySettings(broken=str(error))
    if taken is None and os.isatty(0):
        _say_if_nobody_listens(settings.path)
    Relay(settings, read, taken).run()
    return 0


def _say_if_nobody_listens(path: str) -> None:
    """Tell a person at once: others learn it from the log, when they ask the first question."""
    import _socket

    from bridge.relay.upstream import hint

    connection = _socket.socket(_socket.AF_UNIX)
    connection.setblocking(False)
    try:
        connection.connect(path)
    except BlockingIOError:  # it is busy
        pass
    except OSError as error:
        advice = "; ".join(["every line is answered 0", *hint(error).values()])
        print(f"extauth-bridge: no daemon at {path}: {error.strerror or error}; {advice}", file=sys.stderr)
    finally:
        connection.close()


class Relay:
    """One client, one daemon, and the loop that drives both."""

    def __init__(
        self, settings: RelaySettings, read: Callable[[], RelaySettings], taken: ProgramTerminal | None
    ) -> None:
        self._read = read
        self._over = False
        self._signals = 0
        self._on_terminal = taken is not None
        self._reactor = Reactor()
        self._log_timer = self._reactor.call_at(FOREVER, self._write_log)
        self._log = DeferredLog(settings.log, stdio.stderr_is_the_clients(taken), self._reactor.clock, self._log_soon)
        self._upstream = Upstream(
            settings, self._read_again, self._on_terminal, self._reactor, self._log.warn, self._reconfigure
        )
        if settings.broken:
            self._log.error("every question is answered 0 until this is repaired", error=settings.broken)
        self._session = self._connect(taken)
        if os.getpid() == 1:
            from bridge.loop.orphans import reap_orphans

            reap_orphans(self._reactor)
        self._obey_signals()

    def run(self) -> None:
        """Relay until the client is gone or a signal ends it, then write the rest of the log."""
        self._reactor.run_until(lambda: self._over)
        self._upstream.close()
        self._session.close()
        self._reactor.close()
        if self._log:
            self._log.write()

    def _log_soon(self) -> None:
        self._log_timer.set(self._reactor.clock() + (0.0 if self._upstream.asked else _QUIET))

    def _write_log(self) -> None:
        if self._on_terminal and not self._session.idle:
            self._log_timer.set(self._reactor.clock() + _RETRY_LOG)
        elif self._log:
            self._log.write()

    def _connect(self, taken: ProgramTerminal | None) -> PipelinedSession | LockstepSession:
        if taken is None:
            return stdio.pipelined(None, self._upstream, self._reactor, self._end)
        return stdio.lockstep(taken, self._upstream, self._reactor, self._end, self._log.info)

    # --- from outside ------------------------------------------------------------------------------------

    def _end(self) -> None:
        self._over = True

    def _obey_signals(self) -> None:
        """End on a first signal once outstanding answers are written, on a second one at once."""
        bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

        def obey() -> None:
            self._signals += os.eventfd_read(bell)
            self._session.stop()
            if self._signals > 1:
                self._session.abort()
                self._over = True

        self._reactor.watch(bell, obey)
        for number in (_signal.SIGTERM, _signal.SIGHUP, _signal.SIGINT):
            # A signal stays ignored where it was at start: in a shell's background job, or under nohup.
            if self._on_terminal or _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, lambda _number, _frame: os.eventfd_write(bell, 1))

    def _read_again(self) -> RelaySettings:
        """The settings of a file that was broken and may have been repaired."""
        try:
            return self._read()
        except RelayConfigError as error:
            return RelaySettings(broken=str(error))

    def _reconfigure(self) -> None:
        settings = self._upstream.settings
        if settings.broken:
            return
        self._session.reconfigure(settings)
        self._log.reconfigure(settings.log)
        self._log.info("configuration loaded")
