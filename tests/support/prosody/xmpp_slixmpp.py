"""Logins by a client that many people use: slixmpp, many of them at once."""

import asyncio
import ssl
from collections.abc import Iterable
from typing import NamedTuple

import trio
from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError

# Seconds; reached only by a test that fails.
PATIENCE = 40.0

# Nothing is encrypted here, and to read the machine's certificates for each client takes longer than to log in.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Login(NamedTuple):
    """One attempt; `change_to`: after a success, change the password to this."""

    user: str
    password: str
    change_to: str | None = None


class _Client(ClientXMPP):  # type: ignore[misc]
    """Logs in once, and knows what came of it."""

    def __init__(self, host: str, login: Login) -> None:
        super().__init__(f"{login.user}@{host}", login.password, sasl_mech="PLAIN", ssl_context=_NO_TLS)
        self.login = login
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.enable_direct_tls = False
        self.enable_starttls = False
        self.enable_plaintext = True
        self.plugin["feature_mechanisms"].unencrypted_plain = True
        if login.change_to is not None:
            self.register_plugin("xep_0077")
        self.add_event_handler("session_start", self._started)
        self.add_event_handler("failed_auth", self._failed)
        self.add_event_handler("disconnected", lambda _: self._conclude("disconnected"))

    def _conclude(self, outcome: str) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def _failed(self, stanza: object) -> None:
        self._conclude(stanza["condition"])  # type: ignore[index]

    async def _started(self, _event: object) -> None:
        if self.login.change_to is None:
            return self._conclude("success")
        try:
            await self.plugin["xep_0077"].change_password(self.login.change_to)
        except IqError as error:
            return self._conclude(f"change {error.condition}")
        return self._conclude("changed")


async def _attempt(port: int, host: str, login: Login) -> str:
    client = _Client(host, login)
    client.connect("127.0.0.1", port)
    outcome = await asyncio.wait_for(client.outcome, PATIENCE)
    client.abort()
    return outcome


async def _attempts(port: int, host: str, logins: Iterable[Login]) -> list[str]:
    return await asyncio.gather(*(_attempt(port, host, login) for login in logins))


async def log_in(port: int, host: str, *logins: Login) -> list[str]:
    """All of these at once, in a thread; of each `success`, `changed`, or the condition it failed with."""
    return await trio.to_thread.run_sync(lambda: asyncio.run(_attempts(port, host, logins)))
