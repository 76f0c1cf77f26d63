"""Limits of descriptors: what the interpreter needs by itself, and commands under a limit."""

import functools
import re
import resource
import subprocess
import sys
from collections.abc import Callable

from support.process import environment

NEEDED = re.compile(r"too few descriptors: at least (\d+) are needed, the limit \(ulimit -n, LimitNOFILE=\) is (\d+)")


def limited(limit: int) -> Callable[[], None]:
    """To be called in a child before it executes a command."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


@functools.cache
def lowest() -> int:
    """The lowest limit at which our code runs at all: with less, the interpreter cannot read it."""
    for limit in range(3, 20):
        imports = subprocess.run(
            [sys.executable, "-c", "import runpy, bridge.entry"],
            env=environment(),
            preexec_fn=limited(limit),
            capture_output=True,
            check=False,
        )
        if imports.returncode == 0:
            return limit
    raise AssertionError("no limit is enough")
