"""A bridge as PID 1, as it is in a container without an init of its own."""

import os
import subprocess
from collections.abc import Callable, Sequence

from support import procfs
from support.components import command, missing
from support.process import COMMAND, Bridge


def as_pid_1(
    start: Callable[..., Bridge], *arguments: object, wrapper: Sequence[str] = (), **options: object
) -> Bridge:
    """Start a bridge as PID 1 of a namespace; its `pid` is the one that is seen from outside.

    Args:
      wrapper: a command that executes the bridge.
    """
    unshare = (command("unshare", "util-linux"), "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL")
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        missing("root with CAP_SYS_ADMIN, for a namespace of processes", "sudo")
    bridge = start(*arguments, command=(*unshare, *wrapper, *COMMAND), **options)
    bridge.until(lambda: procfs.children(bridge.pid) or bridge.child.poll() is not None, "its first process")
    for child in procfs.children(bridge.pid):  # one, unless it has left already
        bridge.pid = child.pid
    bridge.signal = lambda number: os.kill(bridge.pid, number)
    return bridge
