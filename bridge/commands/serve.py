"""`extauth-bridge serve`: the shared daemon, one pool for all clients on Unix sockets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from bridge.clients.listeners import Listener, ListenError, listen
from bridge.clients.server import Server
from bridge.clients.status import StatusPage
from bridge.commands.arguments import Arguments
from bridge.commands.cli import Parser, UsageError
from bridge.config.settings import Settings
from bridge.daemon import signals
from bridge.daemon.process import running
from bridge.daemon.systemd import Notifier, forget, handed_over
from bridge.log.events import event, log
from bridge.log.setup import configure
from bridge.terminal.takeover import ProgramTerminal


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Serve until told to stop.

    Raises:
      UsageError, ConfigError: nothing was started.
    """
    signals.hold()
    del taken  # nobody starts a daemon on a terminal to talk to it there
    parser = Parser(
        "serve",
        "[FILE] [options] [-- PROGRAM ARG...]",
        "Serve clients on Unix sockets: those systemd hands over, or `listen`.",
    )
    read = Arguments(parser, argv).reader()
    settings = read()
    configure(settings.log, client_terminal=False)
    try:
        with contextlib.ExitStack() as undo:
            _serve(settings, read, undo)
    except ListenError as error:
        raise UsageError(str(error)) from None
    return 0


def _serve(settings: Settings, read: Callable[[], Settings], undo: contextlib.ExitStack) -> None:
    clients, status = _listeners(settings, undo)
    notifier = Notifier.from_environment(os.environ)
    forget(os.environ)
    process = undo.enter_context(running(settings, False, [listener.withdraw for listener in (*clients, *status)]))
    poolset = process.poolset
    paths = " ".join(listener.path for listener in clients)

    def connect(over: Callable[[], None]) -> Server:
        server = Server(clients, poolset.router, poolset.reactor, over)
        undo.callback(server.close)
        undo.callback(StatusPage(status, poolset, server).close)
        log.info(event("serving", sockets=paths, pools=len(poolset.pools)))
        return server

    from bridge.daemon.service import Service  # brings trio: the programs start in the meantime

    Service(process, read, notifier=notifier).run(connect)


def _listeners(settings: Settings, undo: contextlib.ExitStack) -> tuple[list[Listener], list[Listener]]:
    """What systemd handed over, else what the settings name: sockets for clients, and for the status.

    Args:
      undo: closes what was made, files included.

    Raises:
      ListenError: a socket cannot be used, or there is none.
    """
    handed = handed_over(os.environ, os.getpid())
    if handed.reason:
        log.warning(event("not activated by systemd", reason=handed.reason))
    clients = [Listener.inherited(sock) for name, sock in handed.sockets if name == "auth"]
    status = [Listener.inherited(sock) for name, sock in handed.sockets if name == "status"]
    if not clients:
        if settings.listen is None:
            raise ListenError("no socket: set listen, or let systemd hand one over")
        clients = [listen(settings.listen, settings.socket_mode)]
        undo.callback(clients[0].close)
    if not status and settings.status_listen is not None:
        status = [listen(settings.status_listen, settings.socket_mode)]
        undo.callback(status[0].close)
    return clients, status
