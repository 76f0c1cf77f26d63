"""What a Prosody needs that asks helpers on terminals: the real lpty, compiled for its Lua, and a stand-in for the
community's mod_auth_external_insecure (or, with EXTAUTH_TEST_AUTH_EXTERNAL, that itself); and the helpers."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from support import configfile
from support.components import command, missing
from support.machine.root import lpty_source
from support.process import ROOT
from support.prosody.server import Prosody

STAND_IN = Path(__file__).parents[2] / "prosody" / "mod_auth_external_insecure.lua"
HEADERS = Path("/usr/include/lua5.4")

# What pip installs, for the checkout.
COMMAND = """\
#!{python}
import sys
sys.path.insert(0, {root!r})
from bridge.entry import main
sys.exit(main())
"""


def module() -> Path:
    return Path(os.environ.get("EXTAUTH_TEST_AUTH_EXTERNAL", STAND_IN))


def install(root: Path) -> dict[str, str]:
    """Compile lpty; the variables by which Prosody finds it."""
    if not HEADERS.exists():
        missing(str(HEADERS), "liblua5.4-dev")
    target = root / "libraries"
    target.mkdir()
    (archive,) = lpty_source().glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(target, filter="data")
    (source,) = target.glob("*/lpty.c")
    options = ("-O2", "-fPIC", "-shared", f"-I{HEADERS}")
    subprocess.run([command("gcc", "gcc"), *options, "-o", target / "lpty.so", source], check=True, timeout=60)
    return {"LUA_CPATH_5_4": f"{target}/?.so;;"}


def helper(path: Path, **settings: object) -> Path:
    """An executable configuration, as Prosody starts it: what Prosody passes no arguments to."""
    entry = path.parent / "extauth-bridge"
    entry.write_text(COMMAND.format(python=sys.executable, root=str(ROOT)))
    entry.chmod(0o755)
    configfile.write(path, settings, first=f"#!{entry}\n")
    path.chmod(0o755)
    return path


def add_host(prosody: Prosody, name: str, helper: Path, timeout: float) -> None:
    """A virtual host that asks this helper, and waits so many seconds for its answers."""
    lines = [
        f'VirtualHost "{name}"',
        '  authentication = "external_insecure"',
        f'  external_auth_command = "{helper}"',
        f"  external_auth_timeout = {timeout}",
    ]
    prosody.configure_host(name, "\n".join(lines) + "\n")
    said = prosody.shell(f'host:activate("{name}")')
    assert said == "Result: true", f"{said}; {prosody.tail()}"
