"""Faults inside the daemon: calls into the system that fail while a link in a directory says so."""

import textwrap
from pathlib import Path

CODE = """
    import os, socket

    import bridge.log.targets

    FAULTS = os.environ["CHAOS_FAULTS"]
    bridge.log.targets.JOURNAL = os.path.join(FAULTS, "journal")

    def failing(name, real):
        link = os.path.join(FAULTS, name)
        def call(*args, **kwargs):
            try:
                number = int(os.readlink(link))  # what needs no descriptor
            except OSError:
                return real(*args, **kwargs)
            raise OSError(number, os.strerror(number))
        return call

    for name in ("pipe", "posix_spawnp", "pidfd_open"):
        setattr(os, name, failing(name, getattr(os, name)))
    socket.socket.accept = failing("accept", socket.socket.accept)
"""


class Faults:
    """Those of one daemon.

    Attributes:
      path: where the daemon finds this at its start; to be in front of PYTHONPATH, and in `CHAOS_FAULTS`.
      journal: the journal's socket, as the daemon sees it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal"
        path.mkdir()
        (path / "sitecustomize.py").write_text(textwrap.dedent(CODE))

    def set(self, call: str, number: int) -> None:
        """From now on this call fails with that errno."""
        (self.path / call).symlink_to(str(number))

    def clear(self, call: str) -> None:
        (self.path / call).unlink(missing_ok=True)
