"""A real ejabberd whose users are in databases, a database for each host."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support.components import missing
from support.databases.server import LOGIN, PASSWORD, Server
from support.ejabberd.node import Ejabberd

DRIVERS = {"postgresql": ("pgsql", "erlang-p1-pgsql", "p1_pgsql"), "mariadb": ("mysql", "erlang-p1-mysql", "p1_mysql")}


class Base(NamedTuple):
    """A host's database, and how passwords are kept there: `plain`, or the hash of SCRAM: `sha`, `sha256`, `sha512`."""

    server: Server
    database: str
    kept: str


class SqlEjabberd(Ejabberd):
    """See Ejabberd; `bases`: of each host. Its tables must be there."""

    def __init__(self, folder: Path, bases: Mapping[str, Base]) -> None:
        self._bases = bases
        super().__init__(folder, {})

    def _configuration(
        self, programs: Mapping[str, Sequence[str]], pool: int, cached: Collection[str]
    ) -> dict[str, object]:
        hosts = {name: self._host(base) for name, base in self._bases.items()}
        return super()._configuration(programs, pool, cached) | {"hosts": list(hosts), "host_config": hosts}

    @staticmethod
    def _host(base: Base) -> dict[str, Any]:
        driver, package, library = DRIVERS[base.server.kind]
        if not list(Path("/usr/lib/erlang/lib").glob(f"{library}-*")):
            missing(f"ejabberd's {library}", package)
        hashed = {} if base.kept == "plain" else {"auth_scram_hash": base.kept}
        return {
            "auth_method": ["sql"],
            "auth_password_format": "scram" if hashed else "plain",
            **hashed,
            "auth_use_cache": False,
            "sql_type": driver,
            "sql_server": "127.0.0.1",
            "sql_port": base.server.port,
            "sql_database": base.database,
            "sql_username": LOGIN,
            "sql_password": PASSWORD,
            "sql_pool_size": 1,
        }
