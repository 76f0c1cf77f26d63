"""What a test leaves behind is not held against a later one: what one that failed had open, and where it went."""

import contextlib
import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import Generator

import hypothesis
import pytest
from support import canary

from bridge.loop import reactor

hypothesis.settings.register_profile("usual", deadline=None)  # the machine may be busy
hypothesis.settings.register_profile("brief", hypothesis.settings.get_profile("usual"), max_examples=20)
hypothesis.settings.load_profile("usual")

_failed: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(canary)
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:  # in a shell's background job, and in all that it starts
            signal.signal(number, handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _failed.append(report.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Sockets and processes of its frames would be collected in whichever test allocates much, with warnings that fail
    that one: the state machines of hypothesis, each time.
    """
    result = yield
    if _failed:
        _failed.clear()
        for name in ("last_exc", "last_type", "last_value", "last_traceback"):  # where pytest keeps the frames
            vars(sys).pop(name, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    return result


@pytest.fixture(autouse=True)
def here() -> Generator[None]:
    """Whoever starts a program in this process leaves the directory."""
    directory = os.getcwd()
    yield
    with contextlib.suppress(FileNotFoundError):  # it was a test's own
        os.chdir(directory)


@pytest.fixture(autouse=True)
def all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One turn of a reactor handles all that is there, however long a busy machine, or a stopped one, lets it wait.

    Not without end: some tests have it always find something.  So its slices are long, and of its own CPU time.
    """
    monkeypatch.setattr(reactor, "SLICE", 0.25)
    monkeypatch.setattr(reactor, "monotonic", time.thread_time)
