"""What reaches Prosody by HTTP: modules that ask for a password, and clients in a browser."""

import base64
import http.client
import re

import trio

PATIENCE = 20.0  # seconds; reached only by a test that fails
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"


def _post(port: int, host: str, path: str, body: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("POST", path, body.encode(), {"Host": host})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


async def post(port: int, host: str, path: str, body: str) -> tuple[int, str]:
    """Status and body of the reply."""
    return await trio.to_thread.run_sync(_post, port, host, path, body)


async def bosh(port: int, host: str, user: str, password: str) -> str:
    """`success`, or the condition: one attempt by SASL PLAIN over XEP-0124."""
    body = "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'"
    start = f"{body} rid='1' to='{host}' hold='1' wait='10' ver='1.6' xmpp:version='1.0'/>"
    _, reply = await post(port, host, "/http-bind", start)
    session = re.search(r"\bsid='([^']+)'", reply)
    assert session, reply
    message = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    attempt = f"<auth xmlns='{SASL}' mechanism='PLAIN'>{message}</auth>"
    _, reply = await post(port, host, "/http-bind", f"{body} rid='2' sid='{session[1]}'>{attempt}</body>")
    outcome = re.search(r"<success|<failure[^>]*><([a-z-]+)", reply)
    assert outcome, reply
    return outcome[1] or "success"
