"""Daemons that start, stop and are killed at the same moment: one path never has two owners."""

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.clients.test_listeners_children import children

from bridge.clients.listeners import Listener, ListenError, listen, peer

TAKEN = "another daemon listens there"
BUSY = -1


def owner(path: str) -> int:
    """The pid of the process that listens there, or BUSY."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(path)
        except BlockingIOError:
            return BUSY
        return peer(client).pid


def accept_all(listener: Listener) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.socket.accept()[0].close()


def starter(path: str, go: int, start: int) -> Callable[[], str]:
    """Listens as soon as the last `start` is closed."""
    kept: list[Listener] = []

    def work() -> str:
        os.close(start)
        os.read(go, 1)
        try:
            kept.append(listen(path, 0o600))
        except ListenError as error:
            return str(error)
        return "won"

    return work


@pytest.mark.parametrize("left_behind", [True, False])
def test_of_many_that_start_at_once_one_wins(tmp_path: Path, left_behind: bool) -> None:
    for attempt in range(15):
        path = f"{tmp_path}/{attempt}.sock"
        if left_behind:
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(path)
        go, start = os.pipe()
        with children(*[starter(path, go, start) for _ in range(6)]) as begun:
            os.close(start)
            results = {child.pid: child.result() for child in begun}
            assert sorted(results.values()) == [f"{path}: {TAKEN}"] * 5 + ["won"]
            assert results[owner(path)] == "won"
        os.close(go)


def churn(path: str, times: int) -> str:
    """Own the path that many times, and be found there each time.  Half of the daemons are killed."""
    won = 0
    while won < times:
        try:
            listener = listen(path, 0o600)
        except ListenError as error:
            if TAKEN not in str(error):
                raise
            continue
        won += 1
        for _ in range(3):
            accept_all(listener)  # the others' looks whether we live: a full queue would make us wait for ourselves
            if (found := owner(path)) not in (os.getpid(), BUSY):
                return f"{os.getpid()} owns the path, but there is {found}"
        if won % 2:
            listener.socket.close()
        else:
            listener.close()
    return "found there"


def test_who_owns_the_path_is_found_there_whoever_comes_and_goes(tmp_path: Path) -> None:
    path = f"{tmp_path}/auth.sock"
    with children(*[lambda: churn(path, 40)] * 5) as begun:
        assert [child.result() for child in begun] == ["found there"] * 5
    listen(path, 0o600).close()
    assert os.listdir(tmp_path) == []
