"""A one-shot event with callbacks.

No I/O, no trio: workers and pools run before it is imported.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Latch:
    """Happens once; a listener that comes later is called at once.

    Attributes:
      is_set: it has happened.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._listeners: list[Callable[[], None]] = []

    def then(self, listener: Callable[[], None]) -> None:
        """Call `listener` once, when the latch is set; at once if it is set."""
        if self.is_set:
            listener()
        else:
            self._listeners.append(listener)

    def set(self) -> None:
        """Set the latch and call its listeners; does nothing if it is set."""
        self.is_set = True
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()
