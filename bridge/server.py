"""Many clients on Unix sockets, each a session of its own on the same pools.

  - Whoever may not connect, or comes when there are enough, is shown out at once; the log says why.
  - A client that is gone takes its waiting queries with it; what a program has is finished unheard.
  - Stopping: no new clients (systemd keeps them waiting for the next daemon), answer what is in flight for at
    most `shutdown_grace`, then `0` for the rest.

To the service it is one client, of which there are many.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

from bridge.alarm import FOREVER, Alarm
from bridge.config import Settings
from bridge.descriptors import connected
from bridge.exchange import Exchange
from bridge.listeners import Listener, allowed, peer, resolve_groups, resolve_users
from bridge.lockstepsession import LockstepSession
from bridge.log import RateLimited, describe
from bridge.messages import nothing
from bridge.session import Session
from bridge.switchboard import Switchboard

_ACCEPTS = 16
"""Connections taken in a row before everybody else has a turn."""

_FULL = 0.1
"""Seconds before accepting is tried again when no descriptor is left."""


class Server:
    """The clients of some listening sockets.

    Args:
      listeners: closed with the server.

    Attributes:
      alarm: to be kept by the caller, on the exchange's clock.
      over: called once, when everything has been answered after `stop`.
      sessions: the clients that are connected.
      refused: connections that were not let in so far.
    """

    def __init__(self, listeners: list[Listener], exchange: Exchange, board: Switchboard) -> None:
        self.over: Callable[[], None] = nothing
        self.alarm = Alarm(self._ring)
        self.sessions: set[Session | LockstepSession] = set()
        self.accepted = 0
        self.refused = 0
        self._listeners = listeners
        self._exchange = exchange
        self._board = board
        self._stopping = False
        self._abort_at = FOREVER
        self._accept_again_at = FOREVER
        self._log = RateLimited(5, 60.0, exchange.clock)
        self._may_connect(exchange.settings)
        self._listen()

    def reconfigure(self, settings: Settings) -> None:
        """New limits, also for those who are here already."""
        self._may_connect(settings)
        for session in self.sessions:
            session.reconfigure(settings)

    def stop(self) -> None:
        """Nobody new, nothing new; answer what is in flight."""
        self._stopping = True
        for listener in self._listeners:
            self._board.unwatch(listener.fileno())
            listener.withdraw()
        for session in [*self.sessions]:
            session.stop()
        self._abort_at = self._exchange.clock() + self._exchange.settings.shutdown_grace
        self.alarm.set(self._abort_at)
        self._finish_if_done()

    def abort(self) -> None:
        """Answer everybody now."""
        for session in [*self.sessions]:
            session.abort()
            self._leave(session)

    def close(self) -> None:
        """Let go of every client and every listener."""
        for session in [*self.sessions]:
            session.close()
        self.sessions.clear()
        for listener in self._listeners:
            self._board.unwatch(listener.fileno())
            listener.close()

    def _may_connect(self, settings: Settings) -> None:
        restricted = bool(settings.allow_users or settings.allow_groups)
        self._users = resolve_users(settings.allow_users) if restricted else None
        self._groups = resolve_groups(settings.allow_groups) if restricted else None

    def _listen(self) -> None:
        for listener in self._listeners:
            self._board.watch(listener.fileno(), self._accepter(listener))

    def _accepter(self, listener: Listener) -> Callable[[], None]:
        def accept() -> None:
            for _ in range(_ACCEPTS):
                try:
                    connection, _address = listener.socket.accept()
                except BlockingIOError:
                    return
                except OSError as error:  # no descriptor left, or the client is gone again
                    self._pause(error)
                    return
                self._admit(connection)

        return accept

    def _pause(self, error: OSError) -> None:
        """A listener that cannot be accepted from stays readable: look away for a moment."""
        self._warn("client cannot be accepted", reason=describe(error))
        for listener in self._listeners:
            self._board.unwatch(listener.fileno())
        self._accept_again_at = self._exchange.clock() + _FULL
        self.alarm.set(self._accept_again_at)

    def _admit(self, connection: socket.socket) -> None:
        who = peer(connection)
        if not allowed(who, self._users, self._groups):
            self._refuse(connection, "not allowed", uid=who.uid, pid=who.pid)
        elif len(self.sessions) >= self._exchange.settings.max_clients:
            self._refuse(connection, "max_clients are connected", uid=who.uid, pid=who.pid)
        else:
            self.accepted += 1
            self._serve(connection)

    def _refuse(self, connection: socket.socket, reason: str, **who: object) -> None:
        self.refused += 1
        self._warn("client refused", reason=reason, **who)
        connection.close()

    def _serve(self, connection: socket.socket) -> None:
        source, sink = connected(connection)
        session: Session | LockstepSession
        if self._exchange.settings.client == "lockstep":
            session = LockstepSession(source, sink, self._exchange, self._board, gate=None)
            alarm = session.alarm
            alarm.wake = lambda: self.alarm.set(alarm.when)
        else:
            session = Session(source, sink, self._exchange, self._board, negotiates=True)
        self.sessions.add(session)
        session.over = lambda: self._leave(session)

    def _leave(self, session: Session | LockstepSession) -> None:
        if session in self.sessions:
            self.sessions.remove(session)
            session.close()
            self._finish_if_done()

    def _ring(self) -> float:
        now = self._exchange.clock()
        if self._accept_again_at <= now:
            self._accept_again_at = FOREVER
            if not self._stopping:
                self._listen()
        if self._abort_at <= now:
            self._abort_at = FOREVER
            self.abort()
        alarms = [session.alarm for session in self.sessions if isinstance(session, LockstepSession)]
        for alarm in alarms:
            if alarm.when <= now:
                alarm.ring()
        return min([self._accept_again_at, self._abort_at, *(alarm.when for alarm in alarms)])

    def _finish_if_done(self) -> None:
        if self._stopping and not self.sessions:
            over, self.over = self.over, nothing
            over()

    def _warn(self, message: str, **fields: object) -> None:
        self._log.log(logging.WARNING, message, message, **fields)
