"""The one promise, for many clients of the daemon at once, while everything around them goes wrong.

Programs misbehave and are killed, the daemon is reloaded with other programs and windows, clients vanish.  Still every
line of who stays gets one answer, in order, and none gets another's `1`: each line is about a user of its own, and
what is true of it has no pattern.
"""

import contextlib
import itertools
import json
import os
import random
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemon.serving import Daemon, ask
from support.process import Answer
from support.programs.bad import CHAMELEON

from .test_promise import check_verdicts, mix

pytestmark = pytest.mark.slow

CLIENTS, LINES = 8, 600
IN_FLIGHT = [1, 7, 60, 400]
DEADLINE = 60.0
"""Seconds; reached only by a test that fails."""

HELLO = b"extauth-bridge:answers:3"


def converse(client: socket.socket, lines: list[bytes], in_flight: int) -> list[Answer]:
    """Ask with so many lines in flight, in pieces that know no lines; the answers and what each took."""
    client.setblocking(False)
    ends = [0, *itertools.accumulate(len(line) + 1 for line in lines)]
    stream, sent, got = b"".join(line + b"\n" for line in lines), 0, b""
    asked_at: list[float] = []
    answers: list[Answer] = []
    until = time.monotonic() + DEADLINE
    while len(answers) < len(lines):
        assert time.monotonic() < until, f"{len(answers)} of {len(lines)} answers"
        allowed = ends[min(len(lines), len(answers) + in_flight)]
        readable, writable, _ = select.select([client], [client] if sent < allowed else [], [], 5.0)
        if writable:
            sent += client.send(stream[sent : min(allowed, sent + 700)])
            now = time.monotonic()
            while len(asked_at) < len(lines) and ends[len(asked_at) + 1] <= sent:
                asked_at.append(now)
        if readable:
            piece = client.recv(65536)
            assert piece, "the daemon hung up"
            got += piece
            now = time.monotonic()
            for place in range(len(answers), len(got) // 2):
                verdict, end = got[2 * place : 2 * place + 1].decode(), got[2 * place + 1 : 2 * place + 2]
                assert end == b"\n"
                assert place < len(asked_at), "an answer to a line that is not there"
                answers.append(Answer(verdict, now - asked_at[place]))
    return answers


def vanish(daemon: Daemon, lines: list[bytes], stop: threading.Event, chance: random.Random) -> None:
    """Clients that ask much and go, in the middle of a line or without having read."""
    while not stop.is_set():
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(daemon.path))
            client.send(b"\n".join(chance.sample(lines, 20))[: chance.randrange(1, 900)])
            if chance.random() < 0.3:
                client.shutdown(socket.SHUT_WR)
            stop.wait(chance.random() * 0.02)


def test_many_clients_while_everything_goes_wrong(
    serve: Callable[..., Daemon], tmp_path: Path, dice: random.Random
) -> None:
    file = tmp_path / "auth.toml"

    def configure(number: int) -> None:
        """The same programs as before or, to the daemon, others; another window each time."""
        settings = [f"program = {json.dumps(CHAMELEON)}", "pool_size = 8", "answer_timeout = 1.0", "max_requests = 90"]
        settings += [f"window = {dice.choice([1, 3, 40, 256])}", f"env = {{ NUMBER = '{number // 2}' }}"]
        file.with_suffix(".new").write_text("\n".join(settings))
        file.with_suffix(".new").rename(file)

    configure(0)
    daemon = serve(file=file)
    assert ask(daemon.connect(), b"isuser:u:h") == b"1\n"
    questions = [mix(LINES, dice) for _ in range(CLIENTS)]
    answers: dict[int, list[Answer]] = {}
    failed: list[BaseException] = []
    done = threading.Event()

    def client(number: int) -> None:
        try:
            stream = daemon.connect()  # closed with the daemon
            wants_more = number % 3 == 0
            lines = [HELLO, *questions[number]] if wants_more else questions[number]
            answers[number] = converse(stream, lines, IN_FLIGHT[number % 4])[wants_more:]
        except BaseException as error:
            failed.append(error)

    people = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    stray = [b"isuser:stray%d:h" % number for number in range(50)]
    passers_by = threading.Thread(target=vanish, args=(daemon, stray, done, random.Random(dice.random())))
    for thread in (*people, passers_by):
        thread.start()
    rounds = 0
    while any(thread.is_alive() for thread in people):
        rounds += 1
        done.wait(0.15)
        if rounds % 4 == 0:
            configure(rounds // 4)
            daemon.reload()
        elif programs := daemon.programs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(dice.choice(programs), signal.SIGKILL)
    done.set()
    for thread in (*people, passers_by):
        thread.join()
    if failed:
        raise failed[0]
    for number in range(CLIENTS):
        with_unknown = [Answer(answer.verdict.replace("2", "0"), answer.seconds) for answer in answers[number]]
        check_verdicts(questions[number], with_unknown, allowed_losses=LINES // 4)
        if IN_FLIGHT[number % 4] == 1:  # the others' lines wait for room in the window, too
            assert max(answer.seconds for answer in with_unknown) < 2.0
    assert rounds > 8, "two reloads at least, one of them with other programs"
