"""A program with the fault that its question names: the user's first part, before the first dash.

    twice     the reply twice, in one write
    stale     the reply, and the same again when the next question is there, before that one is read
    third     neither yes nor no
    short     one byte where two belong
    ends      it exits instead of replying
    hangs     it never replies
    slow      it replies after SLOW seconds

The truth table is that of wire.py; `faulty.py yes` says yes once before it is asked.
"""

import os
import select
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NO, YES, note, read_frame, truth, write

SLOW = 6


def answer(body: bytes) -> None:
    reply = YES if truth(body) else NO
    match body.split(b":")[1].partition(b"-")[0]:
        case b"twice":
            write(reply * 2)
        case b"stale":
            write(reply)
            select.select([0], [], [])
            write(reply)
        case b"third":
            write(b"\0\2\0\2")
        case b"short":
            write(b"\0\1\1")
        case b"ends":
            note("ends")
            os._exit(1)
        case b"hangs":
            while True:
                time.sleep(3600)
        case b"slow":
            time.sleep(SLOW)
            write(reply)
        case _:
            write(reply)


note("start")
if sys.argv[1:] == ["yes"]:
    write(YES)
while (body := read_frame()) is not None:
    answer(body)
