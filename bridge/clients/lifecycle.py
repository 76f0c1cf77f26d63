"""What becomes of a session, whichever kind it is: its states, and what follows in each of them.

           END      STOP     HANG_UP  DONE     FAIL     CLOSE
  OPEN     ENDED    STOPPED  MUTE     -        OVER     CLOSED
  ENDED    -        STOPPED  MUTE     OVER     OVER     CLOSED
  STOPPED  -        STOPPED  MUTE     OVER     OVER     CLOSED
  MUTE     -        MUTE     -        OVER     OVER     CLOSED
  OVER     -        -        -        -        -        CLOSED
  CLOSED   -        -        -        -        -        -

An event at a dash is ignored.  On the way to `OVER`, and only there, whoever made the session is told that it is over.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """What a session still does."""

    OPEN = "reads, asks and answers"
    ENDED = "reads nothing more; asks and answers what was read"
    STOPPED = "asks nothing more; answers what was asked"
    MUTE = "neither asks nor answers; waits for the verdicts that are to come"
    OVER = "nothing: its streams are not watched any more, and wait to be closed"
    CLOSED = "nothing: its streams are closed, or another session's"


class Event(enum.Enum):
    """What may come."""

    END = "there is no more input"
    STOP = "whoever made it wants it to end"
    HANG_UP = "nobody is there to read an answer"
    DONE = "nothing more is to be done"
    FAIL = "an error in here"
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
    """What both kinds of session are."""

    _state = State.OPEN

    def _enter(self, event: Event) -> bool:
        """Take `event` in, and say whether it means anything in this state."""
        following = NEXT[self._state].get(event)
        if following is not None:
            self._state = following
        return following is not None
