"""Whether an answer may be written to a program's terminal: only if the client is waiting for it.

Prosody may have given up on a question (its timeout, its reload, its own line echoed back at start).  An
answer written anyway would be read as the answer to its next question, and all later ones would be shifted
by one, which logs strangers in.

  - It waits for us: write.
  - It is back in its main loop: nobody will read this answer any more.  Drop it.
  - It does something else: look again.
  - It cannot be seen: the first answer is never written, which makes the echo at start harmless; later ones
    rely on being in time.  The same applies whenever it can no longer be seen.

Standard library only.  The caller writes, after checking once more for a newer question.
"""

from __future__ import annotations

import enum

from bridge.terminal.watcher import Look, Watcher

_LOOKS = 4
"""Looks before the caller is told to wait: the client needs some microseconds from its write to its wait."""

_FIRST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.010


class Decision(enum.Enum):
    """What to do with an answer."""

    WRITE = "write it"
    DROP = "drop it"
    WAIT = "ask again after a pause"


class Gate:
    """Decides for one terminal.

    Attributes:
      pause: seconds to wait after `Decision.WAIT`.
    """

    def __init__(self, watcher: Watcher) -> None:
        self.pause = _FIRST_PAUSE
        self._watcher = watcher
        self._blind = False

    def describe(self) -> str:
        """Which rule is in force, for the log at start."""
        if self._watcher.sees:
            return "answers are written only while the client is seen waiting"
        return "the client's waiting cannot be seen: the first answer is not written"

    def decide(self) -> Decision:
        """What to do with the answer that is ready now."""
        look = Look.BUSY
        for _ in range(_LOOKS):
            look = self._watcher.look()
            if look is not Look.BUSY:
                break
        if look is Look.BUSY:
            self.pause = min(self.pause * 2, _LONGEST_PAUSE)
            return Decision.WAIT
        self.pause = _FIRST_PAUSE
        was_blind, self._blind = self._blind, look is Look.UNSEEN
        if look is Look.ELSEWHERE or (look is Look.UNSEEN and not was_blind):
            return Decision.DROP
        return Decision.WRITE
