"""Debian 13's Prosody, with the community's modules, in a root file system of its own: this machine has another."""

import os
from pathlib import Path

from support.components import command, missing
from support.machine.cache import kept, sealed
from support.machine.root import NEWER, mirror, proxies, run

PACKAGES = ("prosody", "prosody-modules")


def thirteen() -> Path:
    """Its root, kept for the next run."""
    if os.geteuid():
        missing("root, to run another Debian's Prosody", "sudo")
    debootstrap = command("debootstrap", "debootstrap")
    # Nothing is to be started there.
    install = f"""
        printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        apt-get install --yes --no-install-recommends {" ".join(PACKAGES)}
        rm -rf /var/cache/apt/archives /var/lib/apt/lists
    """

    def build(target: Path) -> None:
        clean = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C",
            "DEBIAN_FRONTEND": "noninteractive",
            **proxies(),
        }
        source = [mirror()] if mirror() else []
        run([*sealed(), debootstrap, "--variant=minbase", NEWER, str(target), *source], "a Debian mirror", clean)
        run([*sealed(), "chroot", str(target), "sh", "-euc", install], "a Debian mirror", clean)

    return kept(f"prosody-{NEWER}", [install], build)
