"""`run --demo`: the bundled program with one user, in a temporary database."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Generator

import bridge

USER, HOST, SECRET = "alice", "example.com", "wonder:land"


@contextlib.contextmanager
def demo_program() -> Generator[tuple[list[str], dict[str, str]]]:
    """The program and its environment, for as long as the context lasts."""
    from bridge.programs.users import Users

    with tempfile.TemporaryDirectory(prefix="extauth-bridge-demo-") as folder:
        database = os.path.join(folder, "users.db")
        with Users(database) as users:
            users.add(USER, HOST, SECRET)
        package = os.path.dirname(os.path.dirname(os.path.abspath(bridge.__file__)))
        yield [sys.executable, "-m", "bridge.programs.sqlite", database], {"PYTHONPATH": package}
