"""What the Prosody module writes and believes, under every Lua that Prosody runs on; see wire.lua for the scenarios.

Once with a daemon that knows tags, once with an older one.
Prosody itself is there for one Lua only, so its interfaces are a stub here.
"""

import re
import subprocess
from pathlib import Path

import pytest
from support.components import command

import bridge

HERE = Path(__file__).parent
MODULE = Path(bridge.__file__).parent / "prosody" / "mod_auth_extauth_bridge"
INTERPRETERS = ["lua5.1", "lua5.2", "lua5.3", "lua5.4", "luajit"]

_TEXTS = [file.read_text() for file in sorted(HERE.glob("wire_*.lua"))]
SCENARIOS = {
    mode: set(re.findall(rf"^function (?:both|scenarios\.{mode})\.(\w+)\(\)", "\n".join(_TEXTS), re.MULTILINE))
    for mode in ("tagged", "plain")
}


@pytest.mark.parametrize("mode", SCENARIOS)
@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_the_wire(interpreter: str, mode: str) -> None:
    """All of them in turn, each with everything anew; what does not hold is named."""
    done = subprocess.run(
        [command(interpreter, interpreter), HERE / "wire.lua", MODULE, mode],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert SCENARIOS[mode] < set(done.stdout.split()), "none is left out, and the doubtful ones are there besides"
