"""The same questions as real logins at ejabberd: what its modules say when asked is what its clients get."""

import random

import pytest
import trio
from support.ejabberd.differences import WANTED
from support.ejabberd.questions import Maker
from support.ejabberd.site import PERL, PHP, PYTHON, C, Outcome, Site
from support.ejabberd.walk import Walk
from support.prosody.xmpp_client import Client

pytestmark = pytest.mark.slow

AT_ONCE = 8

LIKE_THE_BRIDGE = {"auth: empty name", "auth: a NUL behind the right password, to a program in C"}
"""Kinds that ejabberd's sessions refuse before its modules are asked, so that clients see no difference."""

STREAM_ERROR = "{http://etherx.jabber.org/streams}error"


async def log_in(port: int, one: Outcome) -> str:
    """yes or no, or `failed` where ejabberd does not serve the host."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        client = Client(stream, one.question.host.decode())
        await client.open(wait=False)
        client.features = await client.next()
        if client.features.tag == STREAM_ERROR:
            return "failed"
        assert {*client.mechanisms()} <= {"PLAIN", "X-OAUTH2"}, "others need the stored password"
        outcome = await client.plain(one.question.user, one.question.secret)
    return {"success": "yes", "not-authorized": "no"}[outcome]


async def test_logins(site: tuple[Site, Walk], dice: random.Random) -> None:
    """Logins have the verdicts of the questions, and so differ from the bridge's as is listed."""
    both, walk = site
    questions = [one for host in (PYTHON, PERL, PHP, C) for one in Maker(dice, host).round(registrations=False)]
    questions += [one for _ in range(5) for one in walk.look()]
    asked = [both.ask(one) for one in questions if one.command == "auth"]
    limit, said = trio.CapacityLimiter(AT_ONCE), dict[int, str]()

    async def note(number: int, one: Outcome) -> None:
        async with limit:
            said[number] = await log_in(both.ejabberd.port, one)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number, one in enumerate(asked):
                nursery.start_soon(note, number, one)
    both.skip_journals()
    results = [(one.kind, one.ejabberd, one.bridge, said[number]) for number, one in enumerate(asked)]
    assert {kind for kind, ejabberd, _, login in results if login != ejabberd} == LIKE_THE_BRIDGE
    kinds = {kind for kind, *_ in results}
    listed = {kind for one in WANTED for kind in one.kinds if kind in kinds}
    assert {kind for kind, _, bridge, login in results if login != bridge} == listed - LIKE_THE_BRIDGE
    assert [login for *_, login in results].count("yes") > 20
