"""System components a test needs: skip if one is missing, fail under REQUIRE_ALL=1."""

import os
import shutil
from typing import NoReturn

import pytest


def missing(what: str, package: str) -> NoReturn:
    """Skip this test, naming the Debian package to install; under REQUIRE_ALL=1 fail instead."""
    message = f"needs {what}: apt-get install {package}"
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def command(name: str, package: str) -> str:
    """Path of the command `name` from Debian's `package`."""
    path = shutil.which(name)
    if path is None:
        missing(f"the command {name}", package)
    return path
