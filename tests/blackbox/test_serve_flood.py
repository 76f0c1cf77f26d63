"""Many clients with full windows on a pool that has just been started, whose programs are watched most closely then."""

import os
import select
import signal
import time
from pathlib import Path

import pytest
from support.faults import fault
from support.programs.bad import compiled

pytestmark = pytest.mark.slow

CLIENTS, LINES = 60, 128

NOTING = """
    import os, time
    from bridge.clients.pipelined import PipelinedSession
    from bridge.clients.windowed import WindowedSession
    file = os.open({file!r}, os.O_WRONLY | os.O_APPEND)
    def noting(method):
        def noted(self, data):
            os.write(file, b"%b %f\\n" % (method.__name__.encode(), time.process_time()))
            method(self, data)
        return noted
    PipelinedSession._take = noting(PipelinedSession._take)
    WindowedSession._write = noting(WindowedSession._write)
"""
"""Notes how much CPU time the daemon has taken when it asks, and when it writes answers: a busy machine, on which we
might look late, changes nothing about that."""


def test_everybody_is_answered_in_time(serve, tmp_path: Path) -> None:
    """A slice ends however much there is to do: else nothing is written before all is done, and no time is kept."""
    file = tmp_path / "noted"
    file.touch()
    patient = ("--answer-timeout", 60)  # a busy machine is not to be taken for an overload
    options = ("--pool-size", 16, "--window", LINES, "--max-requests", 0, *patient, "--", *compiled(tmp_path))
    daemon = serve(*options, env=fault(tmp_path, NOTING.format(file=str(file))))
    clients = [daemon.connect() for _ in range(CLIENTS)]
    question = b"".join(b"auth:u%d:h:pw-u%d\n" % (number, number) for number in range(LINES))
    for _ in range(2):
        file.write_bytes(b"")
        got = dict.fromkeys(clients, b"")
        os.kill(daemon.process.pid, signal.SIGSTOP)  # it is to find all of them at once
        for client in clients:
            client.sendall(question)
        os.kill(daemon.process.pid, signal.SIGCONT)
        sent = time.monotonic()
        while any(len(answers) < 2 * LINES for answers in got.values()):
            assert time.monotonic() < sent + 60
            for client in select.select(clients, [], [], 1.0)[0]:
                got[client] += client.recv(65536)
        noted = [line.split() for line in file.read_text().splitlines()]
        began = min(float(at) for what, at in noted if what == "_take")
        written = [float(at) - began for what, at in noted if what == "_write"]
        assert min(written) < 0.5 * max(written), "nothing before much of it was done"
        assert set(got.values()) == {b"1\n" * LINES}
