"""What the databases' own programs dump, in the forms they have, and what an import makes of it.

Each database has routines and triggers that would add users, and letters that not every character set has.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import canary
from support.canary import right
from support.components import command
from support.databases.mariadb import MariaDB
from support.databases.postgresql import PostgreSQL
from support.databases.server import Server
from support.databases.tables import Place, scram

from bridge.programs.hashes import Scram
from bridge.programs.importing import ejabberd
from bridge.programs.importing.entry import Entry, Found, NotTaken, Unreadable

pytestmark = pytest.mark.slow

USERS = {"alice": right("alice") + "\\; ' é", "grün": "Пароль", "smile": "\U0001f600\U0001f600", "ask": "why?"}

EVIL = "INSERT INTO users (username, password) VALUES ('evil', 'x')"

ROUTINES = {
    "mariadb": f"""CREATE TABLE other (x int);
        DELIMITER ;;
        CREATE PROCEDURE p() BEGIN SET @x = 1; {EVIL}; END ;;
        CREATE TRIGGER t BEFORE INSERT ON other FOR EACH ROW BEGIN SET @x = 1; {EVIL}; END ;;
        DELIMITER ;
        """,
    "postgresql": f"""CREATE TABLE other (x int);
        CREATE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC
        {EVIL}; SELECT CASE WHEN true THEN 1 END; {EVIL}; END;
        CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {EVIL}; END $$;
        CREATE RULE r AS ON INSERT TO other DO ALSO ({EVIL}; {EVIL});
        """,
}


@pytest.fixture(scope="module")
def filled() -> Iterator[Callable[[str], Place]]:
    """ejabberd's table with users of all kinds, alone on a server of this kind: pg_dumpall dumps all that is there."""
    made: dict[str, Place] = {}

    def place(kind: str) -> Place:
        if kind not in made:
            server: Server = {"postgresql": PostgreSQL, "mariadb": MariaDB}[kind]().start()
            server.create("dumped")
            made[kind] = Place(server, "dumped", "ejabberd")
            made[kind].put({**USERS, "bob": scram(right("bob"), "sha256")})
            made[kind].sql(ROUTINES[kind])
        return made[kind]

    yield place
    for one in made.values():
        one.close()
        one.server.remove()


def dump(place: Place, tmp_path: Path, program: str, *options: str) -> list[Found]:
    server = place.server
    if isinstance(server, MariaDB):
        words = [command(program, "mariadb-client"), "--no-defaults", f"--socket={server.socket}", "--user=root"]
    else:
        words = [command(program, "postgresql-client"), "-h", str(server.folder), "-p", str(server.port)]
        words += ["-U", "postgres"]
    canary.knows(tmp_path, "passwords as ejabberd stores them")
    database = [] if program == "pg_dumpall" else [place.database]
    with (tmp_path / "dump.sql").open("wb") as file:
        subprocess.run([*words, *options, *database], check=True, stdout=file, timeout=60)
    return [*ejabberd.read(str(tmp_path / "dump.sql"))]


def taken(found: list[Found]) -> dict[str, str]:
    """Everybody's password, hashed or not."""
    everybody = [one for one in found if isinstance(one, Entry)]
    hashes = {one.user: one.secret for one in everybody if isinstance(one.secret, Scram)}
    assert [user for user, secret in hashes.items() if secret.matches(right(user))] == ["bob"]
    return {one.user: one.secret for one in everybody if isinstance(one.secret, str)}


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--complete-insert",
        "--skip-extended-insert",
        "--hex-blob",
        "--routines --events",
        "--skip-comments",
        "--skip-dump-date",
        "--no-create-info --complete-insert",
        "--no-autocommit",
        "--default-character-set=binary",
        "--databases",
    ],
)
def test_mysqldump(filled: Callable[[str], Place], tmp_path: Path, options: str) -> None:
    found = dump(filled("mariadb"), tmp_path, "mariadb-dump", *options.split())
    assert taken(found) == USERS
    assert len(found) == len(USERS) + 1


@pytest.mark.parametrize(
    "options", ["--compact", "--compact --routines", "--skip-opt", "--skip-set-charset", "--default-character-set=utf8"]
)
def test_mysqldump_where_letters_may_have_been_lost(
    filled: Callable[[str], Place], tmp_path: Path, options: str
) -> None:
    """Those who have a ? are not taken: it has become one for who has a face of four bytes, where it is in utf8."""
    found = dump(filled("mariadb"), tmp_path, "mariadb-dump", *options.split())
    lost = ["ask", "smile"] if options.endswith("utf8") else ["ask"]
    assert taken(found) == {user: secret for user, secret in USERS.items() if user not in lost}
    reasons = [one.reason for one in found if isinstance(one, NotTaken)]
    assert [reason[:10] for reason in reasons] == ["a ? may st"] * len(lost)


@pytest.mark.parametrize(
    "options",
    [
        "--default-character-set=latin1",
        "--default-character-set=cp1251",
        "--compatible=ansi",
        "--compatible=postgresql",
        "--compatible=no_table_options",
        "--compact --compatible=ansi",
    ],
)
def test_mysqldump_that_has_lost_letters(filled: Callable[[str], Place], tmp_path: Path, options: str) -> None:
    with pytest.raises(Unreadable, match=r"character set is not UTF-8|without --compatible"):
        dump(filled("mariadb"), tmp_path, "mariadb-dump", *options.split())


def test_mysqldump_that_has_lost_them_in_silence(filled: Callable[[str], Place], tmp_path: Path) -> None:
    """Nothing says so; but none of those who have lost one is taken."""
    found = dump(filled("mariadb"), tmp_path, "mariadb-dump", "--compact", "--default-character-set=latin1")
    assert taken(found) == {}
    assert len(found) == len(USERS) + 1


@pytest.mark.parametrize(
    "words",
    [
        "pg_dump",
        "pg_dump --inserts",
        "pg_dump --column-inserts",
        "pg_dump --data-only",
        "pg_dump --clean --create",
        "pg_dump --rows-per-insert=9",
        "pg_dumpall",
        "pg_dumpall --inserts",
    ],
)
def test_pg_dump(filled: Callable[[str], Place], tmp_path: Path, words: str) -> None:
    found = dump(filled("postgresql"), tmp_path, *words.split())
    assert taken(found) == USERS
    assert len(found) == len(USERS) + 1


def test_pg_dump_in_another_encoding(filled: Callable[[str], Place], tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"its character set is not UTF-8.*--encoding=UTF8"):
        dump(filled("postgresql"), tmp_path, "pg_dump", "--encoding=SQL_ASCII")
