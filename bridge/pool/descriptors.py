"""How many descriptors a bridge needs, and what is said if it may not have as many."""

from __future__ import annotations

import os

from bridge.config.settings import Settings
from bridge.log.events import event, log

_FOR_PROGRAM = 4
"""Three pipes and the process itself."""

_FOR_ALL_ELSE = 64
"""Standard ones, sockets, log, epoll, trio, and the reserve that starting a program requires."""


def needed(settings: Settings) -> int:
    """For everything but clients: all programs that may run, and successors of those that should, as at a reload."""
    own = [settings.program] if settings.program is not None else []
    programs = sum(program.pool_max + program.pool_size for program in (*own, *settings.hosts.values()))
    return _FOR_ALL_ELSE + _FOR_PROGRAM * programs


def check(settings: Settings) -> None:
    """Log it if some programs may find no descriptors; all others serve."""
    limit, number = os.sysconf("SC_OPEN_MAX"), needed(settings)
    if 0 <= limit < number:
        what = "too few descriptors for pool_size: raise the limit (LimitNOFILE=, ulimit -n)"
        log.warning(event(what, limit=limit, needed=number))
