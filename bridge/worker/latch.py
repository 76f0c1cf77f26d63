"""Something that happens once, and whoever waits for it.  Nobody has to listen, and nobody can listen too late.

No I/O, no trio: workers and pools are at work before it is there.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Latch:
    """Open until it is set, and set for ever."""

    def __init__(self) -> None:
        self._is_set = False
        self._listeners: list[Callable[[], None]] = []

    def then(self, listener: Callable[[], None]) -> None:
        """Call `listener` once, when it happens; at once if it has happened."""
        if self._is_set:
            listener()
        else:
            self._listeners.append(listener)

    def set(self) -> None:
        """It has happened; to say so again does nothing."""
        self._is_set = True
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()
