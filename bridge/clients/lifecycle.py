"""The states of a session of any kind, and what each event leads to.

           END      STOP     HANG_UP  DONE     FAIL     CLOSE
  OPEN     ENDED    STOPPED  MUTE     -        OVER     CLOSED
  ENDED    -        STOPPED  MUTE     OVER     OVER     CLOSED
  STOPPED  -        STOPPED  MUTE     OVER     OVER     CLOSED
  MUTE     -        MUTE     -        OVER     OVER     CLOSED
  OVER     -        -        -        -        -        CLOSED
  CLOSED   -        -        -        -        -        -

An event marked with a dash is ignored.  The session's owner is told that it is over when it enters `OVER`, and only
then.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """What a session still does."""

    OPEN = "reads, asks and answers"
    ENDED = "reads no more; asks and answers what was read"
    STOPPED = "asks no more; answers what was asked"
    MUTE = "neither asks nor answers; waits for outstanding verdicts"
    OVER = "nothing: its streams are no longer watched, and wait to be closed"
    CLOSED = "nothing: its streams are closed, or belong to another session"


class Event(enum.Enum):
    """What may happen to a session."""

    END = "end of input"
    STOP = "its owner wants it to end"
    HANG_UP = "nobody reads its answers any more"
    DONE = "there is nothing left to do"
    FAIL = "an error of ours"
    CLOSE = "its streams are closed, or were handed over"


_ALWAYS = {Event.FAIL: State.OVER, Event.CLOSE: State.CLOSED}

NEXT: dict[State, dict[Event, State]] = {
    State.OPEN: {Event.END: State.ENDED, Event.STOP: State.STOPPED, Event.HANG_UP: State.MUTE, **_ALWAYS},
    State.ENDED: {Event.STOP: State.STOPPED, Event.HANG_UP: State.MUTE, Event.DONE: State.OVER, **_ALWAYS},
    State.STOPPED: {Event.STOP: State.STOPPED, Event.HANG_UP: State.MUTE, Event.DONE: State.OVER, **_ALWAYS},
    State.MUTE: {Event.STOP: State.MUTE, Event.DONE: State.OVER, **_ALWAYS},
    State.OVER: {Event.CLOSE: State.CLOSED},
    State.CLOSED: {},
}
"""The table above."""


class Lifecycle:
    """The state of a session; base class of all kinds."""

    _state = State.OPEN

    def _enter(self, event: Event) -> bool:
        """Change the state for `event`; false if it is ignored in this state."""
        following = NEXT[self._state].get(event)
        if following is not None:
            self._state = following
        return following is not None
