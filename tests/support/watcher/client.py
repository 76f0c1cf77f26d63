"""A client of programs on terminals, started by `scene`.

It opens the ptys, starts a probe on each, then runs the Python code of the test, in which `masters`, `master`
(the first) and `slave` (the last) are descriptors.  Like lpty's, the masters are inherited by what is started.

Arguments: the code; the command before a probe's own (a wrapper), its words one a line; the numbers of the
probes' sockets.
"""

import os
import pty
import subprocess
import sys


def main() -> None:
    code, wrapper, *controls = sys.argv[1:]
    masters = []
    for control in controls:
        master, slave = pty.openpty()
        masters.append(master)
        os.set_inheritable(master, True)
        subprocess.Popen(
            [*filter(None, wrapper.split("\n")), sys.executable, "-m", "support.watcher.probe", control],
            stdin=slave,
            stdout=slave,
            close_fds=False,
        )
        os.close(int(control))
    print("ready", flush=True)
    exec(compile(code, "client", "exec"), {"masters": masters, "master": masters[0], "slave": slave})


if __name__ == "__main__":
    main()
