"""How long a program takes from its start to its first good reply, learnt from those that were asked early.

No I/O; the caller passes the times in, in seconds.
"""

from __future__ import annotations

from bridge.loop.timer import FOREVER

_PROMPT = 0.25
"""Seconds: a first reply that comes this soon after the question was not waited for, so the program was up before."""

_FORGET = 0.9
"""Weight of the estimate so far against a shorter start: one slow start is remembered for a few others."""

_UNUSUAL = 2.0
_TO_SPARE = 0.5
"""A program has had ample time after `_UNUSUAL` times the usual time, and this many seconds."""

UNASKED = 1.0
"""Seconds that a program which has not been asked has to stay alive until it is taken for up: real ones need half."""


class StartupTime:
    """One pool's usual time of a start.

    Attributes:
      expected: seconds, as measured; 0 while no program was asked before it was up.
    """

    def __init__(self) -> None:
        self.expected = 0.0
        self._at_most = FOREVER

    def learn(self, born: float, asked: float, now: float) -> None:
        """A program started at `born` and first `asked` then has just given its first reply."""
        took = now - born
        if now - asked > _PROMPT and asked - born <= UNASKED:
            self.expected = self._at_most = max(took, self.expected * _FORGET)
            return
        self._at_most = min(self._at_most, took)
        if now - asked <= _PROMPT:  # it had been up for we do not know how long; otherwise the question may take long
            self.expected = min(self.expected, took)

    def took_longer(self, seconds: float) -> None:
        """A program was killed that had not replied after so many seconds: others may need longer, too."""
        if self._at_most < seconds:
            self._at_most = seconds

    @property
    def ample(self) -> float:
        """Seconds in which every program has started that starts as usual; infinity if that is not known."""
        return self._at_most * _UNUSUAL + _TO_SPARE

    @property
    def unasked(self) -> float:
        """Seconds after which a program that has not been asked is taken for up."""
        return max(UNASKED, self.expected * _UNUSUAL)
