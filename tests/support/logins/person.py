"""A client that costs little: one connection, on which somebody tries to log in until it is granted."""

import base64
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from support.logins.table import Attempt
from support.logins.tally import AGAIN, GRANTED, REFUSED
from support.prosody.xmpp_client import reference

# Seconds: longer than any question may take, so reached only by a server that does not answer.
PATIENCE = 60.0

STREAM = (
    "<?xml version='1.0'?><stream:stream to='{}' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
SASL = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{}</auth>"
LEGACY = (
    "<iq type='set' id='l' to='{}'><query xmlns='jabber:iq:auth'><username>{}</username><password>{}</password>"
    "<resource>{}</resource></query></iq>"
)
BIND = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
CHANGE = (
    "<iq type='set' id='c' to='{}'><query xmlns='jabber:iq:register'><username>{}</username><password>{}</password>"
    "</query></iq>"
)

# How a SASL failure is to be understood.
CONDITIONS = {b"not-authorized": REFUSED, b"malformed-request": REFUSED, b"temporary-auth-failure": AGAIN}

_resources = itertools.count(1)


class Person:
    """One connection whose stream is open; see `meet`."""

    def __init__(self, connection: trio.SocketStream, host: str) -> None:
        self.host = host
        self._connection = connection

    async def _say(self, text: str, *ends: bytes) -> bytes:
        """What comes in reply, up to one of these."""
        with trio.fail_after(PATIENCE):
            await self._connection.send_all(text.encode())
            heard = b""
            while not any(end in heard for end in ends):
                data = await self._connection.receive_some(65536)
                assert data, f"the server hung up after {heard!r}"
                heard += data
        return heard

    async def open(self) -> None:
        """A stream, or a new one after a success."""
        await self._say(STREAM.format(self.host), b"</stream:features>")

    async def log_in(self, attempt: Attempt) -> str:
        """One attempt; what came of it, as the tally has it."""
        return await (self._legacy(attempt) if attempt.legacy else self._plain(attempt))

    async def _plain(self, attempt: Attempt) -> str:
        heard = await self._say(self.plain(attempt), b"<success", b"</failure>")
        if b"<success" in heard:
            return GRANTED
        found = re.search(rb"<failure[^>]*><([a-z-]+)", heard)
        assert found and found[1] in CONDITIONS, heard
        return CONDITIONS[found[1]]

    async def _legacy(self, attempt: Attempt) -> str:
        secret, resource = reference(attempt.secret.decode()), f"r{next(_resources)}"
        return await self._request(LEGACY.format(attempt.host, attempt.user, secret, resource))

    async def _request(self, text: str) -> str:
        heard = await self._say(text, b"</iq>", b"/>")
        found = re.search(rb"<iq[^>]* type=['\"](result|error)", heard)
        assert found, heard
        return GRANTED if found[1] == b"result" else REFUSED

    @staticmethod
    def plain(attempt: Attempt) -> str:
        """The attempt as it goes over the wire."""
        message = b"\0".join((b"", attempt.user.encode(), attempt.secret))
        return SASL.format(base64.b64encode(message).decode())

    async def leave_after(self, attempt: Attempt) -> None:
        """Ask, and do not wait for what comes of it."""
        await self._connection.send_all(self.plain(attempt).encode())

    async def change(self, user: str, secret: bytes) -> bool:
        """After a success: a new password, by XEP-0077; whether it is said to be in force."""
        await self.open()
        await self._say(BIND, b"</iq>")
        return await self._request(CHANGE.format(self.host, user, reference(secret.decode()))) == GRANTED


@asynccontextmanager
async def meet(port: int, host: str) -> AsyncIterator[Person]:
    """A new connection, closed at the end."""
    socket = trio.socket.socket()
    await socket.connect(("127.0.0.1", port))
    async with trio.SocketStream(socket) as connection:
        person = Person(connection, host)
        await person.open()
        yield person
