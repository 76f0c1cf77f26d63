"""Starting a program: what it inherits, what it does not, and what is left if it cannot be started."""

import contextlib
import fcntl
import gc
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from support import procfs
from support.process import environment

from bridge.worker.spawn import Process, prepare_for_children, start

NOBODY = 65534
C_LIBRARY_S_OWN = 0b11 << 31
"""Signals 32 and 33, which the C library keeps for itself."""

SHOW = "import os, sys; os.write(1, repr({}).encode())"
CAT = ("/bin/cat",)


@pytest.fixture(autouse=True)
def at_home(monkeypatch) -> None:
    """`start` changes to the program's directory; change back after the test."""
    monkeypatch.chdir(os.getcwd())


@contextlib.contextmanager
def started(argv: Sequence[str], cwd: str = "/", env: Mapping[str, str] | None = None) -> Iterator[Process]:
    process = start(argv, cwd, env or {})
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, 0)
        for end in process.descriptors():
            os.close(end)


def piece(descriptor: int) -> bytes:
    """What the program writes there next; empty once it has closed it."""
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    assert ready.poll(20_000), "the program goes on and on"
    return os.read(descriptor, 65536)


def output(descriptor: int) -> bytes:
    """Everything the program writes there until it closes it."""
    return b"".join(iter(lambda: piece(descriptor), b""))


def shown(expression: str, **options: object) -> str:
    """What a Python program sees: the `repr` of `expression`."""
    with started([sys.executable, "-I", "-S", "-c", SHOW.format(expression)], **options) as process:
        return output(process.stdout).decode()


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def children() -> set[int]:
    return {child.pid for child in procfs.children(os.getpid())}


# --- what it gets ----------------------------------------------------------------------------------------


def test_three_pipes() -> None:
    with started(["/bin/sh", "-c", "read line; echo $line; echo error >&2"]) as process:
        os.write(process.stdin, b"question\n")
        assert output(process.stdout) == b"question\n"
        assert output(process.stderr) == b"error\n"


def test_our_ends_are_non_blocking_and_private() -> None:
    with started(CAT) as process:
        for end in (process.stdin, process.stdout, process.stderr):
            assert not os.get_blocking(end)
        for end in process.descriptors():
            assert fcntl.fcntl(end, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        with pytest.raises(BlockingIOError):
            os.read(process.stdout, 1)


def test_its_ends_are_blocking() -> None:
    assert shown("[os.get_blocking(end) for end in (0, 1, 2)]") == "[True, True, True]"


def test_its_exit_is_told() -> None:
    with started(["/bin/sh", "-c", "exit 7"]) as process:
        exited = select.poll()
        exited.register(process.exited, select.POLLIN)
        assert exited.poll(20_000)
        assert os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1]) == 7


def test_it_holds_no_end_of_another_program_s_pipes() -> None:
    """Otherwise one would never see the end of its input."""
    with started(CAT) as first, started(CAT):
        os.close(first.stdin)
        try:
            assert output(first.stdout) == b""
        finally:
            first.stdin = os.open(os.devnull, os.O_RDONLY)


def test_a_session_and_a_group_of_its_own() -> None:
    with started(CAT) as process:
        seen = procfs.process(process.pid)
        assert seen is not None
        assert (seen.group, seen.session, seen.terminal) == (process.pid, process.pid, 0)
        assert seen.parent == os.getpid()


def test_the_directory_it_is_to_be_in(tmp_path: Path) -> None:
    assert shown("os.getcwd()", cwd=str(tmp_path)) == repr(str(tmp_path))
    assert shown("os.getcwd()") == "'/'"


def test_a_name_without_a_slash_is_looked_up(tmp_path: Path, monkeypatch) -> None:
    program = tmp_path / "our-program"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"/nowhere:{tmp_path}:{os.environ['PATH']}")
    with started(["our-program"]) as process:
        assert output(process.stdout) == b"found\n"


def test_default_signals_and_an_empty_mask(monkeypatch) -> None:
    """Whatever was ignored or blocked around us; SIGPIPE is ignored in every Python."""
    old = signal.signal(signal.SIGUSR1, signal.SIG_IGN), signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    try:
        with started(CAT) as process:
            status = procfs.status(process.pid)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR2})
        signal.signal(signal.SIGUSR1, old[0])
        signal.signal(signal.SIGTERM, old[1])
    for field in ("SigBlk", "SigIgn", "SigCgt"):
        assert int(status[field], 16) & ~C_LIBRARY_S_OWN == 0, field


# --- what it does not get --------------------------------------------------------------------------------


def test_nothing_is_inherited_but_0_1_and_2() -> None:
    kept = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        prepare_for_children()
        with started(CAT) as process:
            # Once it answers it is done with what it opens itself to start: its libraries.
            os.write(process.stdin, b"question\n")
            assert piece(process.stdout) == b"question\n"
            assert sorted(procfs.descriptors(process.pid)) == [0, 1, 2]
    finally:
        os.close(kept)


def test_keeping_descriptors_private_leaves_the_three_alone() -> None:
    code = (
        "import os; from bridge.worker.spawn import prepare_for_children as keep; null = os.open('/dev/null', 0);"
        "os.dup2(null, 9); keep(); print([os.get_inheritable(number) for number in (0, 1, 2, 9)])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().strip() == "[True, True, True, False]"


def test_what_was_said_to_us_alone_is_not_passed_on(monkeypatch) -> None:
    ours = {
        "LISTEN_FDS": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDNAMES": "auth",
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "JOURNAL_STREAM": "8:1",
        "INVOCATION_ID": "0",
    }
    for name, value in {**ours, "LISTENER": "kept", "EXTAUTH_TEST_OURS": "ours"}.items():
        monkeypatch.setenv(name, value)
    seen = shown("dict(os.environ)", env={"EXTAUTH_TEST_THEIRS": "theirs", "EXTAUTH_TEST_OURS": "changed"})
    names = eval(seen)
    assert not ours.keys() & names.keys()
    assert names["LISTENER"] == "kept"
    assert names["EXTAUTH_TEST_THEIRS"] == "theirs"
    assert names["EXTAUTH_TEST_OURS"] == "changed"
    assert "PATH" in names


def test_what_env_says_is_passed_on_whatever_its_name() -> None:
    assert shown("os.environ['NOTIFY_SOCKET']", env={"NOTIFY_SOCKET": "theirs"}) == "'theirs'"


# --- where it cannot be started --------------------------------------------------------------------------


def _not_executable(tmp_path: Path) -> list[str]:
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n")
    return [str(path)]


def _without_interpreter(tmp_path: Path) -> list[str]:
    path = tmp_path / "program"
    path.write_text("#!/nowhere/interpreter\n")
    path.chmod(0o755)
    return [str(path)]


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (lambda _: ["/nowhere/program"], FileNotFoundError),
        (lambda _: ["no-such-program-in-the-path"], FileNotFoundError),
        (_not_executable, PermissionError),
        (_without_interpreter, FileNotFoundError),
        (lambda path: [str(path)], PermissionError),
        (lambda _: ["/bin/true", "x" * 200_000], OSError),  # E2BIG
        (lambda _: ["/" + "x" * 300], OSError),  # ENAMETOOLONG
    ],
)
def test_an_error_leaves_nothing_behind(tmp_path: Path, argv, error: type[OSError]) -> None:
    words = argv(tmp_path)
    before, others = open_descriptors(), children()
    for _ in range(3):
        with pytest.raises(error):
            start(words, "/", {})
    assert open_descriptors() <= before
    assert children() <= others


@pytest.mark.parametrize("cwd", ["/nowhere", "/dev/null"])
def test_no_such_directory(cwd: str) -> None:
    before = open_descriptors()
    with pytest.raises(OSError, match="directory"):
        start(CAT, cwd, {})
    assert open_descriptors() <= before


@pytest.mark.parametrize("room", [*range(9), 31, 32, 40])
def test_too_few_descriptors(room: int) -> None:
    """At whatever point they run out: either it starts, or nothing is left."""
    gc.collect()  # or what other tests have left is closed in the middle of this one
    before, others = open_descriptors(), children()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, before)) + 1
    fillers = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(fillers) + 1 + room, hard))
    try:
        there = open_descriptors_within(max(fillers) + 1 + room)
        if room < 32:  # some are kept for others
            with pytest.raises(OSError, match="open files"):
                start(CAT, "/", {})
        else:
            with started(CAT):
                pass
        assert open_descriptors_within(max(fillers) + 1 + room) == there
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)
    assert open_descriptors() <= before
    assert children() <= others


def open_descriptors_within(limit: int) -> list[int]:
    """Like `open_descriptors`, when none is left to list a directory with."""
    found = []
    for number in range(limit):
        with contextlib.suppress(OSError):
            fcntl.fcntl(number, fcntl.F_GETFD)
            found.append(number)
    return found


FORK_FAILS = """
import os, resource
from bridge.worker.spawn import start
os.setgroups([])
os.setgid({nobody})
os.setuid({nobody})
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
before = sorted(os.listdir("/proc/self/fd"))
for _ in range(3):
    try:
        start(("/bin/cat",), "/", {{}})
    except BlockingIOError as error:
        assert error.errno == 11
    else:
        raise SystemExit("it could fork")
assert sorted(os.listdir("/proc/self/fd")) == before
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("nothing left")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="root has no limit of processes, and only root can be another user")
def test_no_more_processes() -> None:
    """EAGAIN, from a real limit."""
    code = FORK_FAILS.format(nobody=NOBODY)
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"nothing left\n"), done.stderr.decode()


def test_a_variable_without_a_name_around_us() -> None:
    """`env =x=y program` makes one; it cannot be passed on, and is no reason to fail."""
    code = "import os; from bridge.worker.spawn import start; os.waitpid(start(('/bin/true',), '/', {}).pid, 0)"
    done = subprocess.run(
        ["/usr/bin/env", "=x=y", sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
