"""Whether a new pool's programs will serve, told before any query is sent there.

No I/O; the caller supplies the clock.
"""

from __future__ import annotations

from bridge.pool.startuptime import UNASKED
from bridge.worker.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.pool.pool import Pool

_ACCIDENTS = 2
"""Failures beyond one for each program of a pool after which none is waited for any more: programs that live for a
while before they fail would never all be down."""


def outlook(pool: Pool, now: float, patience: float = UNASKED) -> bool | None:
    """Whether `pool`, which nobody asks yet, will serve.

    Args:
      patience: seconds after which a program that nobody asks counts as started.

    Returns:
      True if a program has given a valid reply or, without a probe, has been alive for long enough; False if they
      fail, for the reason in `pool.last_failure`; `None` if it cannot be told yet.
    """
    alive = [record for worker, record in pool.workers.items() if worker.state is State.ASKABLE]
    if any(record.proof.is_set or (not pool.program.probe and record.born <= now - patience) for record in alive):
        return True
    failures = pool.figures.failures
    if failures and (not alive or failures >= pool.program.pool_size + _ACCIDENTS):
        return False
    return None
