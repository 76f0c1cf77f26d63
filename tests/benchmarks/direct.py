"""One program asked one question at a time with blocking reads and writes: what no bridge in Python can beat.

    python direct.py SECONDS PROGRAM [ARGUMENT...]

Checks every answer and prints one line of JSON like load's. Exit status 1 if an answer was wrong.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

WARM_UP = 1000  # questions
QUESTIONS = 4096
GRACE = 30  # s beyond the measurement; a program that does not answer must not hang the benchmark


def frame(number: int, secret: int) -> bytes:
    """An ejabberd frame: two bytes of length, then the body."""
    body = f"auth:u{number:05}:example.com:{secret:016x}".encode()
    return len(body).to_bytes(2, "big") + body


def pairs() -> list[tuple[bytes, bytes]]:
    """Questions with their right answers: true when the last byte is odd, as in program.c."""
    draw = random.Random(1)
    frames = [frame(number, draw.getrandbits(64)) for number in range(QUESTIONS)]
    return [(question, bytes((0, 2, 0, question[-1] & 1))) for question in frames]


def ask_for(seconds: float, to: int, from_: int) -> tuple[list[int], float]:
    """Each round trip in ns, and the time they took together in s."""
    questions = pairs()
    clock, write, read = time.perf_counter_ns, os.write, os.read
    trips: list[int] = []
    end = started = 0
    number = -WARM_UP
    while number <= 0 or clock() < end:
        if number == 0:
            started = clock()
            end = started + int(seconds * 1e9)
        question, right = questions[number % QUESTIONS]
        asked = clock()
        write(to, question)
        answer = read(from_, 64)
        if number >= 0:
            trips.append(clock() - asked)
        if answer != right:
            sys.exit(f"direct: the answer to question {number} is wrong")
        number += 1
    return trips, (clock() - started) / 1e9


def main() -> None:
    seconds, command = float(sys.argv[1]), sys.argv[2:]
    signal.alarm(int(seconds) + GRACE)
    with subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin and program.stdout
        trips, taken = ask_for(seconds, program.stdin.fileno(), program.stdout.fileno())
        program.stdin.close()
    trips.sort()
    share = len(trips) - 1
    figures = {
        "lines": len(trips),
        "seconds": taken,
        "rate": len(trips) / taken,
        "p50_us": trips[int(0.50 * share)] / 1e3,
        "p99_us": trips[int(0.99 * share)] / 1e3,
        "max_us": trips[-1] / 1e3,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
