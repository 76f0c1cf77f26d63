"""A program on a terminal that tells, when asked over a socket, what its Watcher sees: see `scene`.

Arguments: the number of the socket.  One request a line, one line back:

    look · looks N (the set of N views) · sees · describe · pid
    write TEXT (an answer, to the terminal) · inherited (descriptors that a program started now would inherit)
    proc PATH (another /proc from now on) · uid N (another user from now on) · speed N (µs, mean of N looks)
"""

import contextlib
import fcntl
import os
import socket
import sys
import timeit

from bridge.terminal.watcher import Watcher


def _inherited() -> list[int]:
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # that of the listing itself is closed by now
            if not fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                found.append(number)
    return found


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    watcher = Watcher(0)
    for line in control.makefile("r"):
        word, _, argument = line.rstrip("\n").partition(" ")
        answer: object = "done"
        match word:
            case "look":
                answer = watcher.look().name
            case "looks":
                answer = " ".join(sorted({watcher.look().name for _ in range(int(argument))}))
            case "sees":
                answer = watcher.sees
            case "describe":
                answer = watcher.describe()
            case "pid":
                answer = os.getpid()
            case "write":
                os.write(0, argument.encode() + b"\n")
            case "proc":
                watcher.close()
                watcher = Watcher(0, proc=argument)
            case "uid":
                os.setgid(int(argument))
                os.setuid(int(argument))
            case "speed":
                answer = timeit.timeit(watcher.look, number=int(argument)) / int(argument) * 1e6
            case "inherited":
                answer = _inherited()
        control.sendall(f"{answer}\n".encode())


if __name__ == "__main__":
    main()
