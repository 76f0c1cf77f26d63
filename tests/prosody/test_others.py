"""The rest of the server asks too: gateways, whose messages Prosody handles outside of any task that could wait, and
users who write to users. Nothing of it may break a login, or be answered by another's answer."""

import hashlib
import time
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import quoteattr

import trio
from support.fake_daemon import FakeDaemon, honest
from support.prosody_site import Site, right

WRONG = "wrong-password"


class Gateway:
    """A component of the server (XEP-0114), as bridges to other networks are."""

    def __init__(self, stream: trio.SocketStream, name: str) -> None:
        self.name = name
        self._stream = stream
        self.received = b""

    async def open(self, secret: str) -> None:
        spaces = "xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"
        await self._stream.send_all(f"<stream:stream {spaces} to='{self.name}'>".encode())
        parser = ElementTree.XMLPullParser(("start",))
        root = None
        while root is None:
            parser.feed(await self._stream.receive_some(65536))
            root = next((element for _, element in parser.read_events()), None)
        digest = hashlib.sha1(f"{root.get('id')}{secret}".encode()).hexdigest()
        await self._stream.send_all(f"<handshake>{digest}</handshake>".encode())
        await self.until(b"<handshake")

    async def message(self, to: str, number: int) -> None:
        head = f"<message from='someone@{self.name}' to={quoteattr(to)} type='chat' id='g{number}'>"
        await self._stream.send_all(f"{head}<body>hello</body></message>".encode())

    async def until(self, wanted: bytes, seconds: float = 10) -> None:
        """Wait until this has been received."""
        with trio.fail_after(seconds):
            while wanted not in self.received:
                data = await self._stream.receive_some(65536)
                assert data, f"the server hung up after {self.received!r}"
                self.received += data


async def test_a_gateway_can_write_to_users_who_are_offline(site: Site, nursery: trio.Nursery) -> None:
    """To one that exists the message is kept, to one that does not it comes back, whether or not anybody waits."""
    site.configure()
    name = f"gateway.{site.host}"
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    site.prosody.configure_host(name, f'Component "{name}"\n  component_secret = "sesame-gateway"\n')
    try:
        site.prosody.shell(f'host:activate("{name}")')
        async with await trio.open_tcp_stream("127.0.0.1", site.prosody.components) as stream:
            gateway = Gateway(stream, name)
            await gateway.open("sesame-gateway")
            for number in range(5):
                await gateway.message(f"bob@{site.host}", number)
                await gateway.message(f"nobody@{site.host}", 100 + number)
            for number in range(5):
                await gateway.until(f"g{100 + number}".encode())
            assert await site.plain("mallory", WRONG) == "not-authorized"
        async with site.client() as bob:
            await bob.login("bob", right("bob"))
            await bob.send("<presence/>")
            bodies = 0
            while bodies < 5:
                bodies += (await bob.next()).tag.endswith("}message")
    finally:
        site.prosody.remove_host(name)
    assert site.line("isuser", "bob") in fake.asked


async def test_a_gateway_does_not_stop_the_server_when_the_daemon_hangs(site: Site, nursery: trio.Nursery) -> None:
    """Each message is answered for in the end; until then everybody else is served."""
    site.configure(extauth_bridge_timeout=1)
    name = f"gateway.{site.host}"
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    site.prosody.configure_host(name, f'Component "{name}"\n  component_secret = "sesame-gateway"\n')
    try:
        site.prosody.shell(f'host:activate("{name}")')
        async with await trio.open_tcp_stream("127.0.0.1", site.prosody.components) as stream, site.client() as alice:
            await alice.login("alice", right("alice"))
            gateway = Gateway(stream, name)
            await gateway.open("sesame-gateway")
            fake.manner = None
            started = time.monotonic()
            for number in range(20):
                await gateway.message(f"nobody{number}@{site.host}", number)
            await alice.ping()
            assert time.monotonic() - started < 0.7
            # None of these questions has been answered: their time ends, and the connection with it.
            await (await fake.connection(0)).until_ended()
            fake.manner = honest
            for number in range(20):
                await gateway.until(f"id='g{number}'".encode(), 30)
    finally:
        site.prosody.remove_host(name)
    await site.recovers()


async def test_questions_of_all_kinds_at_once_get_their_own_answers(site: Site) -> None:
    site.configure()
    site.serve()
    async with site.client() as alice:
        await alice.login("alice", right("alice"))
        for number in range(30):
            who = f"slow30-u{number}" if number % 3 else f"slow30-nobody{number}"
            await alice.send(f"<message to='{who}@{site.host}' type='chat' id='m{number}'><body>x</body></message>")
        denied, granted = 0, 0
        async with trio.open_nursery() as nursery:

            async def attempt(number: int) -> None:
                nonlocal denied, granted
                user = f"slow20-w{number}"
                outcome = await site.plain(user, right(user) if number % 2 else WRONG)
                assert outcome == ("success" if number % 2 else "not-authorized")
                granted, denied = granted + number % 2, denied + 1 - number % 2

            for number in range(30):
                nursery.start_soon(attempt, number)
        assert (denied, granted) == (15, 15)
        returned = set()
        while len(returned) < 10:
            element = await alice.next()
            if element.tag.endswith("}message"):
                assert element.get("type") == "error"
                returned.add(element.get("id"))
        await alice.ping()
    assert returned == {f"m{number}" for number in range(0, 30, 3)}, "just those to nobody came back"
