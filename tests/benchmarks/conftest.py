"""The benchmark's C programs, compiled once."""

from pathlib import Path

import compiling
import pytest
from support.components import command


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiling.build(tmp_path_factory.mktemp("build"), command("gcc", "gcc"))
