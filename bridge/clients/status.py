"""The status socket: whoever connects is told what the daemon is doing, as one line of JSON, and is let go.

Who does not read holds nothing up: a page waits for its reader, but only so many of them.
"""

from __future__ import annotations

import functools
import json
import socket

from bridge.clients.listeners import Listener
from bridge.clients.server import Server
from bridge.loop.reactor import WRITABLE
from bridge.pool.poolset import PoolSet

_WAITING = 8
"""Pages that may wait for a slow reader, the oldest is dropped for one more.  Up to some 500 pools a page fits into
the socket whole and does not wait at all."""


class StatusPage:
    """Answers on the listeners of one daemon, which are closed with it."""

    def __init__(self, listeners: list[Listener], poolset: PoolSet, server: Server) -> None:
        self._listeners = listeners
        self._poolset = poolset
        self._server = server
        self._unsent: dict[socket.socket, bytes] = {}  # the longest waiting first
        for listener in listeners:
            # One in a row: a page of many pools takes a moment, and clients are more urgent.
            server.acceptor.open(listener, self._tell, at_once=1)

    def close(self) -> None:
        """Let go of the listeners, and of whoever still reads."""
        for connection in [*self._unsent]:
            self._let_go(connection)
        for listener in self._listeners:
            self._server.acceptor.shut(listener)
            listener.close()

    def _tell(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._unsent[connection] = (json.dumps(self._figures()) + "\n").encode()
        self._send(connection)
        if connection in self._unsent:
            self._poolset.reactor.watch(connection.fileno(), functools.partial(self._send, connection), WRITABLE)
        if len(self._unsent) > _WAITING:
            self._let_go(next(iter(self._unsent)))

    def _send(self, connection: socket.socket) -> None:
        """Send what there is room for."""
        page = self._unsent[connection]
        try:
            page = page[connection.send(page) :]
        except BlockingIOError:
            pass
        except (OSError, MemoryError):  # nobody there any more, or no room for him
            page = b""
        self._unsent[connection] = page
        if not page:
            self._let_go(connection)

    def _let_go(self, connection: socket.socket) -> None:
        del self._unsent[connection]
        self._poolset.reactor.unwatch(connection.fileno())
        connection.close()

    def _figures(self) -> dict[str, object]:
        pools = {
            pool.name: {"programs": len(pool.slots), "usable": pool.usable, "in_flight": pool.in_flight}
            | vars(pool.figures)
            for pool in self._poolset.pools.values()
        }
        refused = {refusal.name.lower(): count for refusal, count in self._poolset.router.refused.items()}
        clients = {
            "connected": len(self._server.sessions),
            "accepted": self._server.accepted,
            "refused": self._server.refused,
        }
        return {"pools": pools, "clients": clients, "lines_refused": refused}
