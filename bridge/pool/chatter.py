"""Which of the lines on stderr are logged, so that neither a flood nor chatter hides the line that tells what is wrong.

- A kind of line is what is left of its beginning without digits: a time or a pid makes no line new.
- The first lines of each kind are logged, as far as all new kinds together stay within a limit.  What goes on after
  that is chatter, all of which has a limit of its own, so that it takes nothing away from new lines.
- A line that looks like a complaint has its own limit too: chatter may be of a new kind each time, with a name in it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from bridge.log.tokenbucket import TokenBucket
from bridge.worker.stderrlines import Line

_OF_A_KIND = 5
_AGAIN = 60.0
"""Lines of one kind that are new, in so many seconds."""

_KINDS = 256
"""Those remembered; a program that has more kinds of lines is within the limit for new ones anyway."""

_COMPLAINTS = (
    *(b"error", b"warn", b"fail", b"fatal", b"exception", b"traceback", b"panic", b"denied", b"refused", b"cannot"),
    *(b"can't", b"could not", b"unable", b"timeout", b"timed out", b"gone away", b"not found", b"no such", b"invalid"),
)


class Sort(enum.Enum):
    """What a line is, for the limit that applies to it: lines, and in how many seconds."""

    NEW = 40, 20.0
    COMPLAINT = 20, 20.0
    CHATTER = 5, 20.0


class Chatter:
    """Tells new lines from chatter.

    Args:
      clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kinds: dict[int, TokenBucket] = {}

    def sort_of(self, line: Line) -> Sort:
        """What a line is; it counts as one of its kind from now on."""
        start = line.start()
        kind = hash(start.translate(None, b"0123456789"))
        bucket = self._kinds.pop(kind, None) or TokenBucket(_OF_A_KIND / _AGAIN, _OF_A_KIND, self._clock)
        self._kinds[kind] = bucket  # the latest last
        if len(self._kinds) > _KINDS:
            del self._kinds[next(iter(self._kinds))]
        if not bucket.take():
            return Sort.CHATTER
        start = start.lower()
        return Sort.COMPLAINT if any(word in start for word in _COMPLAINTS) else Sort.NEW
