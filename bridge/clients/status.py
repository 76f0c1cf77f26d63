"""The status socket: each connection gets one line of JSON, the `page`, and is closed.

- A reader that does not read holds nothing up: a limited number of pages wait for their readers.
- A client whose own socket is bound to a name that begins with `RELOAD` gets no page: it requests a reload.  The name
  is known as soon as it connects, so nobody else has to say, or wait for, anything.  It gets one line of JSON at once
  and another when the reload is decided, `{"reload": "asked"}` and `{"reload": "in force"}`, say.
- Only root and the daemon's own user may request that: those who could send it SIGHUP.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
from collections.abc import Callable
from typing import Protocol

from bridge.clients.listeners import Listener, peer
from bridge.clients.page import Reloads, page
from bridge.clients.server import Server
from bridge.loop.reactor import WRITABLE
from bridge.pool.poolset import PoolSet

RELOAD = b"\0extauth-bridge reload "
"""In the abstract namespace, where names need no file; what follows makes them different."""

ASKED, IN_FORCE, REFUSED, NOT_ALLOWED = "asked", "in force", "refused", "not allowed"

_WAITING = 4
"""Pages that may wait for slow readers; one more, and the oldest is dropped.  With up to some hundred pools, a page
fits into the socket's buffer and does not wait at all; with thousands it has megabytes."""

_ASKING = 8
"""Those who may wait for the outcome of a reload."""

_UNKNOWN_USER = 65534
"""What a user is called who is unknown in our user namespace: not ours, even if we are called the same."""


class Reloader(Reloads, Protocol):
    """What a status socket needs of a reloader."""

    def request(self, told: Callable[[str], None]) -> None: ...


class StatusPage:
    """Serves the status on the listeners of one daemon.

    Args:
      listeners: closed with the page.
      file: the path of the configuration.
    """

    def __init__(
        self, listeners: list[Listener], poolset: PoolSet, server: Server, reloads: Reloader, file: str | None = None
    ) -> None:
        self._listeners = listeners
        self._poolset = poolset
        self._server = server
        self._reloads = reloads
        self._file = file
        self._unsent: dict[socket.socket, bytes] = {}  # the longest waiting first
        self._asking: dict[socket.socket, None] = {}  # for a reload, the same way
        for listener in listeners:
            # One at a time: a page about many pools takes a moment, and clients are more urgent.
            server.acceptor.open(listener, self._respond, at_once=1)

    def close(self) -> None:
        """Close the listeners, and the connections of slow readers and of those who wait for a reload."""
        for connection in [*self._unsent]:
            self._disconnect(connection)
        for connection in [*self._asking]:
            self._hang_up(connection)
        for listener in self._listeners:
            self._server.acceptor.shut(listener)
            listener.close()

    def _respond(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        name = connection.getpeername()
        if isinstance(name, bytes) and name.startswith(RELOAD):
            self._reload(connection)
            return
        told = page(self._poolset, self._server, self._reloads, self._file)
        self._unsent[connection] = (json.dumps(told, separators=(",", ":")) + "\n").encode()
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

    def _reload(self, connection: socket.socket) -> None:
        who = peer(connection)
        self._asking[connection] = None
        if who.uid not in {0, os.geteuid()} - {_UNKNOWN_USER}:
            self._poolset.router.warn("reload refused", reason=NOT_ALLOWED, uid=who.uid, pid=who.pid)
            self._say(connection, NOT_ALLOWED)
            self._hang_up(connection)
            return
        self._say(connection, ASKED)
        if len(self._asking) > _ASKING:
            self._hang_up(next(iter(self._asking)))
        self._reloads.request(functools.partial(self._decided, connection))

    def _decided(self, connection: socket.socket, reason: str) -> None:
        if connection in self._asking:
            self._say(connection, REFUSED if reason else IN_FORCE, reason)
            self._hang_up(connection)

    def _say(self, connection: socket.socket, outcome: str, reason: str = "") -> None:
        line = {"reload": outcome} | ({"reason": reason} if reason else {})
        with contextlib.suppress(OSError):  # it is gone: nothing else can be, as the socket has room for two lines
            connection.send((json.dumps(line) + "\n").encode())

    def _hang_up(self, connection: socket.socket) -> None:
        del self._asking[connection]
        connection.close()
