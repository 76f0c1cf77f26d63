"""What a program is started with: session, signals, directory, variables, descriptors, limits."""

import os
import resource
import signal
import socket
from pathlib import Path

import pytest
from support import procfs
from support.process import MARK, Bridge
from support.programs.bad import CHAMELEON, Journal

from .conftest import Start

# A program that changes nothing of what it was given: no interpreter with signal handlers of its own.
SLEEP = ("/bin/sleep", "1000")


def one_program(bridge: Bridge) -> int:
    (pid,) = bridge.wait_for_programs(1)
    return pid


def run_sleep(start: Start, **options: object) -> Bridge:
    return start("run", "--pool-size", 1, "--shutdown-grace", 0.2, "--", *SLEEP, **options)


def test_a_session_and_a_group_of_its_own(start: Start) -> None:
    bridge = start("run", "--pool-size", 3, "--shutdown-grace", 0.2, "--", *SLEEP)
    for pid in bridge.wait_for_programs(3):
        found = procfs.process(pid)
        assert found is not None
        assert (found.session, found.group, found.terminal, found.parent) == (pid, pid, 0, bridge.pid)
    bridge.finish()


SIGNALS = [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGCHLD, signal.SIGUSR2]


# 32 and 33 are glibc's own: its posix_spawn(3) leaves them ignored, and no program can name them.
LIBC_SIGNALS = 1 << 31 | 1 << 32


@pytest.mark.parametrize("ignored", [(), tuple(SIGNALS)], ids=["as usual", "much ignored and blocked"])
def test_signals_are_as_at_boot(start: Start, ignored: tuple[signal.Signals, ...]) -> None:
    """Whatever the caller of the bridge ignores or blocks: a daemon, nohup, Prosody with its SIGPIPE."""

    def ignore_and_block() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        if ignored:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGALRM, signal.SIGWINCH])

    bridge = run_sleep(start, prepare=ignore_and_block)
    status = procfs.status(one_program(bridge))
    for field in ("SigIgn", "SigBlk", "SigCgt"):
        assert int(status[field], 16) & ~LIBC_SIGNALS == 0, field
    bridge.finish()


def test_sigchld_ignored_at_start_breaks_nothing(start: Start, journal: Journal) -> None:
    """Where it is inherited as ignored, the kernel reaps children before anybody can wait for them."""
    bridge = start(
        *("run", "--pool-size", 2, "--", *CHAMELEON),
        prepare=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN) and None,
        env=journal.environment,
    )
    for number in range(5):
        assert bridge.ask(b"isuser:dieonce-u%d:h" % number).verdict == "1"
        assert bridge.ask(b"isuser:exits-u%d:h" % number).verdict == "1"
    bridge.finish()


@pytest.mark.parametrize("blocked", [signal.SIGTERM, signal.SIGCHLD], ids=lambda number: number.name)
def test_a_signal_blocked_at_start_is_still_obeyed(start: Start, blocked: signal.Signals) -> None:
    """A mask is inherited through exec; the stop sequence must not depend on the caller's."""
    bridge = start(
        *("run", "--pool-size", 2, "--", *CHAMELEON),
        prepare=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [blocked]) and None,
    )
    assert bridge.ask(b"isuser:die-alice:h").verdict == "0"
    assert bridge.ask(b"isuser:alice:h").verdict == "1"
    bridge.signal(signal.SIGTERM)
    assert bridge.wait(5) == 0
    bridge.check_nothing_left()


def test_directory(start: Start, tmp_path: Path) -> None:
    bridge = run_sleep(start)
    assert os.readlink(f"/proc/{one_program(bridge)}/cwd") == "/"
    bridge.finish()
    bridge = start("run", "--pool-size", 1, "--shutdown-grace", 0.2, "--cwd", tmp_path, "--", *SLEEP)
    assert os.readlink(f"/proc/{one_program(bridge)}/cwd") == str(tmp_path)
    bridge.finish()


def test_a_directory_that_does_not_exist(start: Start, tmp_path: Path) -> None:
    """The start fails like any other: a no, no traceback, and it works once the directory is there."""
    missing = tmp_path / "missing"
    bridge = start("run", "--pool-size", 1, "--answer-timeout", 10, "--cwd", missing, "--", *CHAMELEON)
    bridge.wait_until_up()
    answer = bridge.ask(b"isuser:alice:h")
    assert answer.verdict == "0"
    assert answer.seconds < 5, "nothing is waited for that will not come"
    missing.mkdir()
    bridge.until(lambda: bridge.ask(b"isuser:alice:h").verdict == "1", "a good answer", 15)
    bridge.finish()


SUPERVISORS = {
    "LISTEN_PID": "1",
    "LISTEN_FDS": "2",
    "LISTEN_FDNAMES": "auth:status",
    "LISTEN_PIDFDID": "7",
    "NOTIFY_SOCKET": "/nonexistent/notify",
    "WATCHDOG_PID": "1",
    "WATCHDOG_USEC": "30000000",
    "JOURNAL_STREAM": "8:12345",
    "INVOCATION_ID": "0123456789abcdef0123456789abcdef",
}


def test_variables(start: Start, configure) -> None:
    """The bridge's own, without what a supervisor meant for the bridge alone, and those of `env`."""
    file = configure(
        program=SLEEP,
        pool_size=1,
        shutdown_grace=0.2,
        env={"DB": "/var/lib/auth.db", "OVERRIDDEN": "new", "EMPTY": "", "NOT_ASCII": "ü = 1", "LISTENER": "x"},
        log={"target": "stderr"},
    )
    kept = {"PLAIN": "kept", "OVERRIDDEN": "old", "NOTIFY": "kept", "LISTEN": "kept", "WATCHDOG": "kept"}
    bridge = start("run", file, env={**SUPERVISORS, **kept})
    found = procfs.environment(one_program(bridge))
    assert not SUPERVISORS.keys() & found.keys()
    assert found["DB"] == "/var/lib/auth.db"
    assert found["OVERRIDDEN"] == "new"
    assert found["EMPTY"] == ""
    assert found["NOT_ASCII"] == "ü = 1"
    assert found["LISTENER"] == "x"
    assert {name: found[name] for name in ("PLAIN", "NOTIFY", "LISTEN", "WATCHDOG")} == dict.fromkeys(
        ("PLAIN", "NOTIFY", "LISTEN", "WATCHDOG"), "kept"
    )
    assert found[MARK] == bridge.mark
    assert found["PATH"] == os.environ["PATH"]
    bridge.finish()


def test_nothing_is_inherited_but_stdin_stdout_stderr(start: Start, tmp_path: Path) -> None:
    """Neither what the bridge was given on top, nor its own, nor another program's pipes."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    extra = [os.open(tmp_path, os.O_RDONLY), os.dup(listener.fileno()), *os.pipe()]
    high = os.dup2(extra[0], 700)
    bridge = start(*("run", "--pool-size", 4, "--shutdown-grace", 0.2, "--", *SLEEP), pass_fds=[*extra, high])
    pipes: list[str] = []
    for pid in bridge.wait_for_programs(4):
        # A program that is only starting has a library open.
        bridge.until(lambda pid=pid: set(procfs.descriptors(pid)) == {0, 1, 2}, "three descriptors")
        pipes += procfs.descriptors(pid).values()
    # Each has its own three, and none of them is the client's.
    assert len(set(pipes)) == 12
    theirs = {procfs.descriptors(bridge.pid)[number] for number in (0, 1, 2)}
    assert not theirs & set(pipes)
    bridge.finish()
    listener.close()
    for descriptor in (*extra, high):
        os.close(descriptor)


def unlimited_core() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def test_no_core_file(start: Start) -> None:
    """A core file would hold passwords: the bridge's, and those of the programs."""
    bridge = run_sleep(start, prepare=unlimited_core)
    for pid in (one_program(bridge), bridge.pid):
        assert procfs.limit(pid, "Max core file size")[0] == "0"
    bridge.finish()


def test_no_core_file_of_a_relay(start: Start, tmp_path: Path) -> None:
    bridge = start("connect", tmp_path / "nobody", prepare=unlimited_core)
    assert bridge.ask(b"isuser:alice:example.com").verdict == "0"
    assert procfs.limit(bridge.pid, "Max core file size")[0] == "0"
    bridge.finish()


def test_arguments_arrive_as_they_were_written(start: Start, configure) -> None:
    """As a list word by word; as one string split as a shell would, but with no shell's expansions."""
    words = ["/bin/sh", "-c", "sleep 1000; :", "two words", "", "*", "$HOME", "ü", "--pool-size", "a'b\"c\\"]
    line = r"""/bin/sh -c "sleep 1000; :" 'two words' "" * $HOME ü --pool-size a\'b\"c\\"""
    for program in (words, line):
        bridge = start("run", configure(program=program, pool_size=1, shutdown_grace=0.2))
        assert procfs.arguments(one_program(bridge)) == words
        bridge.finish()
    bridge = start("run", "--pool-size", 1, "--shutdown-grace", 0.2, "--", *words)
    assert procfs.arguments(one_program(bridge)) == words
    bridge.finish()
