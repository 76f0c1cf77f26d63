"""`extauth-bridge serve`: the shared daemon, one pool for all clients on Unix sockets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from bridge.clients.listeners import Listener, ListenError, listen
from bridge.clients.server import Server, permitted
from bridge.clients.status import StatusPage
from bridge.commands.arguments import Arguments
from bridge.commands.cli import Parser
from bridge.config.settings import Settings
from bridge.daemon import signals
from bridge.daemon.activation import handed_over
from bridge.daemon.process import running
from bridge.daemon.systemd import Notifier, forget
from bridge.log.events import event, log
from bridge.log.setup import configure
from bridge.terminal.takeover import ProgramTerminal


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Serve until told to stop.

    Raises:
      UsageError, ConfigError: nothing was started.
    """
    signals.block()
    del taken  # a daemon has no client on its terminal
    parser = Parser(
        "serve",
        "[FILE] [options] [-- PROGRAM ARG...]",
        "Serve clients on Unix sockets: those systemd passes, or `listen`.",
    )
    arguments = Arguments(parser, argv)
    load = arguments.reader()

    def read() -> Settings:
        settings = load()
        permitted(settings)  # an unknown user is to be noticed before anything is started
        return settings

    settings = read()
    configure(settings.log, client_terminal=False)
    with contextlib.ExitStack() as undo:
        _serve(settings, read, undo, arguments.path)
    return 0


def _serve(settings: Settings, read: Callable[[], Settings], undo: contextlib.ExitStack, file: str | None) -> None:
    clients, status = _listeners(settings, undo)
    notifier = Notifier.from_environment(os.environ)
    forget(os.environ)
    process = undo.enter_context(running(settings, False, [listener.withdraw for listener in (*clients, *status)]))
    poolset = process.poolset
    from bridge.daemon.service import Service  # late: it brings trio, and the programs start meanwhile

    service = Service(process, read, notifier=notifier)
    paths = " ".join(listener.path for listener in clients)

    def connect(over: Callable[[], None]) -> Server:
        server = Server(clients, poolset.router, poolset.reactor, over)
        undo.callback(server.close)
        undo.callback(StatusPage(status, poolset, server, service.reloader, file).close)
        log.info(event("serving", sockets=paths, pools=len(poolset.pools)))
        return server

    service.run(connect)


def _listeners(settings: Settings, undo: contextlib.ExitStack) -> tuple[list[Listener], list[Listener]]:
    """The sockets for clients and for the status, from systemd or else from the settings.

    Args:
      undo: closes the sockets made here, and removes their files.

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
            raise ListenError("no socket: set listen, or have systemd pass one")
        clients = [listen(settings.listen, settings.socket_mode)]
        undo.callback(clients[0].close)
    if not status and settings.status_listen is not None:
        status = [listen(settings.status_listen, settings.socket_mode)]
        undo.callback(status[0].close)
    return clients, status
