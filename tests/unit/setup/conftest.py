"""A root file system to set up, in a temporary directory."""

import os
from pathlib import Path

import pytest

from bridge.setup.host import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """An empty one, which belongs to whoever runs the tests."""
    tmp_path.chmod(0o755)
    return Host(tmp_path, os.geteuid())
