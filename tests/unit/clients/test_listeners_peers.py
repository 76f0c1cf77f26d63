"""The identity of a connection's other end, and who is admitted."""

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.clients.test_listeners import NOBODY, needs_root
from unit.clients.test_listeners_children import in_child

from bridge.clients import listeners
from bridge.clients.listeners import ListenError, Peer, allowed, listen, peer, resolve_groups, resolve_users

ALICE = Peer(pid=1, uid=1000, gid=100, groups=frozenset([100, 27, 999]))


def seen_of(path: str, prepare: Callable[[], None]) -> tuple[Peer, int]:
    """The peer a listener sees when a prepared child connects, and the child's pid."""
    listener = listen(path, 0o600)

    def connect() -> str:
        with socket.socket(socket.AF_UNIX) as client:
            prepare()
            client.connect(path)
        return str(os.getpid())

    pid = int(in_child(connect))
    accepted, _ = listener.socket.accept()
    with accepted:
        seen = peer(accepted)  # its process is gone by now: nothing of it could be read in /proc
    listener.close()
    return seen, pid


def test_who_is_there(tmp_path: Path) -> None:
    seen, pid = seen_of(f"{tmp_path}/s", lambda: None)
    assert seen == (pid, os.geteuid(), os.getegid(), {os.getegid(), *os.getgroups()})


@needs_root
@pytest.mark.parametrize("groups", [[], [4242], [27, 4242, 4_000_000_000], [*range(5000, 5256)]])
def test_another_user_with_the_groups_it_really_has(groups: list[int]) -> None:
    def become_nobody() -> None:
        os.setgroups(groups)
        os.setgid(1234)
        os.setuid(NOBODY)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # in the abstract namespace: nobody may not enter our directories
        listener.listen()

        def connect() -> str:
            with socket.socket(socket.AF_UNIX) as client:
                become_nobody()
                client.connect(listener.getsockname())
            return str(os.getpid())

        pid = int(in_child(connect))
        accepted, _ = listener.accept()
        with accepted:
            assert peer(accepted) == (pid, NOBODY, 1234, {1234, *groups})


@needs_root
def test_more_groups_than_can_be_asked_for_count_as_none(tmp_path: Path) -> None:
    seen, _ = seen_of(f"{tmp_path}/s", lambda: os.setgroups([*range(5000, 5257)]))
    assert seen.groups == {os.getegid()}


@needs_root
def test_who_it_was_when_it_connected(tmp_path: Path) -> None:
    """A setuid program the client starts does not change who the client is to us."""
    listener = listen(f"{tmp_path}/s", 0o600)

    def connect() -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(listener.path)
            os.setgroups([4242])
            os.setuid(NOBODY)
            client.send(b"now")
        return "done"

    assert in_child(connect) == "done"
    accepted, _ = listener.socket.accept()
    with accepted:
        assert accepted.recv(9) == b"now"
        seen = peer(accepted)
        assert (seen.uid, 4242 in seen.groups) == (0, False)
    listener.close()


@pytest.mark.parametrize(
    ("users", "groups", "outcome"),
    [
        (None, None, True),
        ({1000}, None, True),
        ({1001}, None, False),
        (None, {100}, True),
        (None, {999}, True),
        (None, {1000}, False),
        ({1001}, {27}, True),
        ({1000}, {1}, True),
        ({1001}, {1}, False),
        (set(), None, False),
        (None, set(), False),
        (set(), set(), False),
    ],
)
def test_one_of_the_users_or_in_one_of_the_groups(users, groups, outcome: bool) -> None:
    frozen = [None if ids is None else frozenset(ids) for ids in (users, groups)]
    assert allowed(ALICE, *frozen) is outcome


def test_root_is_nobody_special() -> None:
    root = Peer(pid=1, uid=0, gid=0, groups=frozenset([0]))
    assert not allowed(root, frozenset([1000]), None)
    assert allowed(root, frozenset([0]), None)


def test_names_and_numbers() -> None:
    assert resolve_users(["root", "12", "0"]) == {0, 12}
    assert resolve_groups(["root", "4294967294"]) == {0, 4294967294}
    assert resolve_users([]) == frozenset()
    number = int(subprocess.run(["id", "-u", "nobody"], capture_output=True, check=True).stdout)
    assert resolve_users(["nobody"]) == {number}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["root", "no-such-one"], 'there is no {} "no-such-one"'),
        ([""], 'there is no {} ""'),
        (["-1"], 'there is no {} "-1"'),
        (["a\0b"], 'there is no {} "a\\x00b"'),
        (["a\nb"], 'there is no {} "a\\nb"'),
        (["٣"], 'there is no {} "٣"'),
        (["4294967295"], "no {} can have the number 4294967295"),
        (["9" * 5000], "no {} can have the number " + "9" * 5000),
    ],
    ids=repr,
)
def test_unknown_ones(names: list[str], message: str) -> None:
    for kind, resolve in [("user", resolve_users), ("group", resolve_groups)]:
        with pytest.raises(ListenError) as caught:
            resolve(names)
        assert str(caught.value) == message.format(kind)


def test_a_kernel_that_does_not_tell_groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(listeners, "_SO_PEERGROUPS", 9999)  # ENOPROTOOPT
    seen, _ = seen_of(f"{tmp_path}/s", lambda: None)
    assert seen.groups == {os.getegid()}
