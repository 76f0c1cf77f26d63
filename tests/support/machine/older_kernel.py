"""A command run on the kernel of the oldest Debian that is supported, under qemu.

    said = run_on_older_kernel({"bridge": ROOT / "bridge", "guest.py": ...}, "python3 guest.py", tmp_path)

The root file system is that of support.machine.root, as a disk that nothing is written to.  There is no network and no
other disk of this machine.  All of it is emulated, as KVM is rarely there where tests run: ten to twenty times slower.
"""

import os
import platform
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from support import canary
from support.components import command
from support.machine.cache import kept
from support.machine.root import debian_root, proxies, run

# What has the disk's driver and ext4 built in, so that it boots without an initrd; of RELEASE, like the root.
PACKAGE = "linux-image-cloud-amd64"

# The root's own apt knows its release; it is not to write there.
FETCH = """
cd "$TARGET"
set -- -o "Dir=$ROOT" -o "Dir::State::status=$ROOT/var/lib/dpkg/status"
set -- "$@" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
image=$(apt-cache "$@" depends "$PACKAGE" | sed -n 's/ *Depends: //p')
apt-get "$@" download "$image"
dpkg-deb --fsys-tarfile "$image"_*.deb | tar -x --strip-components=2 --wildcards './boot/vmlinuz-*'
mv vmlinuz-* vmlinuz
rm "$image"_*.deb
mke2fs -q -t ext4 -d "$ROOT" root.img 1G
"""

# The second disk is a tar archive, with the rest of what is to be done in it.
BOOT = "mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp; tar -xf /dev/nvme0n2 -C /tmp; exec sh /tmp/init"

INIT = """
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
mount -t proc proc /proc
cd /tmp
{command}
echo "{ended} $?"
echo o >/proc/sysrq-trigger  # off
exec sleep 60
"""

ENDED = "ended with status"

# Seconds, generous: reached only by a test that fails.
PATIENCE = 600


def run_on_older_kernel(files: Mapping[str, Path], words: str, directory: Path) -> str:
    """What a shell command, run as root among these files, wrote on the console.

    Args:
      files: files and directories by the name they get in its working directory.
      words: the command.
      directory: for temporary files.

    Raises:
      AssertionError: it failed or did not end; the text has all that the console said.
    """
    qemu = command("qemu-system-x86_64", "qemu-system-x86")
    machine = kernel_and_root()
    init, disk = directory / "init", directory / "files.tar"
    canary.knows(disk, "the tests themselves are in it")
    init.write_text(INIT.format(command=words, ended=ENDED))
    with tarfile.open(disk, "w") as archive:
        for name, path in {**files, "init": init}.items():
            archive.add(path, name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
    said = subprocess.run(
        # It ends even if this test run is killed.
        [command("timeout", "coreutils"), "--signal=KILL", str(PATIENCE), qemu, *hardware(machine, disk)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    ).stdout.decode(errors="replace").replace("\r\n", "\n")  # fmt: skip
    assert f"{ENDED} 0\n" in said, said
    return said


def hardware(machine: Path, disk: Path) -> list[str]:
    """Two CPUs, 1 GB, and one controller with two disks, whose order is certain then; neither is written to."""
    kernel = f'root=/dev/nvme0n1 ro console=ttyS0 quiet panic=-1 init=/bin/sh -- -c "{BOOT}"'
    drives = {"root": machine / "root.img", "files": disk}
    return [
        *("-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1G"),
        *("-nographic", "-no-reboot", "-nic", "none", "-snapshot"),
        *("-kernel", str(machine / "vmlinuz"), "-append", kernel, "-device", "nvme,id=disks,serial=disks"),
        *(word for name, file in drives.items() for word in ("-drive", f"if=none,format=raw,id={name},file={file}")),
        *(word for name in drives for word in ("-device", f"nvme-ns,bus=disks,drive={name}")),
    ]


def kernel_and_root() -> Path:
    """The directory with `vmlinuz` and `root.img`."""
    if platform.machine() != "x86_64":
        pytest.skip("only for x86-64: other machines have other kernels")
    for tool, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg"), ("mke2fs", "e2fsprogs")):
        command(tool, package)
    root = debian_root()

    def build(target: Path) -> None:
        names = {"TARGET": str(target), "ROOT": str(root), "PACKAGE": PACKAGE}
        run(["sh", "-euc", FETCH], "a Debian mirror", {**names, "PATH": os.environ["PATH"], **proxies()})

    return kept("older-kernel", [root.name, FETCH], build)
