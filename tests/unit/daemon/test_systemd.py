"""What systemd is told, over a socket like its own; nothing it does or fails to do disturbs us."""

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.clients.test_listeners_children import bounded

from bridge.daemon.systemd import STATUS_MAX, Notifier, forget


class Systemd:
    """The receiving end of NOTIFY_SOCKET; `address` is the variable's value."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.start()

    def start(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)

    def stop(self) -> None:
        self._socket.close()

    def received(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    there = Systemd(f"{tmp_path}/notify" if request.param == "path" else f"@extauth-test-{uuid.uuid4()}")
    yield there
    there.stop()


@pytest.fixture
def notifier(systemd: Systemd) -> Iterator[Notifier]:
    there = Notifier.from_environment({"NOTIFY_SOCKET": systemd.address})
    yield there
    there.close()


@pytest.fixture(autouse=True)
def nothing_blocks() -> Iterator[None]:
    with bounded():
        yield


def everything(notifier: Notifier) -> None:
    notifier.ready("serving")
    notifier.status("3 programs")
    notifier.reloading()
    notifier.watchdog()
    notifier.extend_timeout(2.5)
    notifier.stopping("draining")


def fill(notifier: Notifier) -> None:
    """Send more than any datagram queue holds (`net.unix.max_dgram_qlen`)."""
    for number in range(2000):
        notifier.status(str(number))


def test_what_is_said(systemd: Systemd, notifier: Notifier) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    everything(notifier)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert notifier.wanted
    ready, status, reloading, *rest = systemd.received()
    assert (ready, status) == ("READY=1\nSTATUS=serving", "STATUS=3 programs")
    name, microseconds = reloading.split("\n")[1].split("=")
    assert (reloading.split("\n")[0], name) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before <= int(microseconds) <= after
    assert rest == ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=2500000", "STOPPING=1\nSTATUS=draining"]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_nobody_wants_to_know(environ: dict[str, str]) -> None:
    before = os.listdir("/proc/self/fd")
    notifier = Notifier.from_environment({**environ, "WATCHDOG_USEC": "1000000"})
    everything(notifier)
    assert not notifier.wanted
    assert notifier.watchdog_interval is None
    assert os.listdir("/proc/self/fd") == before


def test_nobody_is_there(tmp_path: Path) -> None:
    """ENOENT, ECONNREFUSED, ENOTDIR, a path that is too long, one that is a stream socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(f"{tmp_path}/dead")
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(f"{tmp_path}/stream")
        stream.listen()
        for address in ["missing", "dead", "file/below", "x" * 200, "stream"]:
            notifier = Notifier.from_environment({"NOTIFY_SOCKET": f"{tmp_path}/{address}"})
            everything(notifier)
            notifier.close()


def test_a_full_socket_neither_blocks_nor_raises(systemd: Systemd, notifier: Notifier) -> None:
    fill(notifier)
    everything(notifier)
    first, *rest = systemd.received()
    assert first == "STATUS=0"
    assert len(rest) < 1999, "it was not full"


def test_a_change_of_state_is_not_lost(systemd: Systemd, notifier: Notifier) -> None:
    """Without it systemd would kill us: the start, or the reload, would never complete."""
    fill(notifier)
    notifier.reloading()
    notifier.ready("reloaded")
    notifier.watchdog()
    systemd.received()
    notifier.watchdog()
    reloading, ready, watchdog = systemd.received()
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert (ready, watchdog) == ("READY=1\nSTATUS=reloaded", "WATCHDOG=1")
    notifier.watchdog()
    assert systemd.received() == ["WATCHDOG=1"]


def test_what_is_owed_is_bounded_and_the_newest(systemd: Systemd, notifier: Notifier) -> None:
    fill(notifier)
    for number in range(100):
        notifier.reloading()
        notifier.ready(str(number))
    notifier.stopping("bye")
    systemd.received()
    notifier.status("still here")
    *older, ready, stopping, status = systemd.received()
    assert (ready, stopping, status) == ("READY=1\nSTATUS=99", "STOPPING=1\nSTATUS=bye", "STATUS=still here")
    assert len(older) <= 2


def test_systemd_is_started_again(systemd: Systemd, notifier: Notifier) -> None:
    systemd.stop()
    if not systemd.address.startswith("@"):
        notifier.watchdog()  # ECONNREFUSED
        os.unlink(systemd.address)
    notifier.ready("up")  # ENOENT, or ECONNREFUSED
    systemd.start()
    notifier.watchdog()
    assert systemd.received() == ["READY=1\nSTATUS=up", "WATCHDOG=1"]


def test_once_closed_it_says_nothing(systemd: Systemd, notifier: Notifier) -> None:
    notifier.close()
    everything(notifier)
    assert systemd.received() == []


def test_no_program_inherits_it(notifier: Notifier) -> None:
    assert notifier._socket is not None
    assert not os.get_inheritable(notifier._socket.fileno())


@pytest.mark.parametrize("say", [Notifier.ready, Notifier.status, Notifier.stopping])
def test_a_text_cannot_forge_a_field(
    systemd: Systemd, notifier: Notifier, say: Callable[[Notifier, str], None]
) -> None:
    say(notifier, "fine\nMAINPID=1\r\0\x1b[2J\u2028ü")
    (message,) = systemd.received()
    assert message.split("\n")[-1] == "STATUS=fine\\nMAINPID=1\\r\\x00\\x1b[2J\\u2028ü"


def test_a_long_text_is_cut_and_says_so(systemd: Systemd, notifier: Notifier) -> None:
    notifier.status("x" * STATUS_MAX)
    notifier.status("x" * 1_000_000)
    whole, cut = systemd.received()
    assert whole == "STATUS=" + "x" * STATUS_MAX
    assert cut == "STATUS=" + "x" * (STATUS_MAX - 3) + "…"


@given(st.text(st.characters()))
def test_any_text_is_one_line_of_utf_8_that_systemd_reads(text: str) -> None:
    name = f"@extauth-test-{uuid.uuid4()}"
    systemd, notifier = Systemd(name), Notifier.from_environment({"NOTIFY_SOCKET": name})
    notifier.status(text)
    (message,) = systemd.received()
    notifier.close()
    systemd.stop()
    assert message.isprintable()
    assert message.startswith("STATUS=")
    assert len(message.encode()) <= STATUS_MAX + 7


@pytest.mark.parametrize(
    ("variables", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "us"}, 15.0),
        ({"WATCHDOG_USEC": "1500000"}, 0.75),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, None),
        ({"WATCHDOG_PID": "us"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "9" * 400}, None),
    ],
)
def test_the_watchdog_s_interval(variables: dict[str, str], interval: float | None) -> None:
    variables = {name: str(os.getpid()) if value == "us" else value for name, value in variables.items()}
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "/nowhere", **variables})
    assert notifier.watchdog_interval == interval
    notifier.close()


def test_what_was_said_to_us_alone_is_forgotten() -> None:
    environ = {
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "auth",
        "LISTEN_PIDFDID": "7",
        "NOTIFY_SOCKET": "/run/x",
        "WATCHDOG_PID": "1",
        "WATCHDOG_USEC": "1",
        "JOURNAL_STREAM": "8:1",
        "LISTENER": "ours",
        "PATH": "/bin",
    }
    forget(environ)
    assert environ == {"JOURNAL_STREAM": "8:1", "LISTENER": "ours", "PATH": "/bin"}
    forget(environ)


def test_a_new_process_does_not_see_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    forget(os.environ)
    reader, writer = os.pipe()
    pid = os.posix_spawn("/usr/bin/env", ["env"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
    os.close(writer)
    with open(reader, "rb") as output:
        assert b"NOTIFY_SOCKET" not in output.read()
    os.waitpid(pid, 0)
