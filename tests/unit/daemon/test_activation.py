"""Sockets passed by the real systemd-socket-activate, and wrong ones of all kinds."""

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.components import command
from unit.clients.test_listeners_children import PATIENCE, bounded

from bridge.clients.listeners import ListenError
from bridge.daemon.activation import Handed, handed_over

ROOT = Path(__file__).parents[3]

DAEMON = """
import json, os, select
from bridge.daemon.activation import handed_over
from bridge.daemon.systemd import forget

handed = handed_over(os.environ, os.getpid())
forget(os.environ)
sockets = [
    (name, sock.fileno(), os.get_blocking(sock.fileno()), os.get_inheritable(sock.fileno()), sock.getsockname())
    for name, sock in handed.sockets
]
left = [name for name in os.environ if name.startswith("LISTEN_")]
ready, _, _ = select.select([sock for _, sock in handed.sockets], [], [], 20)
client, _ = ready[0].accept()
client.sendall(json.dumps([sockets, handed.reason, left]).encode())
client.close()
"""


def activated(paths: Sequence[str], *options: str) -> tuple[list[list[object]], str, list[str]]:
    """What a daemon reports about itself to its first client, on the last of `paths`."""
    activate = command("systemd-socket-activate", "systemd")
    listen = [f"--listen={path}" for path in paths]
    daemon = subprocess.Popen(
        [activate, *listen, *options, f"-EPYTHONPATH={ROOT}", sys.executable, "-c", DAEMON],
        stderr=subprocess.PIPE,
        bufsize=0,  # a line that is read ahead would be waited for in vain
    )
    assert daemon.stderr is not None
    try:
        for _ in paths:
            assert select.select([daemon.stderr], [], [], PATIENCE)[0]
            assert b"Listening on" in daemon.stderr.readline()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(paths[-1])
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert daemon.wait(PATIENCE) == 0, daemon.stderr.read()
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stderr.close()
    sockets, reason, left = json.loads(answer)
    return sockets, reason, left


def test_activated_without_names(tmp_path: Path) -> None:
    paths = [f"{tmp_path}/a", f"{tmp_path}/b"]
    sockets, reason, left = activated(paths)
    assert sockets == [["auth", 3, False, False, paths[0]], ["status", 4, False, False, paths[1]]]
    assert (reason, left) == ("", [])
    assert all(map(os.path.exists, paths)), "they are not the daemon's to remove"


@pytest.mark.parametrize(
    ("names", "expected"),
    [("auth", ["auth"]), ("status:auth", ["status", "auth"]), ("auth:auth:status", ["auth", "auth", "status"])],
)
def test_activated_with_names(tmp_path: Path, names: str, expected: list[str]) -> None:
    paths = [f"{tmp_path}/{number}" for number in range(len(expected))]
    sockets, reason, _ = activated(paths, f"--fdname={names}")
    assert [socket[0] for socket in sockets] == expected
    assert [socket[4] for socket in sockets] == paths
    assert reason == ""


def test_a_client_that_woke_us_is_served(tmp_path: Path) -> None:
    """`activated` is that client: it connected before the daemon was there.  One socket is enough."""
    sockets, _, _ = activated([f"{tmp_path}/a"])
    assert len(sockets) == 1


def handed(descriptors: Sequence[int], **variables: str) -> str:
    """The result of a process started with these descriptors from 3 up, and with these variables."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(writer, 100)
            _become(descriptors)
            os.write(100, _taken(len(descriptors), variables).encode())
        except BaseException as error:  # in a fork of pytest nothing may go further
            os.write(100, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with bounded(), open(reader) as outcome:
        text = outcome.read()
        os.waitpid(pid, 0)
    return text


def _become(descriptors: Sequence[int]) -> None:
    """Have these from 3 up, without close-on-exec, and no others below 40."""
    spare = [os.dup2(descriptor, 200 + number) for number, descriptor in enumerate(descriptors)]
    os.closerange(3, 40)
    for number, descriptor in enumerate(spare):
        os.dup2(descriptor, 3 + number)


def _taken(count: int, variables: dict[str, str]) -> str:
    pid = str(os.getpid())
    try:
        found = handed_over({name: value.replace("us", pid) for name, value in variables.items()}, int(pid))
    except ListenError as error:
        text = f"ListenError: {error}"
    else:
        return repr([(name, sock.fileno()) for name, sock in found.sockets]) + found.reason.replace(pid, "us")
    # Now that the error and with it all of the call is gone: nothing may have been closed along with that.
    assert all(os.get_blocking(3 + number) for number in range(count)), "they were to stay as they are"
    return text


def listening(tmp_path: Path, name: str = "s") -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(f"{tmp_path}/{name}")
    sock.listen()
    return sock


OURS = {"LISTEN_PID": "us", "LISTEN_FDS": "1"}


@pytest.mark.parametrize("names", [{}, {"LISTEN_FDNAMES": ""}, {"LISTEN_FDNAMES": "auth"}])
def test_one_socket(tmp_path: Path, names: dict[str, str]) -> None:
    with listening(tmp_path) as sock:
        assert handed([sock.fileno()], **OURS, **names) == "[('auth', 3)]"


def test_an_abstract_one() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("")
        sock.listen()
        assert handed([sock.fileno()], **OURS) == "[('auth', 3)]"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, ""),
        ({"LISTEN_FDNAMES": "auth"}, ""),
        ({"LISTEN_FDS": "0", "LISTEN_PID": "us"}, ""),
        ({"LISTEN_FDS": "1"}, 'sockets were handed to the process "" by LISTEN_PID, and not to us, us'),
        (
            {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
            'sockets were handed to the process "1" by LISTEN_PID, and not to us, us',
        ),
        (
            {"LISTEN_FDS": "1", "LISTEN_PID": "+us"},
            'sockets were handed to the process "+us" by LISTEN_PID, and not to us, us',
        ),
    ],
)
def test_not_activated_and_descriptor_3_is_left_alone(variables: dict[str, str], reason: str) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    assert handed([reader, writer], **variables) == f"[]{reason}"
    os.close(reader)
    os.close(writer)


def test_not_activated_leaves_the_flags_alone() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    assert handed_over({"LISTEN_PID": "1", "LISTEN_FDS": str(reader)}, os.getpid()).sockets == []
    assert handed_over({}, os.getpid()) == Handed([], "")
    assert os.get_inheritable(reader)
    os.close(reader)
    os.close(writer)


def an_unbound_one(_: Path) -> int:
    return socket.socket(socket.AF_UNIX).detach()


def a_connection(_: Path) -> int:
    ours, theirs = socket.socketpair()
    theirs.detach()
    return ours.detach()


def datagrams(tmp_path: Path) -> int:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(f"{tmp_path}/d")
    return sock.detach()


def packets(tmp_path: Path) -> int:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(f"{tmp_path}/q")
    sock.listen()
    return sock.detach()


def tcp(_: Path) -> int:
    return socket.create_server(("127.0.0.1", 0)).detach()


def a_file(tmp_path: Path) -> int:
    return os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)


def a_fifo(tmp_path: Path) -> int:
    os.mkfifo(tmp_path / "fifo")
    return os.open(tmp_path / "fifo", os.O_RDWR)


def a_device(_: Path) -> int:
    return os.open("/dev/null", os.O_RDWR)


def an_eventfd(_: Path) -> int:
    return os.eventfd(0)


def netlink(_: Path) -> int:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).detach()


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (an_unbound_one, "a socket of AF_UNIX SOCK_STREAM, not listening"),
        (a_connection, "a socket of AF_UNIX SOCK_STREAM, not listening"),
        (datagrams, "a socket of AF_UNIX SOCK_DGRAM, not listening"),
        (packets, "a socket of AF_UNIX SOCK_SEQPACKET, listening"),
        (tcp, "a socket of AF_INET SOCK_STREAM, listening"),
        (netlink, "a socket of AF_NETLINK SOCK_RAW, not listening"),
        (a_file, "a file"),
        (a_fifo, "a FIFO"),
        (a_device, "a character device"),
        (an_eventfd, "no socket"),
    ],
)
def test_what_is_no_listening_unix_stream_socket(tmp_path: Path, make: Callable[[Path], int], found: str) -> None:
    """After a valid one, which must not be closed or changed because of it."""
    descriptor = make(tmp_path)
    with listening(tmp_path) as good:
        assert handed([good.fileno(), descriptor], LISTEN_PID="us", LISTEN_FDS="2") == (
            'ListenError: descriptor 4 ("status") must be a listening AF_UNIX SOCK_STREAM socket '
            f"(ListenStream=/path, Accept=no), but {found} was handed over"
        )
    os.close(descriptor)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"LISTEN_FDS": "2"}, "LISTEN_FDS is 2, but descriptor 4 is not open"),
        ({"LISTEN_FDS": "two"}, 'LISTEN_FDS must be a number, not "two"'),
        ({}, 'LISTEN_FDS must be a number, not ""'),
        ({"LISTEN_FDS": "-1"}, 'LISTEN_FDS must be a number, not "-1"'),
        (
            {"LISTEN_FDS": "999999999"},
            "999999999 sockets were handed over with no names: set FileDescriptorName= for each",
        ),
        (
            {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "auth:status"},
            "1 sockets were handed over with 2 names: set FileDescriptorName= for each",
        ),
        (
            {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "extauth-bridge.socket"},
            'a socket named "extauth-bridge.socket" was handed over: FileDescriptorName= must be auth or status',
        ),
        (
            {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "auth:"},
            'a socket named "" was handed over: FileDescriptorName= must be auth or status',
        ),
        (
            {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a\nb"},
            'a socket named "a\\nb" was handed over: FileDescriptorName= must be auth or status',
        ),
    ],
)
def test_a_count_or_names_that_cannot_be(tmp_path: Path, variables: dict[str, str], message: str) -> None:
    with listening(tmp_path) as sock:
        outcome = handed([sock.fileno()], LISTEN_PID="us", **variables)
    assert outcome == f"ListenError: {message}"
