"""A running Prosody with our module installed in one of its plugin paths."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.process import environment
from support.prosody import terminals
from support.prosody.server import MODULE, Prosody


@contextlib.contextmanager
def running(
    backend: str = "epoll",
    system: Path | None = None,
    level: str = "debug",
    module: Path | None = None,
    *,
    on_terminals: bool = False,
) -> Iterator[Prosody]:
    """One server, gone at the end, as is its directory.

    That has a short name: the name of a socket has at most 107 bytes.

    Args:
      system: the root of a Debian whose Prosody it is, if not this machine's.
      module: a folder that takes the place of the installed module, as does EXTAUTH_TEST_PROSODY_MODULE: how to see
        what a broken one does to the tests.
      on_terminals: it can ask helpers, too, and runs as whoever runs the tests: helpers lie in the checkout.
    """
    root = Path(tempfile.mkdtemp(prefix="xmpp-"))
    root.chmod(0o755)
    variables = terminals.install(root) if on_terminals else {}
    server = Prosody(root, backend, system, level, variables=variables, as_ourselves=on_terminals)
    other = module or os.environ.get("EXTAUTH_TEST_PROSODY_MODULE")
    try:
        if other:
            shutil.copytree(other, server.plugins / f"mod_{MODULE}")
        else:
            install = [sys.executable, "-m", "bridge", "prosody-module", str(server.plugins)]
            subprocess.run(install, env=environment(), check=True, timeout=60, stdout=subprocess.DEVNULL)
        if on_terminals:
            shutil.copy(terminals.module(), server.plugins)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(root)
