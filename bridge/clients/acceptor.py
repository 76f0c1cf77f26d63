"""Accepts connections, a few at a time, and pauses while there is no descriptor or memory for one.

- However many connect at once, other events are handled in between.
- During a pause, new connections wait in the listener's queue.  A listener with a queue stays readable: trying again
  at once would take all CPU time.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable

from bridge.clients.listeners import Listener
from bridge.log.events import describe
from bridge.loop.reactor import Reactor
from bridge.loop.timer import FOREVER

_AT_ONCE = 16
"""Connections accepted in a row before other events are handled."""

_PAUSE = 0.1
"""Seconds before accepting is tried again if no descriptor was left."""


class Acceptor:
    """Accepts connections on the listeners of one daemon; whoever opens one here closes it.

    Args:
      warn: logs an event, rate-limited.
    """

    def __init__(self, reactor: Reactor, warn: Callable[..., None]) -> None:
        self._reactor = reactor
        self._warn = warn
        self._accepters: dict[Listener, Callable[[], None]] = {}
        self._pause = reactor.call_at(FOREVER, self._look_again)

    def open(self, listener: Listener, welcome: Callable[[socket.socket], None], at_once: int = _AT_ONCE) -> None:
        """Pass every connection from now on to `welcome`, which takes it over unless it raises OSError."""
        self._accepters[listener] = functools.partial(self._accept, listener, welcome, at_once)
        if self._pause.when == FOREVER:
            self._reactor.watch(listener.fileno(), self._accepters[listener])

    def shut(self, listener: Listener) -> None:
        """Stop accepting on `listener`; it may be shut already."""
        if self._accepters.pop(listener, None) is not None:
            self._reactor.unwatch(listener.fileno())

    def _look_again(self) -> None:
        try:
            for listener, accept in self._accepters.items():
                self._reactor.watch(listener.fileno(), accept)
        except (OSError, MemoryError) as error:
            self._look_away(error)

    def _accept(self, listener: Listener, welcome: Callable[[socket.socket], None], at_once: int) -> None:
        for _ in range(at_once):
            try:
                connection, _address = listener.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no descriptor left
                self._look_away(error)
                return
            try:
                welcome(connection)
            except (OSError, MemoryError) as error:  # a session needs more than the connection's descriptor
                connection.close()
                self._look_away(error)
                return

    def _look_away(self, error: OSError | MemoryError) -> None:
        for listener in self._accepters:
            self._reactor.unwatch(listener.fileno())
        self._pause.set(self._reactor.clock() + _PAUSE)
        self._warn("client cannot be accepted", reason=describe(error))
