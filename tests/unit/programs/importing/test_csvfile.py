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


@pytest.mark.parametrize("column", ["name", "Nick", "full_name"])
def test_what_is_shown_as_a_name_is_none(tmp_path: Path, column: str) -> None:
    assert read(tmp_path, f"jid,{column},password\nbob@a.example,Alice,x\n") == [
        Entry("line 2", "bob", "a.example", "x")
    ]
    with pytest.raises(Unreadable, match="no columns named user"):
        read(tmp_path, f"{column},password\nAlice,x\n")


def test_beside_a_jid_user_and_host_have_to_be_the_same(tmp_path: Path) -> None:
    """One of them is somebody else's, and nobody knows which."""
    rows = "bob@a.example,Bob,A.example,x\nbob@a.example,,,x\nbob@a.example,alice,,x\nbob@a.example,bob,b.example,x\n"
    *taken, other_user, other_host, none = read(tmp_path, f"jid,user,host,password\n{rows},bob,a.example,x\n")
    assert taken == [Entry("line 2", "bob", "a.example", "x"), Entry("line 3", "bob", "a.example", "x")]
    assert other_user == NotTaken("line 4", "its jid is not of its user and host")
    assert other_host == NotTaken("line 5", "its jid is not of its user and host")
    assert none == NotTaken("line 6", "no @ in its jid")


@pytest.mark.parametrize("column", ["serverkey", "salt", "iterationcount", "Server_Key", "stored_key", "iterations"])
def test_a_table_of_hashes_is_refused(tmp_path: Path, column: str) -> None:
    """As ejabberd's is: what is called password there is a key, and would let in whoever has seen it."""
    with pytest.raises(Unreadable, match="its password is a hash: dump the table as SQL"):
        read(tmp_path, f"username,password,{column},created_at\nalice,x,y,2020-01-01\n")


@pytest.mark.parametrize("column", ["writers", "recruiter_status", "salted", "saltation", "server_keys_of"])
def test_other_columns_do_not_matter(tmp_path: Path, column: str) -> None:
    (found,) = read(tmp_path, f"username,host,password,{column}\nalice,a.example,x,y\n")
    assert found == Entry("line 2", "alice", "a.example", "x")


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
        "user,password," + "x" * 100_000 + "\nalice,x,\n",
    ],
)
def test_what_is_refused_as_a_whole(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        read(tmp_path, text)
    assert SECRET not in str(caught.value)


def test_a_long_first_line(tmp_path: Path) -> None:
    columns = [f"column{number}" for number in range(1000)]
    text = ",".join(["user", *columns, "password"]) + "\nalice" + "," * 1000 + ",x\n"
    assert read(tmp_path, text) == [Entry("line 2", "alice", None, "x")]


def test_a_missing_file() -> None:
    with pytest.raises(Unreadable, match="No such file"):
        [*csvfile.read("/nonexistent/users.csv")]
