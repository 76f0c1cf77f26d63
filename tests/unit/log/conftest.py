"""What the log's tests write to, and read back."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.logsite import Site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    with Site(tmp_path) as site:
        yield site


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Its reading end does not block."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    yield read, write
    os.close(read)
    os.close(write)
