"""Dumps that are damaged, cut off, or of more than ejabberd's table: what is in doubt is not taken.

A password that never was one would let somebody in, so each of these is refused, or names the users it leaves out.
"""

from pathlib import Path

import pytest
from support import canary
from support.dumps import read

from bridge.programs.importing.entry import Entry, Found, NotTaken, Unreadable

SECRET = canary.right("alice")
TABLE = "CREATE TABLE `users` (`username` text, `password` text);\n"
ROW = f"INSERT INTO users (username, password) VALUES ('alice', '{SECRET}');\n"
EVIL = "INSERT INTO users (username, password) VALUES ('evil', 'x')"
ALICE = [("alice", SECRET)]


def taken(found: list[Found]) -> list[tuple[str, object]]:
    return [(one.user, one.secret) if isinstance(one, Entry) else (one.where, one.reason) for one in found]


# --- letters that were lost ----------------------------------------------------------------------------------

SAID = ["/*!40101 SET NAMES {} */;", "/*M!100100 SET NAMES '{}' */;", "SET NAMES {};", "set character set '{}';"]


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("name", ["latin1", "ascii", "cp1251", "koi8r", "utf16", "default"])
def test_a_dump_in_another_character_set_is_refused(tmp_path: Path, said: str, name: str) -> None:
    """A password of letters that the set lacks is a row of ? in it, and whoever types these would be let in."""
    row = "INSERT INTO `users` VALUES ('alice', '??????');\n"
    with pytest.raises(Unreadable, match=r"its character set is not UTF-8.*--default-character-set=utf8mb4"):
        read(tmp_path, said.format(name), "\n", TABLE, row)


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("name", ["utf8", "utf8mb3", "utf8mb4", "binary"])
def test_one_in_unicode_is_taken(tmp_path: Path, said: str, name: str) -> None:
    """Whatever else it sets and restores, as mysqldump does."""
    others = (
        "/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n",
        "/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\n",
        "/*!40101 SET @saved_cs_client     = @@character_set_client */;\n",
        "/*!50003 SET character_set_client  = latin1 */ ;\n",  # of the connection that made a trigger
        "/*!40101 SET character_set_client = @saved_cs_client */;\nSET character_set_client = utf8mb4;\n",
        "/*!40100 DEFAULT CHARACTER SET latin1 */;\n",
        "/*!50003 SET sql_mode = 'ANSI_QUOTES,ANSI' */ ;\n",
    )
    assert taken(read(tmp_path, said.format(name), "\n", *others, TABLE, ROW)) == ALICE


@pytest.mark.parametrize("mode", ["ANSI", "MYSQL323", "POSTGRESQL", "NO_TABLE_OPTIONS", "NO_KEY_OPTIONS,DB2"])
def test_so_is_one_for_another_database(tmp_path: Path, mode: str) -> None:
    """It is in latin1, and only its mode shows that; or, with --compact, how it quotes names."""
    setting = f"/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO,{mode}' */;\n"
    with pytest.raises(Unreadable, match="without --compatible"):
        read(tmp_path, setting, TABLE, ROW)


def test_names_in_the_quotes_of_strings_show_that_too(tmp_path: Path) -> None:
    compact = "/*M!999999\\- enable the sandbox mode */ \n"
    with pytest.raises(Unreadable, match="without --compatible"):
        read(tmp_path, compact, 'CREATE TABLE "users" ("username" text, "password" text);\n', ROW)


DOUBT = "a ? may stand for a letter that was lost: dump with --default-character-set=utf8mb4"


@pytest.mark.parametrize(
    ("head", "is_exact"),
    [
        ("/*M!999999\\- enable the sandbox mode */ \n" + TABLE, False),  # --compact, which never says
        ("-- MySQL dump 10.13\n-- Dump completed\n", False),
        ("", True),  # of some other tool
        ("/*!40101 SET NAMES utf8 */;\n", False),  # without what has four bytes
        ("/*!40101 SET NAMES utf8mb4 */;\n", True),
        ("/*!40101 SET NAMES binary */;\n", True),
        ("-- \n-- Mnesia table: passwd\n--\n", True),
        ("PRAGMA foreign_keys=OFF;\n", True),
    ],
)
def test_where_a_letter_may_have_become_a_question_mark(tmp_path: Path, head: str, is_exact: bool) -> None:
    rows = "INSERT INTO users (username, password) VALUES\n('bob', 'who?'),\n('b?b', 'x'),\n('dan', 'x');\n"
    found = taken(read(tmp_path, head, rows))
    if is_exact:
        assert found == [("bob", "who?"), ("b?b", "x"), ("dan", "x")]
    else:
        assert [reason for _, reason in found] == [DOUBT, DOUBT, "x"]


def test_a_letter_that_was_lost_elsewhere(tmp_path: Path) -> None:
    (found,) = read(tmp_path, ROW.replace(SECRET, "na\ufffdve"))
    assert found == NotTaken("line 1", "its password holds a letter that was lost")


# --- what comes before, after and between --------------------------------------------------------------------


def test_a_mark_of_unicode_at_the_beginning(tmp_path: Path) -> None:
    """And all of a string's escapes are known for what they are behind it."""
    text = "/*!40101 SET NAMES utf8mb4 */;\n" + ROW.replace(SECRET, r"it\'s")
    assert taken(read(tmp_path, b"\xef\xbb\xbf", text)) == [("alice", "it's")]


MYSQLDUMP = "-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)\n--\n"
PG_DUMP = "--\n-- PostgreSQL database dump\n--\n\n"
CLUSTER = "--\n-- PostgreSQL database cluster dump\n--\n\n"


@pytest.mark.parametrize(
    ("begun", "complete"),
    [
        (MYSQLDUMP, "-- Dump completed on 2026-11-29 20:53:47\n"),
        (MYSQLDUMP, "-- Dump completed\n"),
        ("-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n", "-- Dump completed"),
        (PG_DUMP, "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n\n"),
        (CLUSTER + PG_DUMP, "-- PostgreSQL database dump complete\n-- PostgreSQL database cluster dump complete\n"),
        ("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", "COMMIT;\n"),
    ],
)
def test_what_is_cut_off_between_statements(tmp_path: Path, begun: str, complete: str) -> None:
    assert taken(read(tmp_path, begun, ROW, complete)) == ALICE
    with pytest.raises(Unreadable, match="it ends too early"):
        read(tmp_path, begun, ROW)


def test_a_cluster_of_databases_needs_each_to_be_complete(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="it ends too early"):
        read(tmp_path, CLUSTER, PG_DUMP, ROW, "-- PostgreSQL database cluster dump complete\n")


def test_in_a_cluster_a_backslash_escapes_nothing(tmp_path: Path) -> None:
    end = "-- PostgreSQL database cluster dump complete\n"
    assert taken(read(tmp_path, CLUSTER, ROW.replace(SECRET, "a\\b"), end)) == [("alice", "a\\b")]


SEQUEL = "# ************************\n# Sequel Ace SQL dump, it's of\n# ************************\n\n"


def test_comments_of_mysqls_own(tmp_path: Path) -> None:
    parts = SEQUEL, "SET NAMES utf8mb4;\n", f"# it's Dan's\n# {EVIL};\n", ROW.replace(SECRET, r"#\'"), "# it's the end"
    assert taken(read(tmp_path, *parts)) == [("alice", "#'")]


def test_other_quotes_of_mysqls(tmp_path: Path) -> None:
    """In which a backslash escapes, too."""
    text = rf'SET x = "it\"s; {EVIL}; ";' + "\n"
    row = r"""INSERT INTO users (username, password) VALUES ("alice", "a\"b''c""d");""" + "\n"
    assert taken(read(tmp_path, "/*!40101 SET NAMES utf8mb4 */;\n", text, row)) == [("alice", "a\"b''c\"d")]


# --- another table -------------------------------------------------------------------------------------------

ANOTHER = ROW.replace("alice", "bob")


@pytest.mark.parametrize(
    "text",
    [
        f"USE `app`;\n{ANOTHER}USE `ejabberd`;\n{ROW}",
        f"{ANOTHER}USE ejabberd;\n{ROW}",
        ANOTHER.replace("users", "app.users") + ROW.replace("users", "ejabberd.users"),
        ANOTHER + ROW.replace("users", "`ejabberd`.`users`"),
        f"\\connect app\n{ANOTHER}\\connect ejabberd\n{ROW}",
        f"\\connect app\nCOPY public.users (username, password) FROM stdin;\nbob\tx\n\\.\n\n\\c ejabberd\n\n{ROW}",
        f"SET search_path = app, pg_catalog;\n{ANOTHER}SET search_path = public, pg_catalog;\n{ROW}",
    ],
)
def test_rows_of_a_second_table(tmp_path: Path, text: str) -> None:
    """Not only a second CREATE TABLE shows it: mysqldump -t writes none."""
    with pytest.raises(Unreadable, match="a second table `users`"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        f"USE `app`; INSERT INTO things VALUES (1); USE ejabberd;\n{TABLE}USE ejabberd;\n{ROW}",
        f"USE ejabberd;\n{TABLE}" + ROW.replace("users", "ejabberd.users"),
        f"\\connect app\n\\connect ejabberd\n{ROW}",
    ],
)
def test_but_one_among_several_databases_is_enough(tmp_path: Path, text: str) -> None:
    assert taken(read(tmp_path, text)) == ALICE


def test_a_second_row_is_passed_over_for_another_algorithm_only(tmp_path: Path) -> None:
    """Else it is left to whoever takes them, who names it."""
    head = "INSERT INTO users (username, password, type) VALUES "
    assert taken(read(tmp_path, head, f"('alice', '{SECRET}', 1), ('alice', 'x', 3);")) == ALICE
    assert taken(read(tmp_path, head, f"('alice', '{SECRET}', 1), ('alice', 'x', 1);")) == [*ALICE, ("alice", "x")]


# --- routines and triggers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"DELIMITER ;;\nCREATE PROCEDURE `p`() BEGIN set x=1; {EVIL}; END ;;\nDELIMITER ;\n",
        f"delimiter $$\r\nCREATE FUNCTION f() BEGIN -- it's\r\n {EVIL}; END$$\r\n$$\r\ndelimiter ;\r\n",
        f"DELIMITER ;;\n/*!50003 CREATE*/ /*!50003 TRIGGER t BEGIN SET x='*/'; {EVIL}; END */;;\nDELIMITER ;\n",
        f"DELIMITER ;\n/*!50003 CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN {EVIL}; END */;\n",
    ],
    ids=["procedure", "function", "trigger", "comment"],
)
def test_what_routines_of_mysqls_do_is_not_done(tmp_path: Path, text: str) -> None:
    assert taken(read(tmp_path, "/*!40101 SET NAMES utf8mb4 */;\n", TABLE, text, ROW)) == ALICE
    with pytest.raises(Unreadable, match="it ends too early"):
        read(tmp_path, "/*!40101 SET NAMES utf8mb4 */;\n", TABLE, f"DELIMITER ;;\n{EVIL};\n", ROW)


@pytest.mark.parametrize("what", ["PROCEDURE p()", "TRIGGER t BEFORE INSERT ON x FOR EACH ROW", "FUNCTION f()"])
def test_nor_without_their_delimiter(tmp_path: Path, what: str) -> None:
    """Where such a one ends cannot be told then."""
    routine = f"CREATE DEFINER=`root`@`localhost` {what} BEGIN BEGIN set x=1; END; {EVIL}; END;\n"
    with pytest.raises(Unreadable, match="without DELIMITER: dump the table `users` alone"):
        read(tmp_path, TABLE, routine, ROW)


@pytest.mark.parametrize(
    "text",
    [
        f"CREATE TRIGGER t AFTER INSERT ON x BEGIN UPDATE y SET a = CASE WHEN 1 THEN 2 END; {EVIL}; END;\n",
        f"CREATE TEMP TRIGGER IF NOT EXISTS t AFTER INSERT ON x BEGIN {EVIL}; SELECT end; {EVIL};\nend;\n",
        f"CREATE PROCEDURE public.p()\n    LANGUAGE sql\n    BEGIN ATOMIC\n {EVIL};\n {EVIL};\nEND;\n",
        f"CREATE FUNCTION f(begin integer) RETURNS x LANGUAGE plpgsql AS $$ BEGIN {EVIL}; END $$;\n",
        "CREATE FUNCTION f() RETURNS void\n    BEGIN ATOMIC\nEND;\n",
        "CREATE FUNCTION f(atomic integer, begin integer) RETURNS x LANGUAGE sql AS $$ SELECT 1 $$;\n",
        'CREATE TRIGGER t BEFORE UPDATE OF begin, "begin" ON public.x EXECUTE FUNCTION public.f();\n',
        "CREATE PUBLICATION p FOR TABLE ONLY public.users (username, password);\n",
        "CREATE TRIGGER t BEFORE INSERT ON public.x FOR EACH ROW EXECUTE FUNCTION public.f();\n",
        f"CREATE RULE r AS\n    ON INSERT TO public.x DO ( {EVIL}; {EVIL}; );\n",
    ],
    ids=[
        "SQLite",
        "with a column",
        "PostgreSQL",
        "in dollars",
        "empty",
        "of names",
        "on a name",
        "publication",
        "without any",
        "rule",
    ],
)
def test_nor_what_others_triggers_do(tmp_path: Path, text: str) -> None:
    assert taken(read(tmp_path, "PRAGMA foreign_keys=OFF;\n", text, ROW)) == ALICE


def test_a_trigger_without_an_end(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="it ends too early"):
        read(tmp_path, f"CREATE TRIGGER t AFTER INSERT ON x BEGIN {EVIL};\n", ROW)


# --- what is no password -------------------------------------------------------------------------------------


def test_users_of_another_program(tmp_path: Path) -> None:
    table = "CREATE TABLE `users` (`id` int, `username` text, `password` text, `email` text);\n"
    bcrypt = "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
    (found,) = read(tmp_path, table, f"INSERT INTO `users` VALUES (1, 'alice', '{bcrypt}', 'a@b.c');\n")
    assert found == NotTaken("line 2", "looks like a hash, not a password")
