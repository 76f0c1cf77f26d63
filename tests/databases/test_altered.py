"""A table that is altered while programs use it: from the next question on they see it as it is."""

import pytest
from support.canary import CANARY, right
from support.databases.program import serving
from support.databases.server import Server
from support.databases.tables import HOST, Place, scram

from .conftest import new_place

pytestmark = pytest.mark.slow

OTHER = "other.example"

HOSTS = {
    "postgresql": f"""ALTER TABLE users ADD COLUMN server_host text NOT NULL DEFAULT '{HOST}';
        ALTER TABLE users DROP CONSTRAINT users_pkey;
        ALTER TABLE users ADD PRIMARY KEY (server_host, username);
        ALTER TABLE users ALTER COLUMN server_host DROP DEFAULT;""",
    "mariadb": f"""ALTER TABLE users ADD COLUMN server_host varchar(191) NOT NULL DEFAULT '{HOST}';
        ALTER TABLE users DROP PRIMARY KEY, ADD PRIMARY KEY (server_host, username);""",
}
"""What ejabberd's own instructions make of a table of one host."""


def passwords(place: Place) -> dict[tuple[str, str], str]:
    return {(row[0], row[1]): row[2] for row in place.sql("SELECT username, server_host, password FROM users;")}


def test_ejabberds_table_gets_hosts(server: Server) -> None:
    place = new_place(server, "ejabberd")
    place.put({"alice": right("alice"), "bob": right("bob")})
    with serving(*place.reading) as reader, serving(*place.writing) as writer:
        assert reader.ask("auth", "alice", HOST, right("alice")) == "yes"
        place.sql(HOSTS[server.kind])
        theirs = {"alice": CANARY, "bob": CANARY, "mallory": CANARY}
        place.table = "ejabberd_hosts"
        place.put(theirs, host=OTHER)
        assert reader.ask("auth", "alice", HOST, right("alice")) == "yes"
        for user in theirs:
            assert reader.ask("auth", user, HOST, CANARY) == "no"
        assert writer.ask("removeuser", "alice", HOST) == "yes"
        assert writer.ask("setpass", "bob", HOST, "new") == "yes"
        assert writer.ask("setpass", "mallory", HOST, "new") == "no"
        assert writer.ask("tryregister", "carol", HOST, "new") == "yes"
    others = {(user, OTHER): secret for user, secret in theirs.items()}
    assert passwords(place) == {("bob", HOST): "new", ("carol", HOST): "new", **others}


def test_ejabberds_table_gets_types(server: Server) -> None:
    place = new_place(server, "ejabberd_hosts")
    place.put({"alice": right("alice")})
    with serving(*place.reading) as program:
        assert program.ask("auth", "alice", HOST, right("alice")) == "yes"
        place.sql("ALTER TABLE users ADD COLUMN type smallint NOT NULL DEFAULT 0;")
        place.put({"bob": scram(right("bob"), "sha256")})
        place.sql("UPDATE users SET type = 3, password = substr(password, 8) WHERE username = 'bob';")
        assert program.ask("auth", "bob", HOST, right("bob")) == "yes"
        assert program.ask("auth", "bob", HOST, CANARY) == "no"
        assert program.ask("auth", "alice", HOST, right("alice")) == "yes"
