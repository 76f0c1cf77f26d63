"""SQL dumps that a test writes, and what the import reads in them."""

from pathlib import Path

from bridge.programs.importing import ejabberd
from bridge.programs.importing.entry import Found
from support import canary


def read(tmp_path: Path, *parts: str | bytes) -> list[Found]:
    """All that is found in a dump of these parts."""
    canary.knows(tmp_path, "passwords as ejabberd stores them")
    path = tmp_path / "dump.sql"
    path.write_bytes(b"".join(part.encode() if isinstance(part, str) else part for part in parts))
    return [*ejabberd.read(str(path))]
