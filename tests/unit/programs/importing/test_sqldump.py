r"""Dumps of the table `users`, of three databases and ejabberd itself; and what else a database holds.

Whatever a site's users have written is in there, too: messages with quotes, semicolons and statements in them.
"""

import base64
import io
import sqlite3
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import canary
from support.components import missing
from support.dumps import read

from bridge.programs.hashes import Scheme, Scram
from bridge.programs.importing import ejabberd, sqldump, sqltokens
from bridge.programs.importing.entry import Entry, Found, NotTaken, Unreadable

SECRET = canary.right("alice")
KEY = Scram.of(SECRET, Scheme("SHA-1", 10), b"salt")
KEYS = {name: Scram.of(SECRET, Scheme(name, 10), b"salt") for name in ("SHA-1", "SHA-256", "SHA-512")}

MYSQL = "/*M!999999\\- enable the sandbox mode */\n\n/*!40101 SET NAMES utf8mb4 */;\n"
POSTGRESQL_END = "--\n-- PostgreSQL database dump complete\n--\n"
POSTGRESQL = "--\n-- PostgreSQL database dump\n--\n\n\\restrict it's\nSET standard_conforming_strings = on;\n"
SQLITE = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"
TABLE = """\
CREATE TABLE `users` (
  `username` varchar(191) NOT NULL,
  `password` text NOT NULL,
  `serverkey` varchar(128) NOT NULL DEFAULT '',
  `salt` varchar(128) NOT NULL DEFAULT ');',
  `iterationcount` int(11) NOT NULL DEFAULT 0,
  `created_at` timestamp NOT NULL DEFAULT current_timestamp(),
  PRIMARY KEY (`username`), UNIQUE KEY x (`username`(191))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='it\\'s';
"""
COLUMNS = "(username, server_host, password, serverkey, salt, iterationcount, created_at)"


DUMPS = sorted(Path(__file__).with_name("dumps").iterdir())


def users(found: list[Found]) -> dict[tuple[str, str | None], object]:
    assert all(isinstance(one, Entry) for one in found), found
    return {(one.user, one.host): one.secret for one in found if isinstance(one, Entry)}


def scram(key: Scram, quote: str = "'", separator: str = ", ", prefix: str = "") -> str:
    parts = (base64.b64encode(part).decode() for part in (key.stored_key, key.server_key, key.salt))
    return prefix + separator.join(f"{quote}{part}{quote}" for part in parts) + f"{separator}{key.iterations}"


def test_mysqldump(tmp_path: Path) -> None:
    """Columns from CREATE TABLE, several rows in one statement, escapes, and statements within strings."""
    archive = r"INSERT INTO `archive` VALUES ('it\'s; INSERT INTO `users` VALUES (\'x\',\'y\',\'\');\n', '\\');"
    rows = (
        rf"INSERT INTO `users` VALUES ('alice','{SECRET}\\ \'\"; --','','',0,'2020-01-01 00:00:00'),"
        rf"('zoë','it''s /* no comment */',_binary '','',0,NULL),('bob',{scram(KEY, separator=',')},NULL);"
    )
    found = read(tmp_path, MYSQL, archive, TABLE, "LOCK TABLES `users` WRITE;\n", rows, "\nUNLOCK TABLES;\n", archive)
    assert users(found) == {
        ("alice", None): SECRET + "\\ '\"; --",
        ("zoë", None): "it's /* no comment */",
        ("bob", None): KEY,
    }
    assert {one.where for one in found} == {"line 14"}
    assert SECRET not in repr(found)


def test_pg_dump(tmp_path: Path) -> None:
    """COPY; functions; and --inserts, with backslashes that escape nothing."""
    parts = (
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $_$ SELECT 'it''s'; ' $_$;\n",
        "COPY public.archive (txt) FROM stdin;\nINSERT INTO users VALUES ('x');\n'\n\\.\n\n",
        f"COPY public.users {COLUMNS} FROM stdin;\n",
        f"alice\ta.example\t{SECRET}\\\\ ''\\t'\t\t\t0\t2020-01-01\n",
        f"bob\tb.example\t{scram(KEY, '', chr(9))}\t2020-01-01\n",
        "\\.\n\n",
        f"INSERT INTO public.users {COLUMNS} VALUES ('carol', 'a.example', 'C:\\''', '', '', 0, now());\n",
        f"INSERT INTO public.\"users\" {COLUMNS} VALUES ('dan', 'a.example', E'a\\'b', '', '', 0, now())",
        " ON CONFLICT x;\n",
        POSTGRESQL_END,
    )
    assert users(read(tmp_path, POSTGRESQL, *parts)) == {
        ("alice", "a.example"): SECRET + "\\ ''\t'",
        ("bob", "b.example"): KEY,
        ("carol", "a.example"): "C:\\'",
        ("dan", "a.example"): "a'b",
    }


@pytest.mark.parametrize("schema", ["lite.sql", "lite.new.sql"])
def test_sqlite(tmp_path: Path, schema: str) -> None:
    """With the schema of Debian's package, which SQLite keeps as it was written."""
    text = next(Path("/usr/share/ejabberd/sql").glob(schema), None)
    if text is None:
        missing("its SQL schema", "ejabberd")
    database = sqlite3.connect(":memory:")
    database.executescript(text.read_text())
    host = {"server_host": "a.example"} if "new" in schema else {}
    passwords = {"alice": f"{SECRET}\\';\n--", "bob": "it''s", "zoë": "x"}
    for name, password in passwords.items():
        row = {"username": name, "password": password, **host}
        database.execute(f"INSERT INTO users ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", [*row.values()])
    database.execute(
        f"INSERT INTO archive (username, timestamp, peer, bare_peer, xml, txt{', server_host' if host else ''})"
        f" VALUES ('alice', 1, '', '', '', ?{', 1' if host else ''})",
        ["it's\nINSERT INTO users VALUES ('evil','x','','',0,NULL);\n"],
    )
    found = read(tmp_path, "\n".join(database.iterdump()))
    database.close()
    assert users(found) == {(name, host.get("server_host")): password for name, password in passwords.items()}


@pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.stem)
def test_dumps_of_real_servers(path: Path, tmp_path: Path) -> None:
    """By Debian 12's mariadb-dump, pg_dump and sqlite3, of ejabberd 23.01's tables, old and new; and half of them.

    The archive beside it holds a message with quotes and a statement.
    """
    host = "a.example" if path.stem.endswith("new") else None
    found = users([*ejabberd.read(str(path))])
    bob = found.pop(("bob", host))
    assert isinstance(bob, Scram)
    assert bob.matches("pencil")
    assert found == {("alice", host): "C:\\new ' '' \" ; -- x", ("zoë", host): "Zauberflöte"}
    lines = path.read_bytes().splitlines(keepends=True)
    for cut in range(0, len(lines), 3):
        with suppress(Unreadable):
            half = users(read(tmp_path, *lines[:cut], lines[cut][:9]))
            assert half.items() <= {**found, ("bob", host): bob}.items()


def test_what_ejabberd_itself_writes(tmp_path: Path) -> None:
    """export2sql: without columns of a table, for MySQL, each user deleted first."""
    assert users(
        read(
            tmp_path,
            "-- \n-- Mnesia table: passwd\n--\ndelete from users where username='alice' and 0=0;\n",
            "INSERT INTO users(username, password) VALUES ('alice', 'a\\\"b\\\\');\n",
            "delete from users where username='bob' and 0=0;\n",
            "INSERT INTO users(username, password, serverkey, salt, iterationcount) VALUES ",
            f"('bob', {scram(KEYS['SHA-256']).replace(chr(39), chr(39) + 'sha256:', 1)});\n",
        )
    ) == {("alice", None): 'a"b\\', ("bob", None): KEYS["SHA-256"]}


@pytest.mark.parametrize("algorithm", [*KEYS])
@pytest.mark.parametrize("prefix", [True, False])
def test_every_algorithm(tmp_path: Path, algorithm: str, prefix: bool) -> None:
    """Newer ejabberds say it in a column of its own, and may have a row for each."""
    old = {"SHA-256": "sha256:", "SHA-512": "sha512:"}.get(algorithm, "") if prefix else ""
    row = f"('alice', {scram(KEYS[algorithm]).replace(chr(39), chr(39) + old, 1)}"
    head = "INSERT INTO users (username, password, serverkey, salt, iterationcount, type) VALUES"
    found = read(tmp_path, f"{head} {row}, 3), {row}, 4);")
    assert users(found) == {("alice", None): KEYS[algorithm]}
    assert len(found) == 1
    again = read(tmp_path, f"{head} {row}, 3), {row}, 4), {row}, 3);")  # whoever takes it names the second one
    assert len(again) == 2


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("'alice', NULL, '', '', 0", "no password is stored"),
        ("'alice', '', '', '', 0", "no password is stored"),
        ("'alice', upper('x'), '', '', 0", "its password is no text"),
        ("'alice', x'ff', '', '', 0", "its password is no text"),
        ("'alice', 0xff, '', '', 0", "its password is no text"),
        ("unistr('x'), 'x', '', '', 0", "its username is no text"),
        ("'alice', 'C:\\x', '', '', 0", "its password holds a backslash"),
        ("'alice', 'x', 'AAAA', 'AAAA', 10", "not base64"),
        ("'alice', 'AAAA', 'AAAA', 'AAAA', 10", "an unknown algorithm"),
        ("'alice', 'md5:AAAA', 'AAAA', 'AAAA', 10", "an unknown algorithm"),
        (f"'alice', {scram(KEY)[:-2]}-5", "a number of iterations that is none"),
        (f"'alice', {scram(KEY)}0000000000", "a number of iterations that is none"),
    ],
)
def test_what_cannot_be_taken(tmp_path: Path, values: str, reason: str) -> None:
    columns = "username, password, serverkey, salt, iterationcount"
    first, second = read(tmp_path, f"INSERT INTO users ({columns}) VALUES\n({values}),\n('bob', 'x', '', '', 0);\n")
    assert isinstance(first, NotTaken)
    assert first.where == "line 2"
    assert reason in first.reason
    assert isinstance(second, Entry)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no table"),
        ("INSERT INTO user (username, password) VALUES ('a', 'b');", "no table"),
        ("INSERT INTO users VALUES ('a', 'b');", "columns of `users` are not named"),
        ("CREATE TABLE users (id int, name text); INSERT INTO users VALUES (1, 'a');", "not ejabberd's"),
        ("INSERT INTO users (username, password) VALUES ('a');", "too many or too few"),
        ("INSERT INTO users (username, password) VALUES ('a', 'b', 'c');", "too many or too few"),
        ("INSERT INTO users (username, password) SELECT a, b FROM c;", "not of values"),
        ("INSERT INTO users (username, password) VALUES ('a', 'b'", "ends too early"),
        ("INSERT INTO users (username, password) VALUES ('a', 'b')", "ends too early"),
        ("INSERT INTO users (username, password) VALUES ('a', 'b'),\n", "ends too early"),
        ("CREATE) TABLE users (username;", "parenthesis"),
        ("INSERT INTO users (username, password) VALUES ('a', 'b", "does not end"),
        ("INSERT INTO users (username, password) VALUES ('a', E'b", "does not end"),
        ("/* INSERT INTO users (username, password) VALUES ('a', 'b');", "does not end"),
        ("SELECT $x$ INSERT INTO users (username, password) VALUES ('a', 'b');", "does not end"),
        ("COPY users (username, password) FROM stdin;\na\tb\n", "ends too early"),
        ("COPY users (username, password) FROM stdin;\na\n\\.\n", "too many or too few"),
        ("SET standard_conforming_strings = off;", "escapes"),
        ("SET client_encoding = 'LATIN1';", "its character set is not UTF-8"),
        ("SET client_encoding TO sql_ascii;", "its character set is not UTF-8"),
        (b"\xff\xfe" + "INSERT".encode("utf-16-le"), "in UTF-16"),
        (b"\xfe\xff" + "INSERT".encode("utf-16-be"), "in UTF-16"),
        (f"{TABLE}; USE other; {TABLE}", "a second table"),
        ("CREATE TABLE a.users (username text); CREATE TABLE b.users (username text);", "a second table"),
        (r"INSERT INTO x VALUES ('it\'s', 'a');", "not known whether"),
        (r"INSERT INTO x VALUES ('\'); INSERT INTO users VALUES (''a'', ''b''); --');", "not known whether"),
    ],
)
def test_what_is_refused_as_a_whole(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read(tmp_path, text)


@pytest.mark.parametrize("said", ["/*!40101 SET NAMES {} */", "SET NAMES {}", "set names '{}'"])
@pytest.mark.parametrize(
    ("codec", "name"),
    [("gbk", "gbk"), ("gb18030", "GB18030"), ("shift_jis", "sjis"), ("cp932", "cp932"), ("big5", "big5")],
)
def test_a_letter_that_ends_like_a_backslash_ends_no_string_late(
    tmp_path: Path, said: str, codec: str, name: str
) -> None:
    """Or what follows in the same message would be statements."""
    letter = next(bytes([lead, 0x5C]) for lead in range(0x81, 0xFF) if is_letter(bytes([lead, 0x5C]), codec))
    written = b"INSERT INTO x VALUES ('" + letter + b"', '); INSERT INTO users VALUES (0x61, 0x62); -- ');\n"
    table = "CREATE TABLE `users` (`username` text, `password` text);\n"
    assert len(read(tmp_path, MYSQL, table, written)) == 1  # it would be, if the dump did not say in what it is
    with pytest.raises(Unreadable, match="its character set"):
        read(tmp_path, "-- MySQL dump 10.13\n", said.format(name), ";\n", table, written)


def is_letter(data: bytes, codec: str) -> bool:
    with suppress(UnicodeDecodeError):
        return len(data.decode(codec)) == 1
    return False


def test_a_string_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqltokens, "MOST_PENDING", 1 << 20)
    for begun in ("'", "COPY users (username, password) FROM stdin;\n"):
        with pytest.raises(Unreadable, match="does not end"):
            read(tmp_path, begun, "x" * (3 << 20))


def test_many_dollars_are_read_in_one_way_only(tmp_path: Path) -> None:
    """Where a tag might have one in it, this took hours."""
    with pytest.raises(Unreadable, match="no table"):
        read(tmp_path, "SELECT 1 ", "$a" * 32768, ";")


text = st.text("ab'\\;,()\"`-/*$\n\t é", max_size=12)


@given(st.lists(st.tuples(text, text), max_size=5), st.integers(1, 40), st.sampled_from(["my", "pg", "lite", "copy"]))
def test_whatever_is_stored_is_read_and_nothing_else(rows: list[tuple[str, str]], size: int, form: str) -> None:
    """Wherever the file is cut into pieces."""
    found = dumped(rows, size, form)
    assert [(one.user, one.secret) for one in found if isinstance(one, Entry)] == [row for row in rows if row[1]]
    assert len(found) == len(rows)


def dumped(rows: list[tuple[str, str]], size: int, form: str) -> list[Found]:
    def quoted(value: str) -> str:
        value = value.replace("\\", "\\\\").replace("'", "\\'") if form == "my" else value.replace("'", "''")
        return f"'{value}'"

    def copied(value: str) -> str:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")

    words = "CREATE TABLE users (username text, password text);\n"
    end = {"lite": "COMMIT;\n", "my": ""}.get(form, POSTGRESQL_END)
    if form == "copy":
        words += "COPY users (username, password) FROM stdin;\n"
        words += "".join(f"{copied(user)}\t{copied(password)}\n" for user, password in rows) + "\\.\n"
    elif rows:
        words += "INSERT INTO users VALUES " + ",".join(f"({quoted(a)},{quoted(b)})" for a, b in rows) + ";\n"
    head = {"my": MYSQL, "pg": POSTGRESQL, "lite": SQLITE, "copy": POSTGRESQL}[form]

    class Named(io.BytesIO):
        name = "dump"

    data = (head + words + end).encode()
    pieces = (data[at : at + size] for at in range(0, len(data), size))
    with patch.object(sqltokens, "chunks", lambda _file: pieces):
        return [*sqldump.read(Named())]
