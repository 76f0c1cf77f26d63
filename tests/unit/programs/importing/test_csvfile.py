"""Tables as text: of spreadsheets, of people, and of our own export."""

from pathlib import Path

import pytest
from support import canary

from bridge.programs.hashes import Cost, Scheme, Scram, Scrypt
from bridge.programs.importing import csvfile
from bridge.programs.importing.entry import Entry, Found, NotTaken, Unreadable

SECRET = canary.right("alice")
SCRAM = Scram.of(SECRET, Scheme("SHA-1", 10))
SCRYPT = Scrypt.of(SECRET, Cost(16, 8, 1))


def read(tmp_path: Path, text: str | bytes) -> list[Found]:
    canary.knows(tmp_path, "passwords in a table")
    path = tmp_path / "users.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return [*csvfile.read(str(path))]


@pytest.mark.parametrize(
    "text",
    [
        f"user,host,password\nalice,a.example,{SECRET}\nbob,,x\n",
        f"\ufeffUser;Host;Password\r\nalice;a.example;{SECRET}\r\n\r\nbob;;x\r\n",
        f'password\tnote\tusername\tdomain\n{SECRET}\t"a\nb"\talice\ta.example\nx\t\tbob\t',
        f'"user","host","password","hash"\n"alice","a.example","{SECRET}",""\n"bob","","x",',
    ],
    ids=["plain", "spreadsheet", "tabs", "quotes"],
)
def test_forms(tmp_path: Path, text: str) -> None:
    alice, bob = read(tmp_path, text)
    assert isinstance(alice, Entry)
    assert (alice.user, alice.host, alice.secret) == ("alice", "a.example", SECRET)
    assert isinstance(bob, Entry)
    assert (bob.user, bob.host, bob.secret) == ("bob", None, "x")
    assert SECRET not in repr(alice)


def test_hashes(tmp_path: Path) -> None:
    text = f'jid,hash\nalice@a.example,"{SCRAM.text()}"\nbob@b.example,"{SCRYPT.text()}"\n'
    assert read(tmp_path, text) == [
        Entry("line 2", "alice", "a.example", SCRAM),
        Entry("line 3", "bob", "b.example", SCRYPT),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("alice,a,,", "no password is stored"),
        ("alice,a,x", "not as many columns"),
        ("alice,a,x,,", "not as many columns"),
        (f"alice,a,{SECRET},{SCRAM.text()}", "a password and a hash"),
        ("alice,a,,{SSHA}x", "no hash that can be read"),
        ("alice,a,,$2y$10$x", "no hash that can be read"),
        (f"alice,a,,{SCRAM.text().replace('10:', '9999999999:')}", "takes too long"),
    ],
)
def test_what_cannot_be_taken(tmp_path: Path, row: str, reason: str) -> None:
    first, second = read(tmp_path, f"user,host,password,hash\n{row}\nbob,a,x,\n")
    assert isinstance(first, NotTaken)
    assert first.where == "line 2"
    assert reason in first.reason
    assert isinstance(second, Entry)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"alice,{SECRET}\n",
        "user,host\nalice,a\n",
        "host,password\na,x\n",
        "user,username,password\n,,\n",
        b"user,password\n\xff,x\n",
        b"\xff\n",
        'user,password\nalice,"x\n',
        'user,password\nalice,"x"y\n',
        "user,password\nalice," + "x" * 200_000,
    ],
)
def test_what_is_refused_as_a_whole(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        read(tmp_path, text)
    assert SECRET not in str(caught.value)


def test_a_missing_file() -> None:
    with pytest.raises(Unreadable, match="No such file"):
        [*csvfile.read("/nonexistent/users.csv")]
