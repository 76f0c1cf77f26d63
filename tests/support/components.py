"""System components a test cannot do without: skip where one is missing, fail where REQUIRE_ALL=1."""

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
    """Path of the command `name`, which Debian's `package` brings."""
    path = shutil.which(name)
    if path is None:
        missing(f"the command {name}", package)
    return path
