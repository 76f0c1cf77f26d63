"""Forced shutdown, in separate processes: whatever hangs there, they end in time."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest
from support.process import environment

PATIENCE = 30.0
"""Seconds; reached only by a test that fails."""

BEGIN = """
import os, signal, sys, time
from bridge.daemon.lastresort import LastResort
def act():
    os.write(1, b"act ")
"""


class Process:
    """A Python process that runs `code` after BEGIN."""

    def __init__(self, code: str, **how: object) -> None:
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + textwrap.dedent(code)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **how,  # type: ignore[call-overload]
        )

    def end(self) -> tuple[int, str]:
        """Its exit status and its output; nothing may appear on stderr, which may be where answers go."""
        try:
            said, errors = self.process.communicate(timeout=PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
        assert errors == b""
        return self.process.returncode, said.decode()


HANGS = {
    "a wait": "time.sleep(1000)",
    "a lock": "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "a program": "import subprocess; subprocess.run(['sleep', '9'], stdout=-3, stderr=-3)",
    "a pipe": "os.read(os.pipe()[0], 1)",
    "work": "while True: pass",
    "one that catches everything": """
while True:
    try:
        time.sleep(1000)
    except BaseException:
        pass
""",
}


@pytest.mark.parametrize("hangs", HANGS.values(), ids=HANGS)
@pytest.mark.parametrize("status", [70, 0])
def test_what_hangs_is_ended(hangs: str, status: int) -> None:
    code = f"LastResort([act, act], {status}).exit_within(0.3)\n" + hangs
    assert Process(code).end() == (status, "act act ")


def test_an_act_that_raises_stops_no_other() -> None:
    assert Process("LastResort([lambda: 1 / 0, act], 70).exit_within(0.1); time.sleep(1000)").end() == (70, "act ")


def test_an_act_that_hangs_is_ended_too() -> None:
    code = "LastResort([act, lambda: time.sleep(1000), act], 70).exit_within(0.1); time.sleep(1000)"
    assert Process(code).end() == (70, "act ")


@pytest.mark.slow
def test_where_no_signal_is_obeyed_it_is_over_all_the_same() -> None:
    """As if the interpreter had stopped running."""
    code = "LastResort([act], 70).exit_within(0.1); signal.pthread_sigmask(signal.SIG_BLOCK, [14]); time.sleep(1000)"
    status, _ = Process(code).end()
    assert status == 1


def test_who_leaves_in_time_never_hears_of_it() -> None:
    code = """
        before = signal.getsignal(signal.SIGALRM)
        last = LastResort([act], 70)
        signal.pthread_sigmask(signal.SIG_BLOCK, [14])  # in time, however long a busy CPU takes for these two
        last.exit_within(0.2)
        last.close()
        assert signal.getsignal(signal.SIGALRM) == before
        signal.sigtimedwait([14], 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [14])
        time.sleep(0.5)
        print("left")
        sys.exit(3)
    """
    assert Process(code).end() == (3, "left\n")


@pytest.mark.parametrize("first, second", [(0.3, 1000.0), (1000.0, 0.3)])
def test_the_earlier_time_counts(first: float, second: float) -> None:
    code = f"last = LastResort([act], 70); last.exit_within({first}); last.exit_within({second}); time.sleep(1000)"
    assert Process(code).end() == (70, "act ")


def test_after_a_failure_sigterm_is_at_once() -> None:
    """Even with signals blocked, as trio's task leaves them."""
    code = """
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        LastResort([act], 70).exit_within(1000.0, failed=True)
        print("ready", flush=True)
        time.sleep(1000)
    """
    process = Process(code)
    assert process.process.stdout is not None
    assert process.process.stdout.readline() == b"ready\n"
    process.process.send_signal(signal.SIGTERM)
    assert process.end() == (70, "act ")


def test_without_memory_it_still_ends() -> None:
    """All memory the limit allows is taken, twice, in pieces of every size; the acts need some."""
    code = """
        import resource
        kept = None
        def need():
            kept2 = bytearray(2 << 20)
            act()
        last = LastResort([need], 70)
        size = int(open("/proc/self/statm").read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (size + (8 << 20),) * 2)
        def take(pieces):
            global kept
            for piece in pieces:
                try:
                    while True:
                        kept = kept, bytearray(piece)
                except MemoryError:
                    pass
        take((1 << 20, 1 << 16, 4096, 512, 64))
        last.exit_within(0.5)
        take((1 << 20, 1 << 16))
        while True:
            try:
                time.sleep(1000)
            except MemoryError:
                pass
    """
    assert Process(code).end() == (70, "act ")


def test_where_there_can_be_no_thread_the_signal_is_enough() -> None:
    code = """
        import faulthandler
        def none(*_, **__):
            raise RuntimeError("unable to start watchdog thread")
        faulthandler.dump_traceback_later = none
        LastResort([act], 70).exit_within(0.1)
        time.sleep(1000)
    """
    assert Process(code).end() == (70, "act ")


def test_it_leaves_no_descriptor() -> None:
    code = """
        before = os.listdir("/proc/self/fd")
        last = LastResort([act], 70)
        last.exit_within(100.0)
        last.close()
        assert os.listdir("/proc/self/fd") == before
    """
    assert Process(code).end() == (0, "")
