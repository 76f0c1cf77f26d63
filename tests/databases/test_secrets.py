"""What a program says when a URL does not work: never the password that is in it."""

from pathlib import Path

import pytest
from support import canary
from support.canary import CANARY, right
from support.databases.program import Program, manage, serving
from support.databases.server import LOGIN, PASSWORD, Server, quoted
from support.databases.tables import HOST, Place

pytestmark = pytest.mark.slow

AT = f"{LOGIN}:{quoted(PASSWORD)}@"
NO_URLS = {
    "no scheme": f"{AT}127.0.0.1/site",
    "no such system": f"oracle+nonsense://{AT}127.0.0.1/site",
    "no port": f"postgresql://{AT}127.0.0.1:no-port/site",
    "half an address": f"postgresql://{AT}[::1/site",
    "nobody there": f"postgresql://{AT}127.0.0.1:1/site",
    "no such setting": f"postgresql://{AT}127.0.0.1:1/site?nonsense=1",
    "no such setting of PyMySQL": f"mariadb://{AT}127.0.0.1:1/site?nonsense=1",
    "a password as it is": f"postgresql://{LOGIN}:{PASSWORD}@127.0.0.1:1/site",
    "a file": f"sqlite:///nowhere/{AT}/x",
}


@pytest.mark.parametrize("url", NO_URLS.values(), ids=NO_URLS)
def test_no_password_of_a_url_that_is_none(url: str) -> None:
    done = manage(url, "listusers")
    assert (done.returncode, done.stdout) == (2, "")
    assert "internal error" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2, "that it is in the URL, and what is wrong"


def test_a_role_that_is_refused(alice: Place, server: Server, tmp_path: Path) -> None:
    url = server.url(alice.database, tcp=True)
    question = ("auth", "alice", HOST, right("alice"))
    with serving(url, *alice.reading[1:]) as program:
        assert program.ask(*question) == "yes"
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    hidden = url.replace(f":{quoted(PASSWORD)}", "")
    with serving("--password-file", str(file), hidden) as program:
        assert program.ask(*question) == "yes"
    refused = Program(hidden)
    assert refused.ask(*question) == "ended"
    assert refused.close()
    refused = Program(url.replace(quoted(PASSWORD), "mistyped-one"))
    assert refused.ask(*question) == "ended"
    assert "mistyped-one" not in refused.close()


def test_a_password_that_is_not_ascii(alice: Place, server: Server, tmp_path: Path) -> None:
    secret = "pä€ss😀"
    if server.kind == "postgresql":
        server.sql(f"CREATE ROLE other LOGIN PASSWORD '{secret}';GRANT ALL ON {alice.name} TO other;", alice.database)
    else:
        who = "other@'127.0.0.1'"
        server.sql(f"CREATE USER {who} IDENTIFIED BY '{secret}';GRANT ALL ON *.* TO {who};", alice.database)
    file = tmp_path / "password"
    file.write_text(f"{secret}\n")
    file.chmod(0o600)
    url = server.url(alice.database, tcp=True).replace(f"{LOGIN}:{quoted(PASSWORD)}", "other")
    with serving("--password-file", str(file), url) as program:
        assert program.ask("auth", "alice", HOST, right("alice")) == "yes"
    with serving(url.replace("other", f"other:{quoted(secret)}")) as program:
        assert program.ask("auth", "alice", HOST, right("alice")) == "yes"


def test_no_password_is_in_a_servers_log(alice: Place, server: Server) -> None:
    with serving(*alice.reading) as program:
        for name in ("alice", "alice' OR '1'='1", "x" * 3000):
            for command in ("tryregister", "setpass", "auth"):
                assert program.ask(command, name, HOST, CANARY) != "ended"
    assert not canary.is_in(server.log.read_bytes())
