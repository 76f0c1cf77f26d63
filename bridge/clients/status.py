"""The status socket: each connection gets one line of JSON about what the daemon is doing, and is closed.

A reader that does not read holds nothing up: a limited number of pages wait for their readers.
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
"""Pages that may wait for slow readers; one more, and the oldest is dropped.  With up to some 500 pools, a page fits
into the socket's buffer and does not wait at all."""


class StatusPage:
    """Serves the status on the listeners of one daemon.

    Args:
      listeners: closed with the page.
    """

    def __init__(self, listeners: list[Listener], poolset: PoolSet, server: Server) -> None:
        self._listeners = listeners
        self._poolset = poolset
        self._server = server
        self._unsent: dict[socket.socket, bytes] = {}  # the longest waiting first
        for listener in listeners:
            # One at a time: a page about many pools takes a moment, and clients are more urgent.
            server.acceptor.open(listener, self._respond, at_once=1)

    def close(self) -> None:
        """Close the listeners, and the connections of slow readers."""
        for connection in [*self._unsent]:
            self._disconnect(connection)
        for listener in self._listeners:
            self._server.acceptor.shut(listener)
            listener.close()

    def _respond(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._unsent[connection] = (json.dumps(self._figures()) + "\n").encode()
        self._send(connection)
        if connection in self._unsent:
            self._poolset.reactor.watch(connection.fileno(), functools.partial(self._send, connection), WRITABLE)
        if len(self._unsent) > _WAITING:
            self._disconnect(next(iter(self._unsent)))

    def _send(self, connection: socket.socket) -> None:
        """Send as much as there is room for."""
        page = self._unsent[connection]
        try:
            page = page[connection.send(page) :]
        except BlockingIOError:
            pass
        except (OSError, MemoryError):  # the reader is gone, or there is no memory for it
            page = b""
        self._unsent[connection] = page
        if not page:
            self._disconnect(connection)

    def _disconnect(self, connection: socket.socket) -> None:
        del self._unsent[connection]
        self._poolset.reactor.unwatch(connection.fileno())
        connection.close()

    def _figures(self) -> dict[str, object]:
        pools = {
            pool.name: {"programs": pool.program.pool_size, "usable": pool.staff.usable, "in_flight": pool.in_flight}
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
