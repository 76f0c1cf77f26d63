"""Many clients with full windows on a pool that has just been started, whose programs are watched most closely then."""

import select
import time
from pathlib import Path

import pytest
from support.programs.bad import compiled

pytestmark = pytest.mark.slow

CLIENTS, LINES = 60, 128


def test_everybody_is_answered_in_time(serve, tmp_path: Path) -> None:
    """A slice ends however much there is to do: else nothing is written before all is done, and no time is kept."""
    patient = ("--answer-timeout", 60)  # a busy machine is not to be taken for an overload
    daemon = serve("--pool-size", 16, "--window", LINES, "--max-requests", 0, *patient, "--", *compiled(tmp_path))
    clients = [daemon.connect() for _ in range(CLIENTS)]
    question = b"".join(b"auth:u%d:h:pw-u%d\n" % (number, number) for number in range(LINES))
    for _ in range(2):
        got, first = dict.fromkeys(clients, b""), time.monotonic() + 60
        for client in clients:
            client.sendall(question)
        sent = time.monotonic()
        while any(len(answers) < 2 * LINES for answers in got.values()):
            assert time.monotonic() < sent + 60
            for client in select.select(clients, [], [], 1.0)[0]:
                got[client] += client.recv(65536)
                first = min(first, time.monotonic())
        assert first - sent < 0.75 * (time.monotonic() - sent), "nothing before nearly all was done"
        assert set(got.values()) == {b"1\n" * LINES}
