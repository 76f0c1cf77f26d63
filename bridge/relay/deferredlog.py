"""Keeps log events until there is time: importing what logging needs takes longer than starting a relay."""

from __future__ import annotations

from collections.abc import Callable

from bridge.relay.settings import LogChoice

_KEPT = 64
"""Events that are kept until they can be written."""


class DeferredLog:
    """Log events, kept until `write` is called.

    Args:
      client_terminal: stderr is where the answers go, so nothing is logged there.
      wanted: called when there is something to write.
    """

    def __init__(
        self, settings: LogChoice, client_terminal: bool, clock: Callable[[], float], wanted: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._client_terminal = client_terminal
        self._clock = clock
        self._wanted = wanted
        self._notes: list[tuple[str, str, dict[str, object]]] = []
        self._lost = 0
        self._writer: Callable[[str, str, dict[str, object]], None] | None = None

    def __bool__(self) -> bool:
        return bool(self._notes)

    def info(self, message: str, **fields: object) -> None:
        """Something an operator wants to know."""
        self._add("INFO", message, fields)

    def warn(self, message: str, **fields: object) -> None:
        """Something an operator may have to act on."""
        self._add("WARNING", message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Something an operator has to repair."""
        self._add("ERROR", message, fields)

    def write(self) -> None:
        """Log all kept events; a field that is a function is called now."""
        if self._writer is None:
            self._writer = self._open()
        if self._lost:
            lost, self._lost = self._lost, 0
            self._notes.append(("WARNING", "log lines lost", {"count": lost}))
        notes, self._notes = self._notes, []
        for level, message, fields in notes:
            self._writer(level, message, fields)

    def reconfigure(self, settings: LogChoice) -> None:
        """Use these settings from now on."""
        self._settings, self._writer = settings, None

    def _add(self, level: str, message: str, fields: dict[str, object]) -> None:
        if len(self._notes) < _KEPT:
            self._notes.append((level, message, fields))
        else:
            self._lost += 1
        self._wanted()

    def _open(self) -> Callable[[str, str, dict[str, object]], None]:
        import logging

        from bridge.log.ratelimit import RateLimited
        from bridge.log.setup import configure

        configure(self._settings, self._client_terminal)
        limited = RateLimited(5, 60.0, self._clock)
        levels = logging.getLevelNamesMapping()

        def write(level: str, message: str, fields: dict[str, object]) -> None:
            known = {name: value() if callable(value) else value for name, value in fields.items()}
            limited.log(levels[level], (message, fields.get("reason")), message, **known)

        return write
