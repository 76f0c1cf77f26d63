"""What tests have downloaded or built once, kept for the next run, and folders cleared away without harm.

It is kept below EXTAUTH_TEST_CACHE or else the user's cache directory.  To have it made anew, remove it there.

- A folder is seen when it is finished, never before: it is made under another name, while the cache is locked.  A
  second run waits, and finds it.
- An interrupted run leaves the unfinished folder as it is; the next one that builds removes it first.  Nothing is
  removed on the way out, where it could be interrupted again.
- Root removes here what a tool made that mounts file systems.  Nothing below a mount is ever removed.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from support.components import command

UNFINISHED = "unfinished"


def kept(name: str, made_of: Sequence[str], build: Callable[[Path], None]) -> Path:
    """The directory `build` filled in this run or an earlier one."""
    base = os.environ.get("EXTAUTH_TEST_CACHE") or Path.home() / ".cache" / "extauth-bridge"
    cache = Path(base).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:12]
    final = cache / f"{name}-{digest}"
    if not final.exists():
        with locked(cache):
            if not final.exists():  # nobody else has made it meanwhile
                unfinished = cache / UNFINISHED
                clear(unfinished)
                unfinished.mkdir(mode=0o755)
                build(unfinished)
                unfinished.rename(final)
    return final


@contextlib.contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Nobody else holds it meanwhile; it ends with the process that holds it, however that ends."""
    directory = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def sealed() -> list[str]:
    """What to run a command with that mounts file systems, so that nobody else sees them and they end with it.

    It is killed with the test run, and so is everything that it has started.
    """
    alone = [command("unshare", "util-linux"), "--mount", "--mount-proc", "--pid", "--fork", "--kill-child=SIGKILL"]
    return [command("setpriv", "util-linux"), "--pdeathsig=KILL", *alone, "--"]


def clear(folder: Path) -> None:
    """Remove a folder with all that is in it, but nothing of what is mounted or linked there.

    Raises:
      CalledProcessError: something cannot be unmounted, as it is in use: nothing was removed.  Or not all could be.
      RuntimeError: something is still mounted: nothing was removed.
    """
    for place in mounts(folder):
        subprocess.run([command("umount", "mount"), "--no-canonicalize", "--", place], check=True, timeout=60)
    if still := mounts(folder):
        raise RuntimeError(f"not removed, for there are mounts: {still}")
    # rm stops at other file systems, which shutil.rmtree does not: one could have been mounted just now.
    subprocess.run(["rm", "-rf", "--one-file-system", "--preserve-root=all", "--", folder], check=True)


def mounts(folder: Path) -> list[str]:
    """Where something is mounted at or below a folder without symbolic links in its path; the latest come first.

    In this order each can be unmounted: what was mounted later is in it, or hides it.
    """
    table = reversed(Path("/proc/self/mountinfo").read_bytes().splitlines())
    places = (os.fsdecode(re.sub(rb"\\(\d{3})", _character, line.split(b" ")[4])) for line in table)
    return [place for place in places if Path(place).is_relative_to(folder)]


def _character(escaped: re.Match[bytes]) -> bytes:
    """A space, tab, newline or backslash, which the kernel writes there in octal digits."""
    return bytes([int(escaped[1], 8)])
