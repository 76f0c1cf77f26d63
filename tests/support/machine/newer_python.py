"""Runs tests with the Python of another Debian:

    PYTHONPATH=tests python -m support.machine.newer_python [RELEASE [ARGUMENT of pytest...]]

In a root made by debootstrap, which is only read; with process ids and temporary files of its own; offline: what pip
installs was downloaded before, and is in a virtual environment beside the one of this Python.  Without arguments that
is Debian 13, and the default tests.  What needs a package that says nothing of Python is skipped there.
"""

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from support.components import command
from support.machine.cache import kept, sealed
from support.machine.root import NEWER, mirror, proxies, run, wheels
from support.readme import ROOT

PACKAGES = ("gcc", "libc6-dev", "lua-lpty", "lua5.1", "lua5.4", "perl", "procps", "python3-venv", "systemd")

PATIENCE = 600
"""Seconds for packages and their unpacking; one minute or two are usual."""

ENTER = """
set -eu
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
echo 9999 > proc/sys/kernel/ns_last_pid  # process ids as long as elsewhere: "1" is not to be the test run's own
mount --rbind /dev dev
mount --rbind /sys sys
for place in root run tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$place"; done
mkdir root/checkout root/wheels
mount --bind "$2" root/checkout
mount --bind "$3" root/wheels
mount -o remount,bind,ro "$1"
chroot . /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -euc "cd /root/checkout; $4"
exit $?  # a shell has to stay, for orphans would become the children of what were process 1
"""


def debian(release: str) -> Path:
    """The root, with Python and what most tests need."""

    def build(target: Path) -> None:
        clean = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C",
            "DEBIAN_FRONTEND": "noninteractive",
        } | proxies()
        make = [command("debootstrap", "debootstrap"), "--variant=minbase", release, str(target)]
        more = ["chroot", str(target), "apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *PACKAGES]
        for words in ([*make, *filter(None, [mirror()])], more):  # apt finds out faster what they depend on
            run([*sealed(), *words], "a Debian mirror", clean, PATIENCE)

    return kept(f"python-{release}-{platform.machine()}", PACKAGES, build)


def main(release: str = NEWER, *arguments: str) -> int:
    """Run pytest with these arguments; its exit status."""
    root = debian(release)
    version = os.readlink(root / "usr/bin/python3").removeprefix("python")
    venv = f".venv-{release}"
    pip = f"{venv}/bin/pip install --quiet --no-index --find-links=/root/wheels '.[test,tools]'"
    apart = "--ignore=tests/systemd/test_cache.py"  # mounts what cannot be mounted where there is no root to pivot to
    pytest = f"{venv}/bin/python -m pytest -p no:cacheprovider {apart} {shlex.join(arguments)}"
    script = f"python3 -m venv --clear {venv}; {pip}; {venv}/bin/python -VV; exec {pytest}"
    places = (str(root), str(ROOT), str(wheels(version, ["test", "tools"])))
    return subprocess.run([*sealed(), "sh", "-c", ENTER, "sh", *places, script], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
