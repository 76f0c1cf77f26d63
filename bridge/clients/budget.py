"""Limits the memory that all clients of one daemon together use for unanswered lines.

No client is refused, and none waits for another's line: a client that holds more than is left for all others is not
read until half of its lines are answered, and one that holds nothing may always be read once.  So a few clients may
hold much each, many may hold little each, and a late one finds room as soon as earlier ones are answered or time out.

No I/O.
"""

from __future__ import annotations

TOTAL = 16 * 1024 * 1024
"""Bytes.  128 greedy clients with the longest lines, which could have 140 MB in flight, make the daemon grow by 20 MB;
128 clients whose windows are full of usual lines hold half of this, and never notice."""

LINE = 200
"""Bytes that a line in flight takes in addition to its own: its query, and its places in queues."""

TAGGED_LINE = LINE + 150
"""The same for a line with a tag: that, and where it is remembered."""

UNCOUNTED = 16384
"""Bytes read from a client before what it holds is counted again.  Counting a full window takes as long as asking two
lines, too long for every read; the price is that this much may be read from each client uncounted."""


class Budget:
    """The budget of one daemon.

    Args:
      total: bytes.

    Attributes:
      held: bytes held by all clients, as counted last.
    """

    def __init__(self, total: int = TOTAL) -> None:
        self.held = 0
        self._total = total

    @property
    def left(self) -> int:
        """Bytes left, for all others together and for each of them."""
        return self._total - self.held
