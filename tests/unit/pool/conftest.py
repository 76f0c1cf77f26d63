"""What a pool logs."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The lines of the log, with their levels."""
    lines: list[str] = []
    handler, log = logging.Handler(), logging.getLogger("bridge")
    handler.emit = lambda record: lines.append(f"{record.levelname} {record.getMessage()}")  # type: ignore[method-assign]
    log.addHandler(handler)
    yield lines
    log.removeHandler(handler)
