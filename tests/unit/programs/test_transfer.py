"""`extauth-sqlite DATABASE import` and `export`, as an administrator sees them."""

import base64
import contextlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import canary

from bridge.programs import names, transfer, users
from bridge.programs.hashes import COST, Cost, Scheme, Scram, Scrypt, parse
from bridge.programs.importing import haul, progress
from bridge.programs.users import Users

CHEAP = Cost(n=2**4, r=8, p=1)
SECRET, WRONG = canary.right("alice"), "wrong"
SCRAM = Scram.of(SECRET, Scheme("SHA-256", 5))
SCRYPT = Scrypt.of(SECRET, CHEAP)
HEAD = "user,host,password,hash\n"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(users, "COST", CHEAP)
    monkeypatch.setattr(transfer, "COST", CHEAP)
    canary.knows(tmp_path / "users.csv", "passwords in a table")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "users.db"


class Said:
    """What a command says, and its exit status."""

    def __init__(self) -> None:
        self.out = ""
        self.lines: list[str] = []

    def show(self, text: str) -> int:
        self.out += text
        return 0

    @property
    def counts(self) -> dict[str, int]:
        return {" ".join(words[:-1]): int(words[-1]) for words in map(str.split, self.out.splitlines())}


def bring(database: Path, text: str, *options: str) -> tuple[int, Said]:
    path = database.with_name("users.csv")
    path.write_text(text)
    said = Said()
    words = ["--from", "csv", str(path), *options]
    return transfer.bring(str(database), words, said.lines.append, said.show), said


def export(database: Path, form: str, path: Path, *options: str) -> tuple[int, Said]:
    said = Said()
    words = ["--to", form, str(path), *options]
    return transfer.export(str(database), words, said.lines.append, said.show), said


def test_users_of_all_kinds_log_in(database: Path) -> None:
    text = HEAD + f'Alice,Example.COM,,{SCRAM.text()}\nbob,example.com,,"{SCRYPT.text()}"\n'
    text += f"zoë,example.com,{SECRET},\n"
    status, said = bring(database, text)
    assert (status, said.lines) == (0, [])
    assert said.counts == {"taken": 3, "there already": 0, "not taken": 0}
    with Users(database) as store:
        kinds = [one.kind for _, _, one in store.hashes()]
        assert kinds == [SCRAM.kind, CHEAP, CHEAP]
        for user, host in store.names():
            assert host == "example.com"
            assert not store.check(user, host, WRONG)
            assert store.check(user, host, SECRET)
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_who_exists_is_kept_or_replaced(database: Path) -> None:
    with Users(database) as store:
        store.add("alice", "example.com", "first")
    text = HEAD + f"alice,example.com,{SECRET},\nbob,example.com,{SECRET},\n"
    status, said = bring(database, text)
    assert (status, said.counts) == (0, {"taken": 1, "there already": 1, "not taken": 0})
    with Users(database) as store:
        assert store.check("alice", "example.com", "first")
        status, said = bring(database, text, "--replace")
        assert (status, said.counts) == (0, {"taken": 2, "there already": 0, "not taken": 0})
        assert store.check("alice", "example.com", SECRET)
        assert not store.check("alice", "example.com", "first")


def test_a_dry_run_changes_and_makes_nothing(database: Path) -> None:
    text = HEAD + f"alice,example.com,{SECRET},\nbob,,,\n"
    status, said = bring(database, text, "--dry-run", "--host", "example.com")
    assert (status, said.counts) == (1, {"taken": 1, "there already": 0, "not taken": 1})
    assert "a dry run: nothing was changed" in said.lines
    assert not database.exists()
    bring(database, text, "--host", "example.com")
    before = database.read_bytes()
    status, said = bring(database, text, "--dry-run", "--replace", "--host", "example.com")
    assert said.counts["taken"] == 1
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('"al ice",a.example,x,', "USER holds a space"),
        (",a.example,x,", "USER is empty"),
        ("alice,a/b,x,", "HOST holds a space"),
        (f"{'é' * 512},a.example,x,", "USER is too long"),
        (f"alice,{'a' * 1024},x,", "HOST is too long"),
        ("al\x1bice,a.example,x,", "USER holds a control character"),
        ("alice,a.example,x\x7fy,", "the password holds a control character"),
        ("bob,a.example,x,", "a second entry of the same name"),
        ("alice,a.example,,", "no password is stored"),
    ],
)
def test_what_cannot_be_taken_is_said_where_and_why(database: Path, row: str, reason: str) -> None:
    status, said = bring(database, HEAD + "bob,a.example,x,\n" + row + "\n")
    assert (status, said.counts) == (1, {"taken": 1, "there already": 0, "not taken": 1})
    (line,) = said.lines
    assert line.startswith(f"not taken: line 3: {reason}")
    with Users(database) as store:
        assert store.names() == [("bob", "a.example")]


def test_lines_are_bounded_and_counts_are_not(database: Path) -> None:
    text = HEAD + "alice,a.example,x,\n" + "bob,a.example,,\n" * 300
    status, said = bring(database, text, "--json")
    assert status == 1
    assert len(said.lines) == transfer.MOST_LINES + 1
    assert said.lines[-1] == "not taken: 100 more"
    found = json.loads(said.out)
    assert found["taken"] == 1
    assert len(found["not_taken"]) == 300
    assert found["not_taken"][0] == {"where": "line 3", "reason": "no password is stored"}


def test_hosts(database: Path) -> None:
    text = HEAD + "alice,a.example,x,\nbob,b.example,x,\ncarol,,x,\ndan,a.example,,\n"
    with pytest.raises(names.Refused, match="add --host HOST"):
        bring(database, text)
    assert not database.exists()
    status, said = bring(database, text, "--host", "B.example")
    assert (status, said.counts) == (0, {"taken": 2, "there already": 0, "of other hosts": 2, "not taken": 0})
    with Users(database) as store:
        assert store.names() == [("bob", "b.example"), ("carol", "b.example")]


@pytest.mark.parametrize(
    "text",
    [
        HEAD,
        HEAD + "alice,a.example,x,\n",
        HEAD + "alice,a.example,,\n",
        "nothing",
        HEAD + 'alice,b.example,x,\nbob,b.example,"x\n',
    ],
)
def test_where_nothing_can_be_done_nothing_is(database: Path, text: str) -> None:
    """Even if the trouble comes after good entries."""
    with pytest.raises(names.Refused):
        bring(database, text, "--host", "b.example")
    assert not database.exists()
    status, said = bring(database, HEAD + "alice,b.example,,\n")
    assert (status, said.counts["not taken"]) == (2, 1)
    assert not database.exists()


@pytest.mark.parametrize("second", ["Alice", "\u212aim"])
def test_nobody_gets_another_ones_name_by_spelling_it_otherwise(database: Path, second: str) -> None:
    """Alice's password is not alice's, whoever comes first; and \u212a is a k in lower case."""
    first = second.lower()
    for rows in ([first, second], [second, first], [second, first, second]):
        _, said = bring(database, HEAD + "bob,a.example,x,\n" + "".join(f"{row},a.example,{SECRET},\n" for row in rows))
        with Users(database) as store:
            assert store.names() == [("bob", "a.example")]
        assert said.counts["not taken"] == len(rows)
        assert said.lines[0] == "not taken: line 3: two users whose names are one for XMPP: neither is taken"


def test_an_import_that_fails_in_the_end_changes_nothing(database: Path) -> None:
    bring(database, HEAD + "alice,a.example,x,\n")
    connection = sqlite3.connect(database)
    connection.execute(
        "CREATE TRIGGER t BEFORE INSERT ON users WHEN new.user = 'zoe' BEGIN SELECT raise(ABORT, 'no'); END"
    )
    connection.close()
    with pytest.raises(users.Unavailable):
        bring(database, HEAD + "alice,a.example,y,\nbob,a.example,y,\nzoe,a.example,y,\n", "--replace")
    with Users(database) as store:
        assert store.names() == [("alice", "a.example")]
        assert store.check("alice", "a.example", "x")


def test_where_the_disk_is_full_no_empty_database_is_left(tmp_path: Path) -> None:
    """It would refuse everybody.  Nor is anything left of it, whatever the disk has room for."""
    source = tmp_path / "users.csv"
    source.write_text("user,host,hash\n" + "".join(f"u{number},a.example,{SCRAM.text()}\n" for number in range(3000)))
    for size in (16, 64, 200):
        words = f'ulimit -f {size}; exec "$@"'
        command = [*PROGRAM, str(tmp_path / "users.db"), "import", "--from", "csv", str(source)]
        command = ["bash", "-c", words, "bash", *command]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (2, ""), size
        assert done.stderr.startswith("extauth-sqlite: cannot use the database ")
        assert os.listdir(tmp_path) == ["users.csv"]


@pytest.mark.slow
def test_many_users_take_no_time(database: Path) -> None:
    """20 000 at a rate at which 100 000 take half a minute; measured as four to eleven seconds."""
    path = database.with_name("users.sql")
    parts = (base64.b64encode(part).decode() for part in (SCRAM.stored_key, SCRAM.server_key, SCRAM.salt))
    values = "','".join(parts)
    rows = ",".join(f"('user{number}','{values}',{SCRAM.iterations})" for number in range(20_000))
    columns = "`username`, `password`, `serverkey`, `salt`, `iterationcount`"
    path.write_text(f"INSERT INTO `users` ({columns}) VALUES {rows};\n")
    said = Said()
    begun = time.process_time()
    words = ["--from", "ejabberd", "--host", "a.example", str(path)]
    assert transfer.bring(str(database), words, said.lines.append, said.show) == 0
    assert time.process_time() - begun < 10
    assert said.counts["taken"] == 20_000


def test_an_interrupted_one_neither(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it hashes, and without hashing all the others first."""
    hashed: list[str] = []

    def interrupted(secret: str, cost: Cost) -> Scrypt:
        hashed.append(secret)
        if len(hashed) == 10:
            raise KeyboardInterrupt
        time.sleep(0.001 * (len(hashed) > 10))  # or others are through with all before anybody hears of it
        return SCRYPT

    monkeypatch.setattr(haul.Scrypt, "of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bring(database, HEAD + "".join(f"u{number},a.example,x,\n" for number in range(5000)))
    assert len(hashed) < 5000
    assert not database.exists()


def test_how_long_hashing_takes_is_said_before(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "estimate", lambda passwords, cost: 60.0 * passwords)
    _, said = bring(database, HEAD + "alice,a.example,x,\nbob,a.example,x,\n", "--dry-run")
    assert "hashing 2 passwords would take about 2 min" in said.lines
    assert [progress.duration(seconds) for seconds in (3, 600, 20_000)] == ["3 s", "10 min", "5.6 h"]
    monkeypatch.undo()
    assert 0 < haul.estimate(100, CHEAP) < 60


def test_what_could_not_be_written_in_the_end_is_found_out_first(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before hours of hashing."""
    text = HEAD + f"alice,a.example,{SECRET},\n"
    assert bring(database, text)[0] == 0
    monkeypatch.setattr(haul.Haul, "hashed", lambda *_: pytest.fail("hashed"))
    connect = users._connect

    def read_only(path: str) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA query_only = 1")
        return connection

    monkeypatch.setattr(users, "_connect", read_only)
    text += "bob,a.example,x,\n"
    with pytest.raises(users.Unavailable, match="readonly"):
        bring(database, text)
    assert bring(database, text, "--dry-run")[1].counts["taken"] == 1
    said = Said()
    words = ["--from", "csv", str(database.with_name("users.csv"))]
    for path, error in (("none/users.db", names.Refused), ("users.csv/users.db", users.Unavailable)):
        with pytest.raises(error):
            transfer.bring(str(database.parent / path), words, said.lines.append, said.show)


def test_csv_and_back(database: Path, tmp_path: Path) -> None:
    bring(database, HEAD + f'"a,b",a.example,,{SCRAM.text()}\nzoë,b.example,,"{SCRYPT.text()}"\n')
    out = tmp_path / "out.csv"
    status, said = export(database, "csv", out)
    assert (status, said.counts) == (0, {"written": 2, "not written": 0})
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    other = tmp_path / "other.db"
    assert bring(other, out.read_text())[0] == 0
    with Users(database) as one, Users(other) as two:
        assert one.hashes() == two.hashes()
    before = out.read_text()
    with pytest.raises(names.Refused, match="cannot write"):
        export(database, "csv", out)
    assert out.read_text() == before
    assert sorted(os.listdir(tmp_path)) == ["other.db", "out.csv", "users.csv", "users.db"]
    export(database, "csv", tmp_path / "b.csv", "--host", "b.example")
    assert [parse(line.split('"')[1]) for line in (tmp_path / "b.csv").read_text().splitlines()[1:]] == [SCRYPT]


def test_prosody_and_back(database: Path, tmp_path: Path) -> None:
    keys = [Scram.of(SECRET, Scheme(name, 5), bytes(range(40))) for name in ("SHA-1", "SHA-256", "SHA-512")]
    rows = "".join(f"zo_ë{number},a.example,,{key.text()}\n" for number, key in enumerate(keys))
    rows += f'bob,a.example,,"{SCRYPT.text()}"\n'
    rows += f"{'é' * 100},a.example,,{SCRAM.text()}\nbob,{'é' * 50},,{SCRAM.text()}\n"
    bring(database, HEAD + rows)
    out = tmp_path / "out"
    out.mkdir()  # an empty one will do
    status, said = export(database, "prosody", out)
    assert (status, said.counts) == (1, {"written": 2, "not written": 4})
    assert said.lines[0] == "not written: bob@a.example: its hash is of scrypt, which Prosody lacks"
    assert [line.rpartition("its ")[2] for line in said.lines[1:]] == [
        "hash is of SHA-512, which Prosody lacks",
        "name is too long for a file's",
        "name is too long for a file's",
    ]
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (out, *out.rglob("*"))}
    assert modes == {0}
    other, said = tmp_path / "other.db", Said()
    assert transfer.bring(str(other), ["--from", "prosody", str(out)], said.lines.append, said.show) == 0
    with Users(other) as store:
        assert store.hashes() == [("zo_ë0", "a.example", keys[0]), ("zo_ë1", "a.example", keys[1])]
    with pytest.raises(names.Refused, match="cannot write"):
        export(database, "prosody", out)
    assert sorted(os.listdir(tmp_path)) == ["other.db", "out", "users.csv", "users.db"]


def test_no_name_leads_out_of_what_is_written_and_nobody_else_reads_it(database: Path, tmp_path: Path) -> None:
    odd = ["..", "../../x", "%2e%2e", "%2f", ".", "/etc/x", "a\0b", "=1+1", "a,b", '"', "-x", "~", "\\"]
    with Users(database) as store:
        store.take([(name, host, SCRAM) for name in odd for host in odd], replace=False)
        found = store.hashes()
    before, elsewhere = os.umask(0), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(elsewhere)
    try:
        for kind in ("csv", "prosody"):
            assert export(database, kind, tmp_path / kind)[0] == 0
            with pytest.raises(names.Refused, match="cannot write"):
                export(database, kind, tmp_path / "link")
    finally:
        os.umask(before)
    written = [tmp_path / "csv", tmp_path / "prosody", *(tmp_path / "prosody").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600, 0o700}
    assert len([path for path in written if path.suffix == ".dat"]) == len(found) == len(odd) ** 2
    assert sorted(os.listdir(tmp_path)) == ["csv", "elsewhere", "link", "prosody", "users.db"]
    assert os.listdir(elsewhere) == []
    assert len((tmp_path / "csv").read_text().splitlines()) == 1 + len(found)


@pytest.mark.parametrize("swap", ["link", "directory"])
@pytest.mark.parametrize("when", ["made", "opened"])
def test_who_owns_the_place_of_an_export_cannot_lead_it_elsewhere(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str, when: str
) -> None:
    """Once it is open, it is written to wherever it is now; before, what has taken its place is not opened."""
    bring(database, HEAD + f"alice,a.example,,{SCRAM.text()}\n")
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    for path in (place, elsewhere):
        path.mkdir()
    made, opened = os.mkdir, os.open

    def swapped() -> None:
        (new,) = place.iterdir()
        new.rename(place / "moved")
        if swap == "link":
            new.symlink_to(elsewhere)
        else:
            made(new)
            os.chown(new, 4711, -1)

    def mkdir(path: str, *rest: int, dir_fd: int | None = None) -> None:
        made(path, *rest, dir_fd=dir_fd)
        if when == "made" and dir_fd is None:
            swapped()

    def open_(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        descriptor = opened(path, flags, mode, dir_fd=dir_fd)
        if when == "opened" and flags & os.O_DIRECTORY and not (place / "moved").exists():
            swapped()
        return descriptor

    if swap == "directory" and os.geteuid():
        pytest.skip("needs root")
    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(os, "open", open_)
    with contextlib.suppress(names.Refused):
        export(database, "prosody", place / "out")
    assert os.listdir(elsewhere) == []
    assert [path.parent.parent.parent.name for path in tmp_path.rglob("*.dat")] == ["moved"] * (when == "opened")


def test_accounts_marked_as_disabled_on_demand(database: Path, tmp_path: Path) -> None:
    accounts = tmp_path / "data" / "a.example" / "accounts"
    accounts.mkdir(parents=True)
    (accounts / "alice.dat").write_text('return { ["password"] = "x"; ["disabled"] = true; };')
    words = ["--from", "prosody", str(tmp_path / "data")]
    for option, found in (([], (2, 0)), (["--disabled"], (0, 1))):
        said = Said()
        status = transfer.bring(str(database), [*words, *option], said.lines.append, said.show)
        assert (status, said.counts["taken"]) == found


def test_an_export_of_nobody(database: Path, tmp_path: Path) -> None:
    with Users(database) as store:
        store.add("alice", "a.example", SECRET)
    status, said = export(database, "prosody", tmp_path / "out")
    assert (status, said.counts) == (2, {"written": 0, "not written": 1})
    assert not (tmp_path / "out").exists()
    connection = sqlite3.connect(database)
    connection.execute("UPDATE users SET n = 3")
    connection.commit()
    connection.close()
    status, said = export(database, "csv", tmp_path / "out", "--json")
    assert json.loads(said.out)["not_written"] == [{"where": "alice@a.example", "reason": "its hash is broken"}]


# --- the command ---------------------------------------------------------------------------------------------

PROGRAM = [sys.executable, "-m", "bridge.programs.sqlite"]


@pytest.mark.parametrize(
    "words",
    [
        ["import"],
        ["import", "--from"],
        ["import", "--from", "csv"],
        ["import", "--from", "ldap", "x"],
        ["import", "--from", "csv", "x", SECRET],
        ["import", "--from", "csv", "--password", SECRET, "x"],
        ["import", "--from", "csv", "--host", "a b", "x"],
        ["export", "--to", "ejabberd", "x"],
        ["export", "--from", "csv", "x"],
    ],
)
def test_wrong_usage_is_one_line_that_does_not_show_it(database: Path, words: list[str]) -> None:
    """In this process, as the canary looks at arguments."""
    move = transfer.bring if words[0] == "import" else transfer.export
    said = Said()
    with pytest.raises(names.Refused) as caught:
        move(str(database), words[1:], said.lines.append, said.show)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not database.exists()


def test_the_command_itself(database: Path) -> None:
    path = database.with_name("users.csv")
    path.write_text(f"user,host,password\nalice,a.example,{SECRET}\n")

    def run(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [*PROGRAM, str(database), *words], capture_output=True, check=False, timeout=60, text=True
        )
        return done.returncode, done.stdout, done.stderr

    wrong = run("import", "--from", "x", "y")
    assert wrong[:2] == (2, "")
    assert wrong[2].startswith("extauth-sqlite: usage: DATABASE import --from prosody|ejabberd|csv ")
    missing = run("import", "--from", "csv", "/nonexistent")
    why = "extauth-sqlite: cannot read '/nonexistent': No such file or directory; nothing was imported\n"
    assert missing == (2, "", why)
    status, out, err = run("import", "--from", "csv", str(path))
    assert (status, out.split(), err) == (0, ["taken", "1", "there", "already", "0", "not", "taken", "0"], "")
    with Users(database) as store:
        assert [one.kind for _, _, one in store.hashes()] == [COST]
    assert run("export", "--to", "csv", str(database.with_name("out.csv")))[0] == 0


def test_a_pipe_can_be_imported(database: Path) -> None:
    text = f"user,host,hash\nalice,a.example,{SCRAM.text()}\n".encode()
    words = [*PROGRAM, str(database), "import", "--from", "csv", "/dev/stdin"]
    done = subprocess.run(words, input=text, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
