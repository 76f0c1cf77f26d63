"""A program's terminal under any limit of descriptors: the bridge stays, answers, and says why if it only says no."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.components import command
from support.daemon.serving import Daemon
from support.descriptors import NEEDED, lowest
from support.pty.site import HOST, Site

pytestmark = pytest.mark.slow

ENOUGH = 56
"""More than is needed: a few above what any command says, at the moment 43."""
QUESTIONS = [f"isuser:{user}:{HOST}" for user in ("alice", "nobody", "alice", "nobody")]
TRUTH = ["1", "0", "1", "0"]


@pytest.fixture
def arguments(site: Site, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """The command line of a bridge with a program, or of a relay."""
    if request.param == "run":
        yield ["run", str(site.configure())]
        return
    daemon = Daemon(tmp_path, "--pool-size", 1)
    daemon.connect().close()
    yield ["connect", str(daemon.path)]
    assert daemon.stop() == 0


@pytest.mark.parametrize("arguments", ["run", "relay"], indirect=True)
def test_every_limit(site: Site, arguments: list[str]) -> None:
    told = {limit: verdicts(site, arguments, limit) for limit in range(lowest(), ENOUGH)}
    needed = min(limit for limit, what in told.items() if what == TRUTH)
    assert needed < ENOUGH - 10
    for limit, what in told.items():
        assert what == (TRUTH if limit >= needed else ["0"] * 4), limit


@pytest.mark.parametrize("arguments", ["run", "relay"], indirect=True)
def test_the_log_says_why(site: Site, arguments: list[str]) -> None:
    assert verdicts(site, arguments, 20) == ["0"] * 4
    text = (site.root / "stderr").read_text()
    assert "every question is answered 0 until this is repaired" in text
    found = NEEDED.search(text)
    assert found
    assert verdicts(site, arguments, int(found[1])) == TRUTH


def verdicts(site: Site, arguments: list[str], limit: int) -> list[str]:
    """What a client is told; its helper stays until the client goes, and then exits with 0."""
    prlimit = command("prlimit", "util-linux")
    helper = site.command(
        *arguments,
        before="exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-",  # what the client lets it inherit, which is not its fault
        prefix=[prlimit, f"--nofile={limit}"],
        behind=f"2>>{site.root}/stderr",
    )
    client = site.emulation(command=helper)
    client.start()
    client.until_echo_is_off()
    told = [client.ask(line) for line in QUESTIONS]
    assert client.status() == "running", limit
    client.hangup()
    assert client.wait() == "exit 0", limit
    client.close()
    site.clients.remove(client)
    return told
