"""Accounts of a real ejabberd come along with their passwords: from its export, and from its tables."""

import sqlite3
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest
from support import canary
from support.components import command
from support.ejabberd.export import HOSTS, export
from support.programs import bundled

USERS = ["alice", "zoë"]
EVERYBODY = [(user, host, f"{canary.right(user)} <ü\"'\\;") for host in HOSTS for user in USERS]
SCHEMAS = Path("/usr/share/ejabberd/sql")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("ejabberd")
    canary.knows(folder, "ejabberd stores and exports them")
    return export(folder / "node", EVERYBODY)


def take_all(database: Path, hosts: Collection[str], *sources: tuple[str | Path, ...]) -> None:
    """Import each; then everybody of these hosts logs in with the right password only, more than once."""
    for words in sources:
        status, _, err = bundled.command(database, "import", "--from", "ejabberd", *words)
        assert (status, err) == (0, "")
    right = [attempt for attempt in EVERYBODY if attempt[1] in hosts]
    attempts = [*[(user, host, secret[:-1]) for user, host, secret in right], *right, right[-1]]
    assert bundled.logins(database, attempts) == [False] * len(right) + [True] * (len(right) + 1)


def test_export_piefxis(exported: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    main, _ = exported
    take_all(tmp_path / "users.db", HOSTS, (main,))


def test_export2sql(exported: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    _, files = exported
    sources = [("--host", host, path) for host, path in files.items()]
    take_all(tmp_path / "users.db", HOSTS, *sources)


@pytest.mark.parametrize("schema", ["lite.sql", "lite.new.sql"])
def test_a_dump_of_its_table(exported: tuple[Path, dict[str, Path]], tmp_path: Path, schema: str) -> None:
    """In SQLite, as its own command dumps it, with the schema of Debian's package: without and with the host."""
    canary.knows(tmp_path, "ejabberd stores them")
    sources: list[tuple[str | Path, ...]] = []
    hosts = ["plain.example", "sha256.example"]
    for host in hosts:
        path = exported[1][host]
        dump = tmp_path / f"{host}.sql"
        is_new = schema == "lite.new.sql"
        rows = [line for line in path.read_text().splitlines() if line.startswith("INSERT")]
        write_dump(dump, (SCHEMAS / schema).read_text(), [for_sqlite(row, host if is_new else "") for row in rows])
        sources.append((dump,) if is_new else ("--host", host, dump))
    take_all(tmp_path / "users.db", hosts, *sources)


def write_dump(dump: Path, schema: str, rows: Iterable[str]) -> None:
    """What sqlite3 makes of these statements."""
    path = dump.with_suffix(".db")
    database = sqlite3.connect(path)
    database.executescript(schema)
    for row in rows:
        database.execute(row)
    database.commit()
    database.close()
    with dump.open("wb") as output:
        subprocess.run([command("sqlite3", "sqlite3"), path, ".dump"], stdout=output, check=True, timeout=60)


def for_sqlite(line: str, host: str) -> str:
    """ejabberd writes its SQL for MySQL, in whose strings backslashes escape."""
    line = line.replace("\\\\", "\0").replace("\\'", "''").replace('\\"', '"').replace("\0", "\\")
    if host:
        line = line.replace("(username,", "(server_host, username,").replace("VALUES (", f"VALUES ('{host}', ")
    return line
