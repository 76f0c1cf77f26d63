"""What an administrator reads in Prosody's log who has made a mistake, or asks where nobody can wait."""

import json
import re

import pytest
import trio
from support.prosody.site import Site, right
from support.relay.fake_daemon import FakeDaemon, honest

pytestmark = pytest.mark.slow

PROSODIES = ["here", "13"]

# What stands in the configuration, and what the log says to it.
MISTAKES = {
    "a unit": ({"extauth_bridge_timeout": "7s"}, "extauth_bridge_timeout must be a number of seconds"),
    "a number in quotes": ({"extauth_bridge_remember": "300"}, "extauth_bridge_remember must be a number of seconds"),
    "a misspelt command": (
        {"extauth_bridge_commands": ["auth", "setpas"]},
        "extauth_bridge_commands: there is no command 'setpas'",
    ),
    "no list": ({"extauth_bridge_commands": "auth"}, "extauth_bridge_commands must be a list"),
    "a word for a switch": ({"extauth_bridge_saslprep": "off"}, "extauth_bridge_saslprep must be true or false"),
}


@pytest.mark.parametrize(("options", "words"), MISTAKES.values(), ids=MISTAKES.keys())
async def test_a_wrong_option_is_named_and_logins_work(
    site: Site, nursery: trio.Nursery, options: dict[str, object], words: str
) -> None:
    site.configure(**options)
    await FakeDaemon.start(nursery, site.socket, manner=honest)
    assert re.search(rf"\terror\t{words}", site.log()), site.log()
    assert await site.plain("alice", "wrong-password") == "not-authorized"
    assert await site.plain("alice", right("alice")) == "success"


async def test_a_relative_socket_is_named_and_nobody_logs_in_elsewhere(site: Site) -> None:
    site.prosody.add_host(site.host, extauth_bridge_socket="relative.sock", extauth_bridge_timeout=1)
    assert re.search(r"\terror\textauth_bridge_socket must be an absolute path", site.log())
    assert await site.plain("alice", right("alice")) == "temporary-auth-failure"


async def test_a_password_is_not_asked_about_where_nobody_can_wait(site: Site, nursery: trio.Nursery) -> None:
    """As on Prosody 0.11 by HTTP, and from a timer on all of them."""
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    ask = f"require'core.usermanager'.test_password('alice', {json.dumps(site.host)}, 'pw-alice')"
    timer = f"require'util.timer'.add_task(0, function () {ask}; end)"
    await trio.to_thread.run_sync(site.prosody.shell, f"> {timer}")
    with trio.fail_after(20):
        while "Query 'auth' not sent: nobody can wait" not in site.log():
            await trio.sleep(0.01)
    assert fake.asked == []
    assert await site.plain("alice", right("alice")) == "success"
