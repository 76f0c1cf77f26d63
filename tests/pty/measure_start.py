"""How long a terminal is exposed: milliseconds from execve to raw mode, and to the first program. Only prints.

    PYTHONPATH=tests python tests/pty/measure_start.py [starts]

For comparison: what the interpreter itself needs to come up, measured in the same run.
"""

import os
import statistics
import subprocess
import sys
import termios
import time
from collections.abc import Callable

from support.pty.driver import Emulation
from support.pty.site import BRIDGE, Site, site


def one_start(place: Site) -> tuple[float, float]:
    """Seconds from the start of the command (a shell that execs at once) to raw mode, and to the first program."""
    client = place.client("lpty12")
    assert isinstance(client, Emulation)
    before = len(place.started())
    terminal = os.open(client.tty(), os.O_RDONLY | os.O_NOCTTY)  # (this also waits until the client itself is up)
    began = time.perf_counter()
    client.start()  # forks, and returns when the child has switched the echo off: right before execve
    while termios.tcgetattr(terminal)[3] & termios.ISIG:
        time.sleep(0.0002)
    raw = time.perf_counter() - began
    os.close(terminal)
    while len(place.started()) == before:
        time.sleep(0.001)
    ready = time.perf_counter() - began
    client.close()
    place.clients.remove(client)
    return raw, ready


def bare(*words: str) -> Callable[[], float]:
    """Seconds that a command takes from start to end."""

    def run() -> float:
        began = time.perf_counter()
        subprocess.run(words, check=True)
        return time.perf_counter() - began

    return run


def show(what: str, seconds: list[float]) -> None:
    """Median and extremes, in milliseconds."""
    low, middle, high = (1000 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    print(f"{what:42}{middle:7.1f} ms  ({low:.1f} .. {high:.1f})")


def main() -> None:
    """The table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with site() as place:
        starts = [one_start(place) for _ in range(count)]
    show("sh -c :", [bare("sh", "-c", ":")() for _ in range(count)])
    show("interpreter alone: -c pass", [bare(BRIDGE[0], "-c", "pass")() for _ in range(count)])
    show("exec to raw mode (shell included)", [raw for raw, _ in starts])
    show("exec to the first program's start", [ready for _, ready in starts])


if __name__ == "__main__":
    main()
