"""The daemon with its longest times divided by `HASTE`, so that what takes it hours happens in minutes.

    python tests/soak/hurried.py serve FILE

These are times that no setting changes. Nothing else is different; `run.py --unhurried` does without.
"""

import importlib
import sys

HASTE = 20

TIMES = {
    "bridge.pool.suspects": ("_FIRST_PAUSE", "_LONGEST_PAUSE", "_PROBATION"),
    "bridge.pool.supervisor": ("_IDLE", "_TENDING", "_RENEWAL_RETRY", "_UNDECIDED"),
    "bridge.pool.figures": ("_SLOT", "_KEPT"),
    "bridge.pool.poollog": ("_AGAIN",),
    "bridge.pool.rounds": ("_FORGET",),
}
RATES = {"bridge.pool.supervisor": ("_RENEWALS_A_SECOND",)}


def hurry() -> None:
    """Raises AttributeError if there is no such time any more."""
    for table, factor in (TIMES, 1 / HASTE), (RATES, HASTE):
        for module, names in table.items():
            found = importlib.import_module(module)
            for name in names:
                setattr(found, name, getattr(found, name) * factor)


if __name__ == "__main__":
    from bridge.entry import main

    hurry()
    sys.exit(main())
