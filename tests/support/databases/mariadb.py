"""MariaDB, with the character set and the collation that Debian gives it."""

from typing import ClassVar

from support.components import command
from support.databases.server import LOGIN, PASSWORD, Server, quoted


class MariaDB(Server):
    """See Server."""

    kind: ClassVar[str] = "mariadb"
    user: ClassVar[str] = "mysql"
    maintenance: ClassVar[str] = "mysql"

    @property
    def socket(self) -> str:
        return str(self.folder / "sock")

    def make(self) -> None:
        how = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        quick = ["--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"]
        self.data.mkdir()
        self._give(self.data)
        self.run([command("mariadb-install-db", "mariadb-server"), *how, *quick, f"--datadir={self.data}"])

    def words(self) -> list[str]:
        where = [f"--datadir={self.data}", f"--socket={self.socket}", f"--port={self.port}"]
        quick = ["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M"]
        debian = ["--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci", "--skip-name-resolve"]
        local = ["--bind-address=127.0.0.1", f"--pid-file={self.folder}/pid", "--skip-log-bin"]
        return [command("mariadbd", "mariadb-server"), "--no-defaults", *where, *quick, *debian, *local]

    def client(self, database: str) -> list[str]:
        how = ["--no-defaults", "--batch", "--skip-column-names", "--unbuffered", "--default-character-set=utf8mb4"]
        return [command("mariadb", "mariadb-client"), *how, f"--socket={self.socket}", "--user=root", database]

    def create(self, database: str) -> None:
        self.sql(
            f"""CREATE USER IF NOT EXISTS {LOGIN}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
            CREATE USER IF NOT EXISTS {LOGIN}@localhost;
            CREATE DATABASE {database};
            GRANT ALL ON {database}.* TO {LOGIN}@'127.0.0.1', {LOGIN}@localhost;""",
            self.maintenance,
        )

    def copy(self, database: str, new: str, table: str) -> None:
        self.create(new)
        self.sql(f"CREATE TABLE {table} LIKE {database}.{table}; INSERT {table} SELECT * FROM {database}.{table};", new)

    def url(self, database: str, *, tcp: bool = False) -> str:
        if tcp:
            return f"mariadb://{LOGIN}:{quoted(PASSWORD)}@127.0.0.1:{self.port}/{database}"
        return f"mariadb://{LOGIN}@localhost/{database}?unix_socket={quoted(self.socket)}"
