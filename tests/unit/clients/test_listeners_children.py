"""For tests of sockets: other processes, forked, with a deadline."""

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator

import pytest

PATIENCE = 20.0
"""Seconds; reached only by a test that fails."""


class Child:
    """A forked process that does `work`, whose result is a text, and then keeps everything open until `end`."""

    def __init__(self, work: Callable[[], str]) -> None:
        self._result, writer = os.pipe()
        stay, self._leave = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._leave)
                os.write(writer, _outcome(work).encode())
                os.read(stay, 1)  # ends with the test run, at the latest
            finally:
                os._exit(0)
        os.close(writer)
        os.close(stay)

    def result(self) -> str:
        """The result of `work`, or the error it raised."""
        ready = select.poll()
        ready.register(self._result, select.POLLIN)
        assert ready.poll(PATIENCE * 1000), "it did not come to an end"
        return os.read(self._result, 65536).decode()

    def end(self) -> None:
        os.close(self._result)
        os.close(self._leave)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _outcome(work: Callable[[], str]) -> str:
    try:
        return work()
    except BaseException as error:  # in a fork of pytest nothing may go further
        return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def children(*works: Callable[[], str]) -> Iterator[list[Child]]:
    """Start all at once, and leave none behind."""
    with contextlib.ExitStack() as undo:
        begun = []
        for work in works:
            begun.append(child := Child(work))
            undo.callback(child.end)
        yield begun


def in_child(work: Callable[[], str]) -> str:
    with children(work) as (child,):
        return child.result()


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Whatever blocks fails instead of hanging."""

    def too_late(*_: object) -> None:
        raise AssertionError("it blocks")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(int(PATIENCE))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_child_s_result_and_its_error() -> None:
    assert in_child(lambda: "done") == "done"
    assert in_child(lambda: {}["x"]) == "KeyError: 'x'"


def test_what_blocks_fails() -> None:
    reader, writer = os.pipe()
    with pytest.raises(AssertionError, match="it blocks"), bounded():
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        os.read(reader, 1)
    os.close(reader)
    os.close(writer)
