"""Faults injected into a bridge under test, which runs in its own process."""

import textwrap
from pathlib import Path

from support.process import ROOT

HANGING = """
    from bridge.pool.supervisor import Supervisor
    import trio
    async def hang(*_):
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
    Supervisor._end = hang
"""
"""What stops a program never returns, and cannot be cancelled."""

LONG_BURST = """
    import bridge.protocol.lockstep
    bridge.protocol.lockstep.BURST = 1.0
"""
"""A burst may last twenty times as long, so that a busy machine cannot make two of its pieces."""


def fault(folder: Path, code: str) -> dict[str, str]:
    """The environment of a bridge that runs `code` before anything else.  Programs started with -I do not."""
    place = folder / "fault"
    place.mkdir()
    (place / "sitecustomize.py").write_text(textwrap.dedent(code))
    return {"PYTHONPATH": f"{place}:{ROOT}"}
