"""Debian's Prosody on a machine, as its unit, and clients of it, which insist on TLS as it does itself."""

import contextlib
from collections.abc import AsyncIterator

import trio

from support.machine.site import PASSWORD, Site
from support.prosody.xmpp_client import Client

HOST = "example.com"
PORT = 5222

# What becomes of a login with a wrong password, and with the right one.
REFUSED, GRANTED = "not-authorized", "success"
WRONG = "not-the-password"

CERTIFICATE = f"/etc/prosody/certs/{HOST}.crt"


def restart(site: Site, way: str = "module") -> None:
    """Restart Prosody as is documented, and wait until clients can connect."""
    site.machine.run("systemctl reset-failed prosody.service")  # not that five times in ten seconds is too often
    site.step("start", way=way)
    site.machine.until("Prosody listens", lambda: _listens(site))


def _listens(site: Site) -> bool:
    with contextlib.suppress(ConnectionRefusedError), site.machine.connect(PORT):
        return True
    return False


def certify(site: Site) -> None:
    """Make the host's certificate, as is documented, where there is none yet."""
    if not (site.machine.path / CERTIFICATE[1:]).exists():
        site.step("certificate", way="module", typed="\n" * 10)


def set_up_module(site: Site) -> None:
    """The recommended way from where Prosody comes into it, to its end."""
    assert site.step("ask", typed=f"{PASSWORD}\n").split() == ["granted"]
    site.step("install", way="module")
    site.put("configure", "module")
    certify(site)
    restart(site)


@contextlib.asynccontextmanager
async def client(site: Site) -> AsyncIterator[Client]:
    """A client that may log in, which it may not before its connection is encrypted."""
    connection = trio.SocketStream(trio.socket.from_stdlib_socket(site.machine.connect(PORT)))
    async with Client.over(connection, HOST) as one:
        assert one.mechanisms() == []
        await one.start_tls(trusted=site.read(CERTIFICATE))
        assert one.mechanisms() == ["PLAIN"]
        yield one


async def attempts(site: Site, *passwords: str, user: str = "alice") -> list[str]:
    """What comes of one login after the other, each on a connection of its own."""
    outcomes = []
    for password in passwords:
        async with client(site) as one:
            outcomes.append(await one.plain(user, password))
    return outcomes
