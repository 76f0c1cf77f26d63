"""A daemon that does everything wrong: whatever it writes, nobody is let in who was not let in by a whole answer to
his own question, and once it behaves everything works again."""

import contextlib
import os
import signal

import pytest
import trio
from support.prosody.site import Site, right
from support.relay.fake_daemon import Connection, FakeDaemon, honest

pytestmark = pytest.mark.slow

WRONG = "wrong-password"
UNAVAILABLE = "temporary-auth-failure"

# Instead of an answer: none of these is one, so nobody gets in by it. T is the question's tag, N one that nobody used.
NO_ANSWERS = {
    "half": b"T 1",
    "half and the end": b"T 1!",
    "a tag": b"T\n",
    "half a tag": b"T",
    "a tag and a blank": b"T \n",
    "two blanks": b"T  1\n",
    "no blank": b"T1\n",
    "another tag": b"N 1\n",
    "a tag with a zero before it": b"0T 1\n",
    "a tag and a CR": b"T 1\r\n",
    "a tag, and more than a verdict": b"T 1 1\n",
    "a tag and eleven": b"T 11\n",
    "a tag and three": b"T 3\n",
    "a tag and a word": b"T yes\n",
    "a tag and a digit of another script": "T \u0661\n".encode(),
    "a tag in lower case": b"t 1\n",
    "no tag": b"1\n",
    "no tag, no end": b"1",
    "nothing": b"",
    "nothing and the end": b"!",
    "empty line": b"\n",
    "empty line first": b"\n1\n",
    "a word": b"yes\n",
    "a word of Lua": b"true\n",
    "ten": b"10\n",
    "eleven": b"11\n",
    "one and a zero byte": b"1\0\n",
    "a zero byte first": b"\x001\n",
    "a blank first": b" 1\n",
    "a blank behind": b"1 \n",
    "zero one": b"01\n",
    "plus one": b"+1\n",
    "one point zero": b"1.0\n",
    "three": b"3\n",
    "minus one": b"-1\n",
    "a whole frame": b"\0\2\0\1",
    "a whole frame and a line end": b"\0\2\0\1\n",
    "a digit of another script": "\u0661\n".encode(),
    "full width": "１\n".encode(),  # noqa: RUF001
    "its own question": b"=",
    "endless": b"1" * 200_000,
    "long line": b"1" * 200_000 + b"\n",
    "long line of ends": b"\r" * 70_000 + b"1\n",
}


@pytest.mark.parametrize("said", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_what_is_no_answer_lets_nobody_in(site: Site, nursery: trio.Nursery, said: bytes) -> None:
    site.configure(extauth_bridge_timeout=0.5)

    async def babble(connection: Connection, line: bytes) -> None:
        tag = connection.text(line, b"").split()[0]
        unused = b"%d" % (int(connection.next_tag()) + 1000)
        text = said.removesuffix(b"!").replace(b"T", tag).replace(b"N", unused)
        await connection.send(b"%b - %b\n" % (tag, line) if said == b"=" else text)
        if said.endswith(b"!"):
            await connection.close()

    fake = await FakeDaemon.start(nursery, site.socket, manner=babble)
    async with site.client() as one, site.client() as other:
        await one.start_plain("mallory", WRONG)
        await other.start_plain("alice", right("alice"))
        assert await one.outcome() == UNAVAILABLE
        assert await other.outcome() == UNAVAILABLE
    await (await fake.connection(0)).until_ended()
    fake.manner = honest
    await site.recovers()


# More than an answer: the first part answers this question, at most; the rest must not answer another.
TOO_MUCH = {
    "no, and a yes": b"T 0\nT 1\n",
    "no, and a yes to the next": b"T 0\nN 1\n",
    "no, and yes to three": b"T 0\nN 1\nN 1\nN 1\n",
    "no, and half a yes": b"T 0\nN 1",
    "no, and a half tag": b"T 0\nN",
    "cannot tell, and a yes": b"T 2\nT 1\n",
    "no, and a word": b"T 0\nyes\n",
}


@pytest.mark.parametrize("said", TOO_MUCH.values(), ids=TOO_MUCH.keys())
async def test_an_answer_too_many_is_nobodys(site: Site, nursery: trio.Nursery, said: bytes) -> None:
    site.configure(extauth_bridge_timeout=0.5)

    async def twice(connection: Connection, line: bytes) -> None:
        tag = connection.text(line, b"").split()[0]
        await connection.send(said.replace(b"T", tag).replace(b"N", connection.next_tag()))

    fake = await FakeDaemon.start(nursery, site.socket, manner=twice)
    async with site.client() as client:
        for _ in range(3):
            assert await client.plain("mallory", WRONG) in ("not-authorized", UNAVAILABLE)
    await (await fake.connection(0)).until_ended()
    fake.manner = honest
    await site.recovers()


async def test_a_yes_that_nobody_asked_for_ends_the_connection(site: Site, nursery: trio.Nursery) -> None:
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    for number, said in enumerate([b"1 1\n", b"3 1\n", b"1\n", b"3", b"3 0\n", b"\n", b"3 2\n4 1\n"]):
        await site.recovers()
        await (await fake.connection(number)).send(said)
        await (await fake.connection(number)).until_ended(2)
        assert await site.plain("mallory", WRONG) in ("not-authorized", UNAVAILABLE)
    await site.recovers()


@pytest.mark.parametrize("first", ["question", "answer"])
async def test_a_yes_that_was_there_before_the_question_answers_it_not(
    site: Site, nursery: trio.Nursery, first: str
) -> None:
    """The server is stopped while both come, so that it finds them in one look, in either order."""
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    async with site.client() as client:
        for number in range(5):
            await site.recovers()
            connection = await fake.connection(number)
            os.kill(site.prosody.pid, signal.SIGSTOP)
            try:
                if first == "question":
                    await client.start_plain("mallory", WRONG)
                await connection.send(connection.next_tag() + b" 1\n")
                if first == "answer":
                    await client.start_plain("mallory", WRONG)
            finally:
                os.kill(site.prosody.pid, signal.SIGCONT)
            assert await client.outcome() in ("not-authorized", UNAVAILABLE)
            await connection.until_ended()


async def test_an_answer_after_its_time_is_nobodys(site: Site, nursery: trio.Nursery) -> None:
    """Every question of a whole series is answered late, with a yes, while others follow."""
    site.configure(extauth_bridge_timeout=0.3)

    async def late(connection: Connection, line: bytes) -> None:
        nursery.start_soon(answer_late, connection, line)

    async def answer_late(connection: Connection, line: bytes) -> None:
        # Not before the module has given this one up: it closes the connection then.
        await connection.ended.wait()
        for each in fake.connections:
            if not each.ended.is_set():
                await each.send(connection.text(line, b"1"))
                return

    fake = await FakeDaemon.start(nursery, site.socket, manner=late)
    async with site.client() as one, site.client() as other:
        for _ in range(4):
            await one.start_plain("mallory", WRONG)
            await other.start_plain("alice", right("alice"))
            assert await one.outcome() == UNAVAILABLE
            assert await other.outcome() == UNAVAILABLE
    fake.manner = honest
    await site.recovers()


async def test_a_late_answer_on_its_own_connection_is_nobodys(site: Site, nursery: trio.Nursery) -> None:
    """Written in the very moment the module gives up, again and again: on either side of it."""
    site.configure(extauth_bridge_timeout=0.3)
    fake = await FakeDaemon.start(nursery, site.socket)

    async def just_late(connection: Connection, line: bytes) -> None:
        await trio.sleep(delays.pop())  # the moment is what this is about
        await connection.answer(line, b"1" if line.startswith(b"auth:alice:") else b"0")

    delays = [0.28 + 0.004 * step for step in range(10)]
    fake.manner = just_late
    async with contextlib.AsyncExitStack() as stack:
        mallory = await stack.enter_async_context(site.client())
        while len(delays) > 1:
            async with site.client() as alice:
                await alice.start_plain("alice", right("alice"))
                await alice.outcome()  # in time or not: both are right
            if delays:
                assert await mallory.plain("mallory", WRONG) in ("not-authorized", UNAVAILABLE)
    fake.manner = honest
    await site.recovers()


@pytest.mark.parametrize("said", [b"1", b"yes\n", b"2\n", b"3\n", b"11\n", b"\n", b"", b"\0\2\0\1\n"], ids=repr)
async def test_no_sensible_answer_to_the_wish_for_tags(site: Site, nursery: trio.Nursery, said: bytes) -> None:
    """The first line's answer is `1` or `0`; with any other the connection is worth nothing, whatever follows."""
    site.configure(extauth_bridge_timeout=0.5)
    fake = await FakeDaemon.start(nursery, site.socket, knows=None)

    async def greet(number: int) -> None:
        while True:
            connection = await fake.connection(number, seconds=1000)
            if fake.knows is None:
                await connection.send(said)
            number += 1

    nursery.start_soon(greet, 0)
    async with site.client() as client:
        for _ in range(3):
            assert await client.plain("mallory", WRONG) == UNAVAILABLE
    fake.knows, fake.manner = True, honest
    await site.recovers()


async def test_a_third_answer_that_was_never_agreed_upon_lets_nobody_in(site: Site, nursery: trio.Nursery) -> None:
    site.configure(extauth_bridge_timeout=0.5)

    async def two(connection: Connection, line: bytes) -> None:
        await connection.send(b"2\n")

    fake = await FakeDaemon.start(nursery, site.socket, knows=False, manner=two)
    async with site.client() as client:
        for _ in range(3):
            assert await client.plain("alice", right("alice")) == UNAVAILABLE
    await (await fake.connection(0)).until_ended()
    fake.manner = honest
    await site.recovers()
