"""A small XMPP client on trio, for what a proper one refuses to send: bytes as they are, in any order.

    async with Client.connected(port, "h1.example") as client:
        assert await client.plain("alice", "pw-alice") == "success"
        await client.bind()
        seconds = await client.ping()

An outcome is `success` or the name of the error condition, as `not-authorized`.
"""

import base64
import contextlib
import ssl
import time
import xml.etree.ElementTree as ElementTree
from collections import deque
from collections.abc import AsyncIterator
from xml.sax.saxutils import escape, quoteattr

import trio

# Seconds; reached only by a test that fails.
PATIENCE = 20.0

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
STREAMS = "http://etherx.jabber.org/streams"


class Closed(Exception):
    """The server has ended the stream, which is no error in itself."""


def reference(text: str) -> str:
    """Text as XML in which line ends and other controls survive: each one as a character reference."""
    return "".join(f"&#{ord(one)};" if ord(one) < 32 or 127 <= ord(one) < 160 else escape(one) for one in text)


class Client:
    """One connection to the server, as a client of `host`."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], host: str) -> None:
        self.host = host
        self.sender = ""
        self.features: ElementTree.Element | None = None
        self.jid: str | None = None
        self.secrets: set[str] = set()  # every password that was sent
        self._stream = stream
        self._parser = ElementTree.XMLPullParser(("start", "end"))
        self._depth = 0
        self._arrived: deque[ElementTree.Element] = deque()
        self._number = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, port: int, host: str, sender: str = "") -> "AsyncIterator[Client]":
        """A client whose stream is open and whose features have come; `sender`: the address that it says it has."""
        async with cls.over(await trio.open_tcp_stream("127.0.0.1", port), host, sender) as client:
            yield client

    @classmethod
    @contextlib.asynccontextmanager
    async def over(cls, connection: trio.SocketStream, host: str, sender: str = "") -> "AsyncIterator[Client]":
        """The same over a connection that is there; it is closed at the end."""
        async with connection:
            client = cls(connection, host)
            client.sender = sender
            await client.open()
            yield client

    async def start_tls(self, trusted: str) -> None:
        """Encrypt the connection, with a server that has the certificate `trusted` (PEM) or one signed by it."""
        await self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        reply = await self.next()
        assert reply.tag == "{urn:ietf:params:xml:ns:xmpp-tls}proceed", reply.tag
        context = ssl.create_default_context(cadata=trusted)
        assert isinstance(self._stream, trio.SocketStream)
        self._stream = trio.SSLStream(self._stream, context, server_hostname=self.host, https_compatible=True)
        await self.open()

    # --- bytes and elements ------------------------------------------------------------------------------

    async def send(self, text: str | bytes) -> None:
        """Send this as it is."""
        await self._stream.send_all(text.encode() if isinstance(text, str) else text)

    async def open(self, *, wait: bool = True) -> None:
        """Open the stream, or open it anew; with `wait` also read the features."""
        self._parser = ElementTree.XMLPullParser(("start", "end"))
        self._depth = 0
        opening = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'"
        sender = f"from={quoteattr(self.sender)} " if self.sender else ""
        await self.send(f"<?xml version='1.0'?><stream:stream {sender}to={quoteattr(self.host)} {opening}>")
        if wait:
            self.features = await self.next()
            assert self.features.tag == f"{{{STREAMS}}}features", self.features.tag

    async def next(self, seconds: float = PATIENCE) -> ElementTree.Element:
        """The next whole element below the stream's own.

        Raises:
          Closed: the stream is over.
        """
        with trio.fail_after(seconds):
            while not self._arrived:
                try:
                    data = await self._stream.receive_some(65536)
                except trio.BrokenResourceError as error:
                    raise Closed from error
                if not data:
                    raise Closed
                self._parser.feed(data)
                self._read_events()
        return self._arrived.popleft()

    def _read_events(self) -> None:
        for event, element in self._parser.read_events():
            if event == "start":
                self._depth += 1
                continue
            self._depth -= 1
            if self._depth == 1:
                self._arrived.append(element)

    async def ended(self, seconds: float = PATIENCE) -> list[str]:
        """Wait for the end of the stream; the names of what came before it, of a stream error its conditions."""
        names = []
        with contextlib.suppress(Closed):
            while True:
                element = await self.next(seconds)
                names += [element.tag.rpartition("}")[2], *(child.tag.rpartition("}")[2] for child in element)]
        return names

    def mechanisms(self) -> list[str]:
        """Ways to log in, as the server offered them last."""
        assert self.features is not None
        return [element.text or "" for element in self.features.iter(f"{{{SASL}}}mechanism")]

    # --- logging in --------------------------------------------------------------------------------------

    async def start_plain(self, user: str | bytes, password: str | bytes, authorize: str = "") -> None:
        """Send a PLAIN attempt, and do not wait for what comes of it."""
        self._note(password)
        parts = [one.encode() if isinstance(one, str) else one for one in (authorize, user, password)]
        await self.start_sasl(b"\0".join(parts))

    def _note(self, password: str | bytes) -> None:
        self.secrets.add(password if isinstance(password, str) else password.decode(errors="replace"))

    async def start_sasl(self, message: bytes) -> None:
        """Send a PLAIN attempt with just this message, and do not wait."""
        text = base64.b64encode(message).decode() or "="
        await self.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{text}</auth>")

    async def outcome(self, seconds: float = PATIENCE) -> str:
        """What came of a SASL attempt."""
        element = await self.next(seconds)
        kind = element.tag.rpartition("}")[2]
        if kind == "success":
            return kind
        assert kind == "failure", kind
        return element[0].tag.rpartition("}")[2]

    async def plain(self, user: str | bytes, password: str | bytes, *, seconds: float = PATIENCE) -> str:
        """One PLAIN attempt."""
        await self.start_plain(user, password)
        return await self.outcome(seconds)

    async def bind(self) -> str:
        """After a success: a new stream, and a resource; the full address."""
        await self.open()
        reply = await self.request("set", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>", to=None)
        found = reply.find(".//{urn:ietf:params:xml:ns:xmpp-bind}jid")
        assert found is not None and found.text, ElementTree.tostring(reply)
        self.jid = found.text
        return found.text

    async def login(self, user: str, password: str) -> str:
        """PLAIN with success, then `bind`."""
        assert await self.plain(user, password) == "success"
        return await self.bind()

    async def legacy(self, user: str, password: str, resource: str = "old") -> str:
        """One attempt by XEP-0078; controls in the password survive."""
        self._note(password)
        words = f"<username>{reference(user)}</username><password>{reference(password)}</password>"
        query = f"<query xmlns='jabber:iq:auth'>{words}<resource>{resource}</resource></query>"
        return condition(await self.request("set", query, to=self.host))

    # --- afterwards --------------------------------------------------------------------------------------

    async def request(
        self, kind: str, payload: str, *, to: str | None, seconds: float = PATIENCE
    ) -> ElementTree.Element:
        """An iq with this payload, and the reply to it; what else comes meanwhile is dropped."""
        identifier = await self.start_request(kind, payload, to=to)
        while True:
            element = await self.next(seconds)
            if element.get("id") == identifier:
                return element

    async def start_request(self, kind: str, payload: str, *, to: str | None) -> str:
        """As `request`, without waiting; the id."""
        self._number += 1
        identifier = f"q{self._number}"
        address = f" to={quoteattr(to)}" if to else ""
        await self.send(f"<iq type='{kind}' id='{identifier}'{address}>{payload}</iq>")
        return identifier

    async def ping(self) -> float:
        """Seconds until the server has answered a ping."""
        started = time.monotonic()
        reply = await self.request("get", "<ping xmlns='urn:xmpp:ping'/>", to=self.host)
        assert condition(reply) == "success"
        return time.monotonic() - started

    async def change_password(self, user: str, password: str) -> str:
        """By XEP-0077; controls in the password survive."""
        self._note(password)
        words = f"<username>{reference(user)}</username><password>{reference(password)}</password>"
        return condition(await self.request("set", f"<query xmlns='jabber:iq:register'>{words}</query>", to=self.host))

    async def change_password_of(self, address: str, password: str) -> bool:
        """Somebody else's, by XEP-0133, as an administrator; he would be logged out by it."""
        self._note(password)
        node = "node='http://jabber.org/protocol/admin#change-user-password'"
        commands = f"xmlns='http://jabber.org/protocol/commands' {node}"
        first = await self.request("set", f"<command {commands} action='execute'/>", to=self.host)
        session = quoteattr(first[0].get("sessionid", ""))

        def field(name: str, value: str) -> str:
            # A line end in the middle of a form's text is Prosody's own matter; here it is one value as it is.
            return f"<field var='{name}'><value>{reference(value)}</value></field>"

        fields = field("FORM_TYPE", "http://jabber.org/protocol/admin") + field("accountjid", address)
        form = f"<x xmlns='jabber:x:data' type='submit'>{fields}{field('password', password)}</x>"
        command = f"<command {commands} action='complete' sessionid={session}>{form}</command>"
        reply = await self.request("set", command, to=self.host)
        note = reply.find(".//{http://jabber.org/protocol/commands}note")
        return note is not None and note.get("type") == "info"


def condition(reply: ElementTree.Element) -> str:
    """Of an iq: `success`, or the error's condition."""
    if reply.get("type") == "result":
        return "success"
    for child in reply.iter():
        if child.tag.startswith(f"{{{STANZAS}}}") and not child.tag.endswith("}text"):
            return child.tag.rpartition("}")[2]
    return "no-condition"
