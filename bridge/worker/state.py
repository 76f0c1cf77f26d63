"""What becomes of a program, as far as the bridge asks it and listens to it.

  - A program is asked only while it is `READY`, and nothing leads back there.
  - Orders to leave come in any number, from anybody, and after its end as well: what may not follow changes nothing.
  - `GONE` is final: its number may be another process's by now, and is not to be sent a signal.

No I/O.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Of a worker."""

    READY = "ready"  # may be asked: now, or after the query it has
    RETIRED = "retired"  # never asked again: told to leave, killed, or ended by itself
    MUTED = "muted"  # retired, and not even heard at its end: an error of ours came of what it said
    GONE = "gone"  # its process has been reaped


FOLLOWERS = {
    State.READY: {State.RETIRED},
    State.RETIRED: {State.MUTED, State.GONE},
    State.MUTED: {State.GONE},
    State.GONE: set[State](),
}
"""What may follow each of them."""


def after(state: State, wanted: State) -> State:
    """`wanted`, if it may follow `state`; otherwise `state` stays."""
    return wanted if wanted in FOLLOWERS[state] else state
