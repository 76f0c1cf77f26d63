"""Listening sockets: their permissions, what they replace and what they never touch."""

import errno
import fcntl
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit.clients.test_listeners_children import bounded, in_child

from bridge.clients import listeners
from bridge.clients.listeners import Listener, ListenError, listen

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")


@pytest.fixture(autouse=True)
def nothing_blocks_or_leaks() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    with bounded():
        yield
    assert set(os.listdir("/proc/self/fd")) <= before  # fewer, where something of another test was collected


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "auth.sock")


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    os.umask(before)
    yield os.umask
    os.umask(before)


def stale(path: str) -> None:
    """What a killed daemon leaves behind."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()


def connects(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


def refused(path: str) -> str:
    with pytest.raises(ListenError) as caught:
        listen(path, 0o660)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_client_is_heard(path: str) -> None:
    listener = listen(path, 0o660)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.send(b"hello")
        accepted, _ = listener.socket.accept()
        with accepted:
            assert accepted.recv(100) == b"hello"
    listener.close()


def test_it_never_blocks_and_no_program_inherits_it(path: str) -> None:
    listener = listen(path, 0o660)
    with pytest.raises(BlockingIOError):
        listener.socket.accept()
    assert not os.get_blocking(listener.fileno())
    assert not os.get_inheritable(listener.fileno())
    listener.close()
    assert listener.fileno() == -1


def test_closing_removes_the_file_and_once_is_enough(path: str) -> None:
    listener = listen(path, 0o660)
    listener.close()
    assert os.listdir(os.path.dirname(path)) == []
    stale(path)
    listener.close()
    assert os.path.exists(path)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
def test_the_mode_is_exact_whatever_the_umask(path: str, umask, mask: int, mode: int) -> None:
    umask(mask)
    listener = listen(path, mode)
    assert stat.S_IMODE(os.stat(path).st_mode) == mode
    assert umask(mask) == mask
    listener.close()


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_the_mode_is_never_wider_and_exact_before_anybody_can_connect(
    path: str, umask, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    """Checked right after bind, and right before listen."""
    seen: list[int] = []

    def look(name: str, mode: int, place: int) -> None:
        seen.append(stat.S_IMODE(os.stat(path).st_mode))
        assert not connects(path)
        set_mode(name, mode, place)
        seen.append(stat.S_IMODE(os.stat(path).st_mode))
        assert not connects(path)

    set_mode = listeners._set_mode
    monkeypatch.setattr(listeners, "_set_mode", look)
    umask(mask)
    listen(path, 0o640).close()
    assert seen == [0o640 & ~mask, 0o640]


@pytest.fixture
def public() -> Iterator[str]:
    """A path in a directory that everybody may write to."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        yield f"{directory}/auth.sock"


def as_nobody(work: Callable[[], str]) -> str:
    def become_nobody_and_work() -> str:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return work()

    return in_child(become_nobody_and_work)


@needs_root
@pytest.mark.parametrize(("mode", "outcome"), [(0o660, "EACCES"), (0o662, "connected")])
def test_others_cannot_connect(public: str, mode: int, outcome: str) -> None:
    def connect() -> str:
        with socket.socket(socket.AF_UNIX) as client:
            return errno.errorcode.get(client.connect_ex(public), "connected")

    listener = listen(public, mode)
    assert as_nobody(connect) == outcome
    listener.close()


@needs_root
def test_one_that_we_may_not_look_at_is_left_alone(public: str) -> None:
    """Although the directory would let us remove it."""
    listener = listen(public, 0o600)
    message = f"{public}: cannot tell whether another daemon listens there: Permission denied"
    assert as_nobody(lambda: str(listen(public, 0o600))) == f"ListenError: {message}"
    assert connects(public)
    listener.close()


def test_a_dead_daemon_s_socket_is_replaced(path: str) -> None:
    stale(path)
    assert not connects(path)
    listener = listen(path, 0o600)
    assert connects(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    listener.close()


def test_a_living_daemon_s_socket_is_not(path: str) -> None:
    first = listen(path, 0o660)
    assert refused(path) == f"{path}: another daemon listens there"
    assert connects(path)
    first.close()


def test_one_that_is_too_busy_to_accept_is_alive(path: str) -> None:
    first = listen(path, 0o660)
    first.socket.listen(0)
    clients = []
    while True:
        clients.append(client := socket.socket(socket.AF_UNIX))
        client.setblocking(False)
        if client.connect_ex(path) == errno.EAGAIN:
            break
    assert refused(path) == f"{path}: another daemon listens there"
    for client in clients:
        client.close()
    first.close()


def test_a_stopped_daemon_s_queue_survives_one_that_wants_its_place(path: str) -> None:
    first = listen(path, 0o660)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.send(b"early")
        refused(path)
        accepted, _ = first.socket.accept()
        with accepted:
            assert accepted.recv(100) == b"early"
    first.close()


def a_file(path: str) -> None:
    Path(path).write_text("precious")


def a_link_to_a_socket(path: str) -> None:
    stale(path + ".elsewhere")
    os.symlink(path + ".elsewhere", path)


def a_link_to_nothing(path: str) -> None:
    os.symlink(path + ".elsewhere", path)


@pytest.mark.parametrize("make", [a_file, os.mkdir, os.mkfifo, a_link_to_a_socket, a_link_to_nothing])
def test_what_is_no_socket_is_never_touched(path: str, make: Callable[[str], None]) -> None:
    make(path)
    before = os.lstat(path), sorted(os.listdir(os.path.dirname(path)))
    message = refused(path)
    assert message.startswith(f"{path}: ")
    assert "not a socket" in message
    after = os.lstat(path), sorted(os.listdir(os.path.dirname(path)))
    assert (after[0].st_ino, after[0].st_mtime_ns, after[1]) == (before[0].st_ino, before[0].st_mtime_ns, before[1])


def test_another_kind_of_socket_in_use_is_left_alone(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        assert "not for connections" in refused(path)
    assert os.path.exists(path)
    listen(path, 0o600).close()  # now it is a dead one's


def test_a_missing_directory(tmp_path: Path) -> None:
    assert refused(f"{tmp_path}/missing/auth.sock") == (
        f"{tmp_path}/missing: cannot use this directory for a socket: No such file or directory"
    )


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Not a directory" in refused(f"{tmp_path}/file/auth.sock")


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    fits = f"{tmp_path}/".ljust(107, "x")
    listen(fits, 0o600).close()
    assert "too long" in refused(fits + "x")
    assert "zero byte" in refused(f"{tmp_path}/a\0b")
    assert "\\n" in refused(f"{tmp_path}/a\nb/c")


def test_a_path_is_remembered_as_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are started in their own directory, which we change to as well."""
    monkeypatch.chdir(tmp_path)
    listener = listen("auth.sock", 0o600)
    assert listener.path == f"{tmp_path}/auth.sock"
    os.chdir("/")
    listener.close()
    assert os.listdir(tmp_path) == []


def test_a_locked_directory_is_not_waited_for_for_ever(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = listen(path, 0o600)
    monkeypatch.setattr(listeners, "PATIENCE", 0.05)
    place = os.open(os.path.dirname(path), os.O_RDONLY)
    fcntl.flock(place, fcntl.LOCK_EX)
    assert "keeps this directory locked" in refused(path + "2")
    listener.close()
    assert os.path.exists(path), "without the lock it could be another daemon's by now"
    os.close(place)


def test_a_failure_half_way_leaves_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(listeners, "_set_mode", fails)
    assert refused(path) == f"{path}: cannot listen there: Read-only file system"
    assert os.listdir(os.path.dirname(path)) == []


@pytest.mark.parametrize("successor", ["daemon", "dead", "file", "nothing", "no directory"])
def test_closing_leaves_what_is_not_ours_any_more(path: str, successor: str) -> None:
    first = listen(path, 0o600)
    os.unlink(path)
    second: Listener | None = None
    if successor == "daemon":
        second = listen(path, 0o600)
    elif successor == "dead":
        stale(path)
    elif successor == "file":
        Path(path).touch()
    elif successor == "no directory":
        os.rmdir(os.path.dirname(path))
    first.close()
    assert os.path.exists(path) is (successor in ("daemon", "dead", "file"))
    assert connects(path) is (successor == "daemon")
    if second is not None:
        second.close()


def test_withdrawing_keeps_who_is_in_the_queue(path: str) -> None:
    listener = listen(path, 0o600)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        listener.withdraw()
        assert not os.path.exists(path)
        successor = listen(path, 0o600)
        accepted, _ = listener.socket.accept()
        with accepted:
            accepted.send(b"still here")
            assert client.recv(100) == b"still here"
    listener.close()
    assert connects(path)
    successor.close()


def test_an_inherited_socket_s_file_stays(path: str) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    listener = Listener.inherited(sock)
    assert listener.path == path
    listener.close()
    assert listener.fileno() == -1
    assert os.path.exists(path)


def test_an_inherited_abstract_socket(path: str) -> None:
    name = f"{path}-abstract"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("\0" + name)
    sock.listen()
    listener = Listener.inherited(sock)
    assert listener.path == "@" + name
    listener.close()
