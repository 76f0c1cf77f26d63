"""A program that takes a known time for each question, and says that nobody exists.

    paced.py MILLISECONDS [start=SECONDS] [lock=FILE] [stall=SECONDS] [hang=N] [die=N]

start: how long it takes to start.  lock: one of all programs works at a time.  hang: it answers no more from its N-th
question on.  die: it ends at its N-th question.  stall: once, a question takes so long, after three in a row, before
each of which it had nothing to do for `IDLE`, as with a slow open loop: others come sooner, on a busy machine, too.
"""

import fcntl
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import NO, read_frame, write

IDLE = 0.06
"""Seconds."""

took = float(sys.argv[1]) / 1000
habits = dict(word.split("=", 1) for word in sys.argv[2:])
lock = os.open(habits["lock"], os.O_RDWR | os.O_CREAT, 0o666) if "lock" in habits else -1
time.sleep(float(habits.get("start", "0")))
stall = float(habits.get("stall", "0"))
asked = idle = 0
free = time.monotonic()
while read_frame() is not None:
    asked += 1
    idle = idle + 1 if time.monotonic() - free > IDLE else 0
    if asked == int(habits.get("die", "0")):
        sys.exit(3)
    if asked == int(habits.get("hang", "0")):
        time.sleep(3600)
    if lock >= 0:
        fcntl.flock(lock, fcntl.LOCK_EX)
    if stall and idle == 3:
        time.sleep(stall)
        stall = 0.0
    time.sleep(took)
    if lock >= 0:
        fcntl.flock(lock, fcntl.LOCK_UN)
    write(NO)
    free = time.monotonic()
