"""The status socket: whoever connects is told what the daemon is doing, as one line of JSON, and is let go."""

from __future__ import annotations

import contextlib
import functools
import json
import socket

from bridge.listeners import Listener
from bridge.plant import Plant
from bridge.server import Server

_SENT = 65536
"""Bytes that fit into a fresh Unix socket without waiting, and far more than the figures need."""


class StatusPage:
    """Answers on the listeners of one daemon, which are closed with it."""

    def __init__(self, listeners: list[Listener], plant: Plant, server: Server) -> None:
        self._listeners = listeners
        self._plant = plant
        self._server = server
        for listener in listeners:
            plant.board.watch(listener.fileno(), functools.partial(self._tell, listener.socket))

    def close(self) -> None:
        """Let go of the listeners."""
        for listener in self._listeners:
            self._plant.board.unwatch(listener.fileno())
            listener.close()

    def _tell(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # nobody there any more, or no descriptor left: they may ask again
            connection, _ = listening.accept()
            with connection:
                connection.setblocking(False)
                connection.send((json.dumps(self._figures()) + "\n").encode()[:_SENT])

    def _figures(self) -> dict[str, object]:
        pools = {
            pool.name: {"programs": len(pool.slots), "usable": pool.usable, "in_flight": pool.in_flight}
            | vars(pool.figures)
            for pool in self._plant.pools.values()
        }
        refused = {refusal.name.lower(): count for refusal, count in self._plant.exchange.refused.items()}
        clients = {
            "connected": len(self._server.sessions),
            "accepted": self._server.accepted,
            "refused": self._server.refused,
        }
        return {"pools": pools, "clients": clients, "lines_refused": refused}
