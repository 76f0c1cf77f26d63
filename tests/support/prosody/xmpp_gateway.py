"""A component of the server (XEP-0114), as gateways to other networks are.

async with gateway(site) as stranger:
    await stranger.message("bob@h1.example", 1)
    await stranger.until(b"g1")
"""

import contextlib
import hashlib
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator
from xml.sax.saxutils import quoteattr

import trio

from support.prosody.site import Site

SECRET = "sesame-gateway"


class Gateway:
    """One whose users write to ours.

    Attributes:
      received: all that the server has sent to it.
    """

    def __init__(self, stream: trio.SocketStream, name: str) -> None:
        self.name = name
        self._stream = stream
        self.received = b""

    async def open(self) -> None:
        """Say who we are, and wait until the server believes it."""
        spaces = "xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"
        await self._stream.send_all(f"<stream:stream {spaces} to='{self.name}'>".encode())
        parser = ElementTree.XMLPullParser(("start",))
        root = None
        while root is None:
            parser.feed(await self._stream.receive_some(65536))
            root = next((element for _, element in parser.read_events()), None)
        digest = hashlib.sha1(f"{root.get('id')}{SECRET}".encode()).hexdigest()
        await self._stream.send_all(f"<handshake>{digest}</handshake>".encode())
        await self.until(b"<handshake")

    async def message(self, to: str, number: int) -> None:
        """Write to somebody; the message's id is `g` and the number."""
        head = f"<message from='someone@{self.name}' to={quoteattr(to)} type='chat' id='g{number}'>"
        await self._stream.send_all(f"{head}<body>hello</body></message>".encode())

    async def until(self, wanted: bytes, seconds: float = 10) -> None:
        """Wait until this has been received."""
        with trio.fail_after(seconds):
            while wanted not in self.received:
                data = await self._stream.receive_some(65536)
                assert data, f"the server hung up after {self.received!r}"
                self.received += data


@contextlib.asynccontextmanager
async def gateway(site: Site) -> AsyncIterator[Gateway]:
    """A gateway beside the site's host, connected; the server forgets it in the end."""
    name = f"gateway.{site.host}"
    site.prosody.configure_host(name, f'Component "{name}"\n  component_secret = "{SECRET}"\n')
    try:
        site.prosody.shell(f'host:activate("{name}")')
        async with await trio.open_tcp_stream("127.0.0.1", site.prosody.components) as stream:
            opened = Gateway(stream, name)
            await opened.open()
            yield opened
    finally:
        site.prosody.remove_host(name)
