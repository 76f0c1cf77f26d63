"""A client that cannot be looked at: the first answer is never written, all later ones keep to the clock.

Another uid than the client's makes the bridge blind, and so does having fewer capabilities than a client that is root.
The price is one login that waits out its time; what it buys is that the echo race is harmless.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time

import pytest
from support.components import command
from support.pty.driver import Emulation
from support.pty.site import BRIDGE, GIVE_UP, HOST, PROGRAM, ROOT, WRONG, Site, all_right, auth, logins

pytestmark = pytest.mark.slow

STRANGER = auth("bob", WRONG)
NOBODY = ["--reuid=65534", "--regid=65534", "--clear-groups"]
NO_CAPABILITIES = ["--bounding-set=-all", "--inh-caps=-all"]


@functools.cache
def blindfold(how: str) -> list[str]:
    """Words before the bridge's command that make it blind; skips where this user or machine cannot."""
    if os.geteuid() != 0:
        pytest.skip("must be root, to start the bridge as somebody who may not look at its client")
    setpriv = command("setpriv", "util-linux")
    if how == "capabilities":
        return [setpriv, *NO_CAPABILITIES]
    # Anybody but root may be unable to reach this interpreter: the system's own may do, with the packages of this one.
    packages = f"PYTHONPATH={ROOT}:{sysconfig.get_path('purelib')}"
    system = ["env", packages, shutil.which("python3", path="/usr/bin") or sys.executable]
    for words in ([sys.executable], system):
        trial = [setpriv, *NOBODY, "sh", "-c", 'exec "$@"', "sh", *words, "-c", "import json, ssl, trio, bridge.entry"]
        if subprocess.run(trial, check=False, capture_output=True, cwd="/", env={"PATH": os.defpath}).returncode == 0:
            return [setpriv, *NOBODY, *words]
    pytest.skip("no interpreter that another user may run has trio")


def blind_client(site: Site, how: str, kind: str, *options: str, **settings: object) -> Emulation:
    """A client with a bridge that cannot see it."""
    prefix = blindfold(how)
    python = prefix[-1] if how == "uid" else sys.executable
    site.configure(program=[python, "-I", "-S", str(PROGRAM)], **settings)
    site.config.chmod(0o644)
    site.users.chmod(0o666)
    helper = site.command(prefix=prefix, wrapped=kind == "wrapped")
    if how == "uid":
        # The interpreter is part of the prefix.
        helper.write_text(helper.read_text().replace(f"{python} {BRIDGE[0]}", python))
    return site.emulation(kind, *options, command=helper)


def first_is_lost(site: Site, client: Emulation, text: str = STRANGER) -> None:
    """The first question, whose answer is not written; returns once the bridge has decided so.

    A second line that it finds beside the first would be a burst, and its one answer the first.
    """
    assert client.ask(text, GIVE_UP) == "none"
    site.until_logged("answer not written")
    assert client.pending() == 0


@pytest.mark.parametrize(
    ("kind", "how"), [("lpty12", "uid"), ("lpty10", "uid"), ("wrapped", "uid"), ("lpty12", "capabilities")]
)
def test_first_answer_is_never_written(site: Site, kind: str, how: str) -> None:
    client = blind_client(site, how, kind)
    site.ready(client)
    first_is_lost(site, client, auth("alice"))
    assert auth("alice") in site.backend.settle()
    assert client.ask(STRANGER) == "0"
    assert client.ask(auth("alice")) == "1"
    all_right(client)


@pytest.mark.parametrize("delay", [0, 0.02], ids=["0ms", "20ms"])
@pytest.mark.parametrize(
    ("kind", "how"), [("lpty12", "uid"), ("lpty10", "uid"), ("wrapped", "uid"), ("lpty12", "capabilities")]
)
def test_echo_race_is_harmless(site: Site, kind: str, how: str, delay: float) -> None:
    client = blind_client(site, how, kind, "--race", env={"DELAY": delay})
    assert client.ask(auth("alice")) == "garbage"
    site.backend.until(auth("alice"), "answered")
    outcome = logins(client, 20)
    assert (outcome.false_accepts, outcome.garbage) == ([], [])
    assert outcome.refused <= 1, outcome


@pytest.mark.parametrize("how", ["uid", "capabilities"])
def test_raced_query_and_the_next_one_together(site: Site, how: str) -> None:
    """The next login does not wait for the start to be over."""
    client = blind_client(site, how, "lpty12", "--race")
    assert client.ask(auth("alice")) == "garbage"
    assert client.ask(STRANGER) in ("none", "0")
    outcome = logins(client, 20)
    assert (outcome.false_accepts, outcome.garbage) == ([], [])
    assert outcome.refused <= 1, outcome


@pytest.mark.parametrize("how", ["uid", "capabilities"])
def test_first_answer_is_not_the_nos_of_a_refusal_either(site: Site, how: str) -> None:
    client = blind_client(site, how, "lpty12")
    site.ready(client)
    first_is_lost(site, client, "nonsense")
    assert client.ask(auth("alice")) == "1"
    assert client.ask(STRANGER) == "0"


@pytest.mark.parametrize("how", ["uid", "capabilities"])
def test_answers_keep_to_the_clock(site: Site, how: str) -> None:
    client = blind_client(site, how, "lpty12", env={"GATED": "slow"}, answer_timeout=2.0)
    site.ready(client)
    first_is_lost(site, client)
    assert client.ask(auth("slow")) == "0"
    site.until_started(2, client)
    all_right(client)


@pytest.mark.parametrize("how", ["uid", "capabilities"])
def test_bursts_are_refused_all_the_same(site: Site, how: str) -> None:
    client = blind_client(site, how, "lpty12")
    site.ready(client)
    first_is_lost(site, client)
    for secret in (f"x\nisuser:alice:{HOST}", f"x\nsetpass:bob:{HOST}:pwned-Password-77", "\n" * 900):
        assert client.ask(auth("alice", secret)) == "0"
        assert client.ask(STRANGER) == "0"
        assert client.ask(auth("alice")) == "1"
    all_right(client)


@pytest.mark.parametrize("how", ["uid", "capabilities"])
def test_line_given_up_is_not_answered_when_the_next_is_there(site: Site, how: str) -> None:
    """Without a look at the client the new line still says that the old question is over."""
    client = blind_client(site, how, "lpty12", env={"GATED": "slow"}, pool_size=2)
    site.ready(client)
    first_is_lost(site, client)
    site.give_up(client, auth("slow"))
    assert client.ask(STRANGER) == "0"
    site.backend.go(auth("slow"))
    time.sleep(0.2)
    assert client.pending() == 0
    all_right(client)


@pytest.mark.parametrize("how", ["uid", "capabilities"])
def test_log_says_once_which_rule_is_in_force(site: Site, how: str) -> None:
    client = blind_client(site, how, "lpty12")
    site.ready(client)
    site.until_logged("first answer is not written")
    first_is_lost(site, client)
    all_right(client)
    assert len(re.findall("first answer is not written", site.log_text())) == 1


def test_log_says_once_that_the_client_can_be_seen(site: Site) -> None:
    client = site.client("lpty12")
    site.ready(client)
    site.until_logged("waiting")
    all_right(client)
    assert len(re.findall("waiting", site.log_text())) == 1
    assert "first answer" not in site.log_text()
