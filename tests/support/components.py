"""System components a test needs: skip if one is missing, fail under REQUIRE_ALL=1."""

import importlib
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


def extra(name: str, *modules: str) -> None:
    """Skip the module that calls this, unless what our extra `name` installs is there; under REQUIRE_ALL=1 fail."""
    try:
        for module in modules:
            importlib.import_module(module)
    except ImportError:
        if os.environ.get("REQUIRE_ALL") == "1":
            raise
        pytest.skip(f"needs the extra {name}: pip install '.[{name}]'", allow_module_level=True)
