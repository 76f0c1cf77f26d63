"""The single client on standard input and output, of `run` and of a relay.

On a program's terminal, everything goes through the one descriptor of it that was kept, and answers pass a gate.
Sessions and gate are imported only when needed: a relay needs only one kind, and must start quickly.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from bridge.loop.streams import Borrowed, borrow, is_one_stream, owned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.clients.lockstep import LockstepSession
    from bridge.clients.pipelined import PipelinedSession
    from bridge.loop.reactor import Reactor
    from bridge.protocol.query import Answerer
    from bridge.terminal.takeover import ProgramTerminal


def stderr_is_the_clients(taken: ProgramTerminal | None) -> bool:
    """Whether the client would read stderr output among its answers."""
    return is_one_stream(1, 2) if taken is None else 2 in taken.held


def pipelined(
    taken: ProgramTerminal | None, answerer: Answerer, reactor: Reactor, over: Callable[[], None]
) -> PipelinedSession:
    """A session for a client with many lines in flight."""
    from bridge.clients.pipelined import PipelinedSession

    return PipelinedSession(*_streams(taken), answerer, reactor, over)


def lockstep(
    taken: ProgramTerminal | None,
    answerer: Answerer,
    reactor: Reactor,
    over: Callable[[], None],
    inform: Callable[..., None],
) -> LockstepSession:
    """A session for a client with one question at a time.

    Args:
      inform: logs an event; its fields are functions, called when it is written.
    """
    from bridge.clients.lockstep import LockstepSession

    gate = None
    if taken is not None:
        from bridge.terminal.gate import Gate
        from bridge.terminal.watcher import Watcher

        watcher = Watcher(taken.descriptor)
        gate = Gate(watcher)
        inform("client on a terminal", rule=gate.describe, client=watcher.describe)
    return LockstepSession(*_streams(taken), answerer, reactor, over, gate)


def _streams(taken: ProgramTerminal | None) -> tuple[Borrowed, Borrowed]:
    if taken is None:
        return borrow(0, os.O_RDONLY), borrow(1, os.O_WRONLY)
    source = owned(taken.descriptor, taken.may_block)
    return source, owned(os.dup(taken.descriptor), taken.may_block) if 1 in taken.held else borrow(1, os.O_WRONLY)
