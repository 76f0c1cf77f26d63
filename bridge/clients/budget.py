"""How much all the clients of one daemon may hold together in lines that are not answered yet.

Nobody is refused and nobody waits for another's line: whoever holds more than is left for all others is not read until
half of it is answered, and whoever holds nothing may always be read once.  So few clients may hold much, many may hold
little each, and one that comes late finds room as soon as those before it are answered, or have had their time.

No I/O.
"""

from __future__ import annotations

TOTAL = 16 * 1024 * 1024
"""Bytes.  Greedy clients with the longest lines, 128 of which could have 140 MB in flight, have the daemon grow by
20 MB; 128 clients whose windows are full of usual lines hold half of it, and never feel it."""

LINE = 200
"""Bytes that a line in flight takes here besides its own: what it is asked with, and its places in queues."""

UNCOUNTED = 16384
"""Bytes read of a client until it is counted again what it holds.  Counting a full window takes as long as asking two
lines, so it is not to be done at each read; and so much may be read of each client without being counted."""


class Budget:
    """Bytes in all.

    Attributes:
      held: by everybody, as counted last.
    """

    def __init__(self, total: int = TOTAL) -> None:
        self.held = 0
        self._total = total

    @property
    def left(self) -> int:
        """For all others, and for each of them."""
        return self._total - self.held
