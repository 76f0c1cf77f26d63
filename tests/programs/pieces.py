"""An honest program that reads and writes in pieces: `pieces.py READ WRITES PAUSE_MS`.

READ: buffered (sys.stdin.buffer, which reads ahead), exactly, bytes, greedy; WRITES: of a reply, 1, 2 or 4.
"""

import os
import sys
import time
from collections.abc import Callable

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NO, YES, note, read_exactly, truth, write

WAY, WRITES, PAUSE = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) / 1000


def one_by_one(count: int) -> bytes:
    return b"".join(os.read(0, 1) for _ in range(count))


ahead = bytearray()


def greedy(count: int) -> bytes:
    while len(ahead) < count and (more := os.read(0, 65536)):
        ahead.extend(more)
    taken = bytes(ahead[:count])
    del ahead[:count]
    return taken


READERS: dict[str, Callable[[int], bytes]] = {
    "buffered": sys.stdin.buffer.read,
    "exactly": read_exactly,
    "bytes": one_by_one,
    "greedy": greedy,
}


def main() -> None:
    note("start")
    read = READERS[WAY]
    while len(header := read(2)) == 2:
        if PAUSE:
            time.sleep(PAUSE)
        body = read(int.from_bytes(header, "big"))
        reply = YES if truth(body) else NO
        for at in range(0, 4, 4 // WRITES):
            if PAUSE and at:
                time.sleep(PAUSE)
            write(reply[at : at + 4 // WRITES])


main()
