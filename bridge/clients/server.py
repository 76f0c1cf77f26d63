"""Many clients on Unix sockets, each with a session of its own, sharing the same pools.

  - A client that is not allowed, or comes when the limit is reached, is disconnected at once; the log says why.
  - No user can keep others out: when the limit is reached, a newcomer gets the place of a client of the user who holds
    most, an idle one if possible, provided that user still holds at least as many as the newcomer's then.
  - Clients never take the descriptors that programs need: there may be fewer of them than `max_clients`.
  - When a client is gone, its waiting queries are withdrawn; programs finish theirs, and the verdicts are ignored.
  - Stopping: accept no new clients (systemd keeps them waiting for the next daemon), answer the lines in flight for at
    most `shutdown_grace`, then answer `0` to the rest.

To the service, all of them together are one client.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
from collections import Counter
from collections.abc import Callable

from bridge.clients.acceptor import Acceptor
from bridge.clients.budget import Budget
from bridge.clients.listeners import Listener, Peer, allowed, peer, resolve_groups, resolve_users
from bridge.clients.reception import Reception, Session
from bridge.config.settings import Settings
from bridge.log.events import event, log
from bridge.log.ratelimit import RateLimited
from bridge.loop.reactor import Reactor
from bridge.loop.streams import connected
from bridge.loop.timer import FOREVER
from bridge.pool.descriptors import needed
from bridge.pool.router import Router
from bridge.protocol.query import nothing

_FOR_CLIENT = 2
"""Descriptors."""

_AT_START = ("listen", "status_listen", "socket_mode")
"""Keys that a reload does not apply, as the sockets exist already."""


class Server:
    """The clients of some listening sockets.

    Args:
      listeners: closed with the server.
      over: called once, when everything has been answered after `stop`.

    Attributes:
      acceptor: accepts the clients; other listeners may be opened in it too.
      sessions: the connected clients, and who they are.
      accepted: number of clients so far.
      refused: number of refused connections so far.
    """

    def __init__(self, listeners: list[Listener], router: Router, reactor: Reactor, over: Callable[[], None]) -> None:
        self._over = over
        self.sessions: dict[Reception | Session, Peer] = {}
        self.accepted = 0
        self.refused = 0
        self._places: Counter[int] = Counter()  # clients of each user, by uid
        self._listeners = listeners
        self._router = router
        self._reactor = reactor
        self._budget = Budget()
        self._stopping = False
        self._grace = reactor.call_at(FOREVER, self.abort)
        self._log = RateLimited(5, 60.0, router.clock)
        self._limit(router.settings)
        self.acceptor = Acceptor(reactor, self._warn)
        for listener in listeners:
            self.acceptor.open(listener, self._admit)

    def reconfigure(self, settings: Settings) -> None:
        """Apply new limits, also to connected clients: one no longer allowed is answered and disconnected.

        Raises:
          ListenError: a user or group is unknown; nothing has changed.
        """
        self._limit(settings)
        for session, who in [*self.sessions.items()]:
            if allowed(who, self._users, self._groups):
                session.reconfigure(settings)
            else:
                self._warn("client disconnected", reason="not allowed any more", uid=who.uid, pid=who.pid)
                self._disconnect(session)
        changed = [name for name in _AT_START if getattr(settings, name) != getattr(self._router.settings, name)]
        if changed:
            log.warning(event("a restart is needed for these to take effect", keys=" ".join(changed)))

    def stop(self) -> None:
        """Accept no more clients, ask no more lines, and answer those in flight."""
        self._stopping = True
        for listener in self._listeners:
            self.acceptor.shut(listener)
            listener.withdraw()
        for session in [*self.sessions]:
            try:
                session.stop()
            except Exception as error:
                session.failed(error)
        self._grace.set(self._router.clock() + self._router.settings.shutdown_grace)
        self._finish_if_done()

    def abort(self) -> None:
        """Answer and disconnect all clients now."""
        for session in [*self.sessions]:
            self._disconnect(session)

    def close(self) -> None:
        """Close all connections and listeners."""
        for session in [*self.sessions]:
            session.close()
        self.sessions.clear()
        for listener in self._listeners:
            self.acceptor.shut(listener)
            listener.close()

    def _limit(self, settings: Settings) -> None:
        self._users, self._groups = permitted(settings)
        self._most = min(settings.max_clients, _client_limit(settings))
        if self._most < settings.max_clients:
            what = "fewer clients than max_clients: the limit of descriptors (LimitNOFILE=, ulimit -n) is too low"
            log.warning(event(what, clients=self._most, max_clients=settings.max_clients))

    def _admit(self, connection: socket.socket) -> None:
        """Serve `connection`, or refuse it.

        Raises:
          OSError: no descriptor is left; the caller keeps the connection.
        """
        who = peer(connection)
        if not allowed(who, self._users, self._groups):
            self._refuse(connection, "not allowed", uid=who.uid, pid=who.pid)
        elif len(self.sessions) >= self._most and not self._free_place(who):
            self._refuse(connection, "max_clients are connected", uid=who.uid, pid=who.pid)
        else:
            self._serve(connection, who)

    def _free_place(self, newcomer: Peer) -> bool:
        """Disconnect a client of the user who holds most places, unless the newcomer's user would then hold more.

        Of the idle ones, it is the one that connected, or sent its first line, the longest time ago.  Which has been
        idle for longest is not known: recording that would cost time for every line.
        """
        most = max(self._places, key=self._places.__getitem__)
        if self._places[most] <= self._places[newcomer.uid] + 1:
            return False
        theirs = [session for session, who in self.sessions.items() if who.uid == most]
        evicted = next((session for session in theirs if session.idle), theirs[0])
        who = self.sessions[evicted]
        reason = "max_clients are connected, most of them this user's, and another client needs a place"
        others = {"for_uid": newcomer.uid, "for_pid": newcomer.pid}
        self._warn("client disconnected", reason=reason, uid=who.uid, pid=who.pid, **others)
        self._disconnect(evicted)
        return True

    def _disconnect(self, session: Reception | Session) -> None:
        """Answer everything it has asked, and close its connection."""
        try:
            session.abort()
        except Exception as error:
            session.failed(error)
        self._remove(session)

    def _refuse(self, connection: socket.socket, reason: str, **who: object) -> None:
        self.refused += 1
        self._warn("client refused", reason=reason, **who)
        connection.close()

    def _serve(self, connection: socket.socket, who: Peer) -> None:
        source, sink = connected(connection)
        client: Reception | Session

        def over() -> None:
            self._remove(client)

        def served(session: Session) -> None:
            nonlocal client
            self.sessions[session] = self.sessions.pop(client)
            client = session

        with contextlib.ExitStack() as undo:
            for stream in (source, sink):
                undo.callback(stream.close)
            client = Reception(source, sink, self._router, self._reactor, over, served, self._budget)
            undo.pop_all()
        self.accepted += 1
        self._places[who.uid] += 1
        self.sessions[client] = who

    def _remove(self, session: Reception | Session) -> None:
        if session in self.sessions:
            uid = self.sessions.pop(session).uid
            self._places[uid] -= 1
            if not self._places[uid]:
                del self._places[uid]
            session.close()
            self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._stopping and not self.sessions:
            over, self._over = self._over, nothing
            over()

    def _warn(self, message: str, **fields: object) -> None:
        self._log.log(logging.WARNING, message, message, **fields)


def permitted(settings: Settings) -> tuple[frozenset[int] | None, frozenset[int] | None]:
    """The users and groups that may connect; `None` for both: everybody.

    Raises:
      ListenError: one of them is unknown.
    """
    if not (settings.allow_users or settings.allow_groups):
        return None, None
    return resolve_users(settings.allow_users), resolve_groups(settings.allow_groups)


def _client_limit(settings: Settings) -> int:
    """The number of clients there are descriptors for, besides the programs; at least one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return settings.max_clients
    return max(1, (limit - needed(settings)) // _FOR_CLIENT)
