"""Prosody's data directory: accounts of both kinds, and whatever else may lie there."""

import os
from pathlib import Path

import pytest
from support import canary

from bridge.programs.hashes import Scheme, Scram
from bridge.programs.importing import prosody
from bridge.programs.importing.entry import Entry, NotTaken, Unreadable

SECRET = canary.right("alice")
KEY = Scram.of(SECRET, Scheme("SHA-1", 10), b"salt")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    canary.knows(tmp_path, "passwords as Prosody stores them")
    return tmp_path


def put(data: Path, name: str, text: str) -> Path:
    path = data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def hashed(**changes: str) -> str:
    fields = {
        "iteration_count": "10",
        "salt": '"salt"',
        "stored_key": f'"{KEY.stored_key.hex()}"',
        "server_key": f'"{KEY.server_key.hex()}"',
    }
    return "return {" + "".join(f'["{name}"] = {value};' for name, value in (fields | changes).items()) + "};\n"


def test_hosts_users_and_their_secrets(data: Path) -> None:
    put(data, "a%2eexample/accounts/alice.dat", f'return {{ ["password"] = "{SECRET}"; }};')
    put(data, "a%2eexample/accounts/zo%c3%ab%5fx.dat", hashed())
    put(data, "a%2eexample/accounts/alice.dat~", "half")
    put(data, "a%2eexample/roster/bob.dat", "return {};")
    put(data, "b%2eexample/accounts/alice.dat", hashed(password=f'"{SECRET}"'))
    put(data, "b%2eexample/accounts/bob.dat", hashed(password='""'))
    (data / "prosody.sqlite").touch()
    found = [*prosody.read(str(data))]
    assert found == [
        Entry("a%2eexample/accounts/alice.dat", "alice", "a.example", SECRET),
        Entry("a%2eexample/accounts/zo%c3%ab%5fx.dat", "zoë_x", "a.example", KEY),
        Entry("b%2eexample/accounts/alice.dat", "alice", "b.example", SECRET),
        Entry("b%2eexample/accounts/bob.dat", "bob", "b.example", KEY),
    ]
    assert SECRET not in repr(found)


@pytest.mark.parametrize("algorithm", ["SHA-1", "SHA-256", "SHA-512"])
def test_the_keys_length_tells_the_algorithm(data: Path, algorithm: str) -> None:
    key = Scram.of(SECRET, Scheme(algorithm, 10), b"salt")
    text = hashed(stored_key=f'"{key.stored_key.hex().upper()}"', server_key=f'"{key.server_key.hex()}"')
    put(data, "a/accounts/alice.dat", text)
    (found,) = prosody.read(str(data))
    assert isinstance(found, Entry)
    assert found.secret == key


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("return {};", "no password is stored"),
        ('return { ["password"] = ""; };', "no password is stored"),
        ("return { password = 5 };", "its password is no text"),
        ('return { password = "\\255" };', "its password is no text"),
        ('return { password = "x", disabled = true };', "marked as disabled; --disabled"),
        *((hashed(disabled=true), "marked as disabled; --disabled") for true in ("true", "0", "''", "{}")),
        ("os.exit()", "not a file of Prosody's"),
        ("return {" + " " * 70_000 + "};", "too large a file"),
        (hashed(stored_key='"xy"'), "a key that is not hexadecimal"),
        (hashed(stored_key='"ab"'), "an unknown algorithm"),
        (hashed(stored_key="nil"), "its stored_key is no text"),
        (hashed(server_key='"ab"'), "a key of the wrong length"),
        (hashed(salt="nil"), "no number of iterations, or no salt"),
        (hashed(iteration_count="nil"), "no number of iterations, or no salt"),
        (hashed(iteration_count="1e999"), "no number of iterations, or no salt"),
        (hashed(iteration_count="0"), "no number of iterations, or no salt"),
        (hashed(iteration_count="5e9"), "takes too long to check"),
    ],
)
def test_what_cannot_be_taken(data: Path, text: str, reason: str) -> None:
    put(data, "a/accounts/alice.dat", text)
    put(data, "a/accounts/bob.dat", hashed())
    first, second = prosody.read(str(data))
    assert isinstance(first, NotTaken)
    assert (first.where, first.host) == ("a/accounts/alice.dat", "a")
    assert reason in first.reason
    assert isinstance(second, Entry)


def test_those_that_are_marked_as_disabled(data: Path) -> None:
    put(data, "a/accounts/alice.dat", hashed(disabled="true"))
    put(data, "a/accounts/bob.dat", 'return { password = "x", disabled = false };')
    put(data, "a/accounts/carol.dat", hashed(disabled="nil"))
    assert [type(found) for found in prosody.read(str(data))] == [NotTaken, Entry, Entry]
    assert [type(found) for found in prosody.read(str(data), disabled=True)] == [Entry, Entry, Entry]


def test_what_prosody_itself_would_not_read(data: Path) -> None:
    """Whose name is written in several ways has the password that Prosody reads."""
    for name in ("A%2eexample/accounts/bob", "a%2Eexample/accounts/bob", "a%2eexample/accounts/Alice"):
        put(data, f"{name}.dat", 'return { password = "old" };')
    for name in ("a%2eexample/accounts/alice", "B%2eexample/accounts/bob"):
        put(data, f"{name}.dat", f'return {{ password = "{SECRET}" }};')
    assert [*prosody.read(str(data))] == [
        NotTaken("A%2eexample", "Prosody reads another directory for this host"),
        Entry("B%2eexample/accounts/bob.dat", "bob", "B.example", SECRET),
        NotTaken("a%2Eexample", "Prosody reads another directory for this host"),
        NotTaken("a%2eexample/accounts/Alice.dat", "Prosody reads another file for this user"),
        Entry("a%2eexample/accounts/alice.dat", "alice", "a.example", SECRET),
    ]


def test_what_is_no_file(data: Path) -> None:
    accounts = put(data, "a/accounts/bob.dat", hashed()).parent
    os.mkfifo(accounts / "fifo.dat")
    (accounts / "link.dat").symlink_to("bob.dat")
    (accounts / "directory.dat").mkdir()
    (accounts / os.fsdecode(b"\xff.dat")).write_text(hashed())
    (accounts / "%ff.dat").write_text(hashed())
    kinds = {found.where.rpartition("/")[2]: type(found) for found in prosody.read(str(data))}
    assert kinds.pop("bob.dat") is Entry
    assert [*kinds.values()] == [NotTaken] * 5


def test_another_directory_is_refused(data: Path) -> None:
    put(data, "alice.dat", hashed())
    for place in (data, data / "missing", data / "alice.dat"):
        with pytest.raises(Unreadable):
            [*prosody.read(str(place))]


def test_a_host_that_cannot_be_read_is_not_passed_over_in_silence(data: Path) -> None:
    """A loop of links, as nothing is closed to root; at a site it is a directory of another account."""
    loop = data / "b%2eexample" / "accounts"
    loop.parent.mkdir()
    loop.symlink_to(loop)
    with pytest.raises(Unreadable, match=r"'b%2eexample' in .*: cannot read it: Too many levels"):
        [*prosody.read(str(data))]
    put(data, "a%2eexample/accounts/bob.dat", hashed())
    closed, bob = prosody.read(str(data))
    assert closed == NotTaken("b%2eexample", "cannot read it: Too many levels of symbolic links")
    assert isinstance(bob, Entry)
