"""Starts a program for a pool, as a worker of it."""

from __future__ import annotations

from bridge.worker.spawn import start
from bridge.worker.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.pool.pool import Pool


def launch(pool: Pool) -> Worker:
    """Start `pool`'s program.

    Raises:
      OSError, ValueError, MemoryError: it cannot be started; nothing is left of it.
    """
    process = start(pool.program.argv, pool.program.cwd, pool.program.env)
    try:
        return Worker(process, pool.reactor, pool, pool.settings.max_line, pool.clock)
    except BaseException:
        process.discard()
        raise
