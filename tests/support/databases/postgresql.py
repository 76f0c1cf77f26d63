"""PostgreSQL, with a standby if one is asked for."""

import signal
import time
from pathlib import Path
from typing import ClassVar

from support.components import command, missing
from support.databases.server import LOGIN, PASSWORD, PATIENCE, Server, quoted

CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_permissions = 0700
fsync = off
full_page_writes = off
autovacuum = off
shared_buffers = 16MB
max_connections = 40
max_wal_size = 64MB
min_wal_size = 32MB
wal_keep_size = 32MB
hot_standby = on
"""
"""All that is wanted of it is that it is quick: what it has said is done must survive it, but not the machine."""

HBA = """
local all all trust
local replication all trust
host all all 127.0.0.1/32 scram-sha-256
"""


class PostgreSQL(Server):
    """A server, or the standby of one; see Server."""

    kind: ClassVar[str] = "postgresql"
    user: ClassVar[str] = "postgres"
    maintenance: ClassVar[str] = "postgres"

    @staticmethod
    def _command(name: str) -> str:
        """Debian keeps the server's commands where each version has its own."""
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
        return str(found[-1]) if found else missing(name, "postgresql")

    def make(self) -> None:
        how = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres"]
        self.run([self._command("initdb"), *how, "--pgdata", str(self.data)])
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION)
        (self.data / "pg_hba.conf").write_text(HBA)

    def words(self) -> list[str]:
        where = ["-D", str(self.data), "-k", str(self.folder), "-p", str(self.port)]
        return [self._command("postgres"), *where]

    def client(self, database: str) -> list[str]:
        how = ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
        where = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres", database]
        return [command("psql", "postgresql"), *how, *where]

    def create(self, database: str) -> None:
        self.sql(
            f"""SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{LOGIN}') AS missing \\gset
            \\if :missing
            CREATE ROLE {LOGIN} LOGIN PASSWORD '{PASSWORD}';
            \\endif
            CREATE DATABASE {database} OWNER {LOGIN};""",
            self.maintenance,
        )

    def copy(self, database: str, new: str, table: str) -> None:
        self.sql(f"CREATE DATABASE {new} TEMPLATE {database} OWNER {LOGIN};", self.maintenance)

    def url(self, database: str, *, tcp: bool = False) -> str:
        if tcp:
            return f"postgresql://{LOGIN}:{quoted(PASSWORD)}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{LOGIN}@/{database}?host={quoted(str(self.folder))}&port={self.port}"

    def shut_down(self) -> None:
        self.stop(signal.SIGINT)  # "fast": SIGTERM would wait for all sessions to end by themselves

    # --- two of them -------------------------------------------------------------------------------------

    def standby(self) -> "PostgreSQL":
        """A read-only copy that follows this one; started."""
        return _Standby(self).start()

    def promote(self) -> None:
        """Make a standby a server that can be written to."""
        self.sql("SELECT pg_promote(wait => true);", self.maintenance)

    def wait_for(self, primary: "PostgreSQL") -> None:
        """Wait until a standby has all that its primary has."""
        (wanted,) = primary.sql("SELECT pg_current_wal_lsn();", self.maintenance)[0]
        deadline = time.monotonic() + PATIENCE
        while self.sql(f"SELECT pg_last_wal_replay_lsn() >= '{wanted}';", self.maintenance) != [["t"]]:
            assert time.monotonic() < deadline, "the standby does not follow"
            time.sleep(0.02)


class _Standby(PostgreSQL):
    def __init__(self, primary: PostgreSQL) -> None:
        self._primary = primary
        super().__init__()

    def make(self) -> None:
        where = ["-h", str(self._primary.folder), "-p", str(self._primary.port), "-U", "postgres"]
        how = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--wal-method=stream"]
        self.run([self._command("pg_basebackup"), *where, *how, "--pgdata", str(self.data)])


def both(database: str, first: PostgreSQL, second: PostgreSQL, target: str = "read-write") -> str:
    """The URL of a database that two servers have, of which that one is wanted that can be written to."""
    hosts = ",".join(quoted(str(one.folder)) for one in (first, second))
    return (
        f"postgresql://{LOGIN}@/{database}?host={hosts}&port={first.port},{second.port}&target_session_attrs={target}"
    )
