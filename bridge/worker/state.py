"""The states of a worker, and why one fails.

  - A program is asked only while it is `ASKABLE`, and no other state leads back there.
  - It may be retired any number of times, by anybody, even after its end: a transition that is not allowed is ignored.
  - `GONE` is final: its pid may be another process's by now, and must not be sent a signal.

No I/O.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Of a worker."""

    ASKABLE = "askable"  # may be asked: now, or after the query it has
    RETIRED = "retired"  # never asked again: told to exit, killed, or ended by itself
    MUTED = "muted"  # retired, and its last output is not read either: handling its output raised an error of ours
    GONE = "gone"  # its process has been reaped


class Fault(enum.Enum):
    """Why a program was ended, or had ended by itself, although it was to serve."""

    ENDED = "ended"
    OUTPUT = "output"  # it wrote something that is no reply, or one that nobody had asked for
    INPUT = "input"  # it does not read its stdin
    START = "start"  # no first reply in time
    TIME = "time"  # no reply in time
    STDERR = "stderr"  # a flood
    INTERNAL = "internal"  # an error of ours


FOLLOWERS = {
    State.ASKABLE: {State.RETIRED},
    State.RETIRED: {State.MUTED, State.GONE},
    State.MUTED: {State.GONE},
    State.GONE: set[State](),
}
"""The states that may follow each of them."""


def after(state: State, wanted: State) -> State:
    """`wanted` if it may follow `state`, otherwise `state`."""
    return wanted if wanted in FOLLOWERS[state] else state
