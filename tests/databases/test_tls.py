"""A MariaDB over TLS: with `ssl_ca` nobody else is sent anything, and nothing goes out in the clear."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.backends import certificate
from support.databases.mariadb import MariaDB
from support.databases.program import manage
from support.databases.server import LOGIN, PASSWORD, Server, quoted

from bridge.programs.sqlconnection import Connection
from bridge.programs.sqlurl import address
from bridge.programs.users import Unavailable

pytestmark = pytest.mark.slow


class Tls(MariaDB):
    """Its certificate is of `localhost`, but not of 127.0.0.1."""

    def words(self) -> list[str]:
        ca, key = self.folder / "server.pem", self.folder / "server.key"
        if not key.exists():
            certificate(self.folder)
            key.chmod(0o644)
        return [*super().words(), f"--ssl-cert={ca}", f"--ssl-key={key}"]


@pytest.fixture(scope="module")
def tls() -> Iterator[Tls]:
    server = Tls()
    server.start().create("site")
    yield server
    server.remove()


def test_only_the_right_server_is_used(tls: Tls, tmp_path: Path) -> None:
    other, _ = certificate(tmp_path)
    own = tls.folder / "server.pem"
    for host, ca, status in (("localhost", own, 0), ("127.0.0.1", own, 2), ("localhost", other, 2)):
        url = f"mariadb://{LOGIN}:{quoted(PASSWORD)}@{host}:{tls.port}/site?ssl_ca={ca}"
        assert manage(url, "createtable").returncode == status, (host, ca)
        for setting in ("ssl_verify_cert=true", "ssl_verify_identity=true", "ssl_disabled=false"):
            assert manage(f"{url}&{setting}", "createtable").returncode == 2, setting


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_a_server_without_tls_is_not_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pymysql = pytest.importorskip("pymysql")
    ca, _ = certificate(tmp_path)
    server.create("clear")
    where = address(server.url("clear", tcp=True) + f"?ssl_ca={ca}")
    with pytest.raises(Unavailable, match=r"2026|TLS"):
        Connection(where, lambda _: None).read(lambda _: None)
    real = pymysql.connect

    def lenient(**settings: Any) -> Any:
        """As before 1.2: TLS if there is any."""
        del settings["ssl"]
        return real(**settings)

    monkeypatch.setattr(pymysql, "connect", lenient)
    with pytest.raises(Unavailable, match="offers no TLS"):
        Connection(where, lambda _: None).read(lambda _: None)
