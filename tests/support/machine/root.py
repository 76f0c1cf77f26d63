"""What a test machine is made of: a minimal Debian, and what users get from the network, which it does not have.

That is the Debian packages that they are told to install, put where apt looks first, wheels for what pip would
download, and the source of lpty.  All of it comes from where this machine gets its own packages, and is kept for the
next run (see support.machine.cache).
"""

import os
import platform
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from support import readme
from support.components import command, missing
from support.machine.cache import kept, sealed
from support.readme import ROOT

# The oldest release that is supported: systemd 252, Python 3.11; and one with a newer systemd, 257.
RELEASE = "bookworm"
NEWER = "trixie"
PYTHON = "3.11"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "procps")  # procps: for the tests alone
LPTY = "pool/main/l/lua-lpty/lua-lpty_1.0.1.orig.tar.gz"  # what `apt-get source` would fetch

# Seconds for 120 MB of packages and their unpacking; a minute or so is usual.
PATIENCE = 180


def debian_root(release: str = RELEASE, steps: Sequence[str] = ("module: packages", "pty: packages")) -> Path:
    """The directory of a root file system that nobody may change: boot it below an overlay.

    `steps` are marks in the documents: what apt-get installs there needs no network on the machine.
    """
    if os.geteuid():
        missing("root, to make and boot a machine", "sudo")
    debootstrap = command("debootstrap", "debootstrap")
    download = [readme.commands(step).replace("install", "install --download-only", 1) for step in steps]

    def build(target: Path) -> None:
        include = f"--include={','.join(PACKAGES)}"
        # Not the default: umask and variables of this session go into the root that is built.
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **proxies()}
        source = [mirror()] if mirror() else []  # debootstrap knows one by itself
        # It mounts /proc in there, and leaves that to us if it is interrupted.
        make = [*sealed(), debootstrap, "--variant=minbase", include, release, str(target), *source]
        run(make, "a Debian mirror", clean)
        shutil.rmtree(target / "var/cache/apt/archives", ignore_errors=True)
        run([*sealed(), "chroot", str(target), "sh", "-euc", "".join(download)], "a Debian mirror", clean)

    return kept(f"{release}-{platform.machine()}", [*PACKAGES, *download], build)


def wheels(python: str = PYTHON, extras: Sequence[str] = ()) -> Path:
    """The directory with all that `pip install .` would download: dependencies, and what builds the wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted += [needed for extra in extras for needed in project["project"]["optional-dependencies"][extra]]

    def build(target: Path) -> None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(target)]
        only = ["--only-binary=:all:", "--python-version", python]
        run([*pip, *only, *wanted], "an index of Python packages")

    return kept(f"wheels-{python}", wanted, build)


def lpty_source() -> Path:
    """The directory with the source of lpty that readers are told to download."""

    def build(target: Path) -> None:
        try:
            with urllib.request.urlopen(f"{mirror().rstrip('/')}/{LPTY}", timeout=PATIENCE) as answer:
                (target / Path(LPTY).name).write_bytes(answer.read())
        except (OSError, ValueError) as error:
            missing(f"a Debian mirror among apt's sources ({LPTY}: {error})", "ca-certificates")

    return kept("lpty", [LPTY], build)


def mirror() -> str:
    """Where this machine's apt gets RELEASE from, and so can get others; nothing if it gets none of it."""
    found = ""
    if apt := shutil.which("apt-get"):
        what = ["--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"]
        found = subprocess.run([apt, "indextargets", *what], capture_output=True, text=True, check=False).stdout
    for line in found.splitlines():
        uri, codename, component = line.split()
        if (codename, component) == (RELEASE, "main") and uri.startswith(("http://", "https://")):
            return uri
    return ""


def proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}


def run(words: Sequence[str], source: str, env: dict[str, str] | None = None, patience: float = PATIENCE) -> None:
    """Run what needs the network; without it the test is skipped like for any other missing component."""
    try:
        done = subprocess.run(
            words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=patience, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        missing(f"{source} that answers within {patience:g} s ({words[0]})", "ca-certificates")
    if done.returncode:
        tail = " | ".join(done.stdout.splitlines()[-3:])
        missing(f"{source} ({Path(words[0]).name} failed: {tail})", "ca-certificates")
