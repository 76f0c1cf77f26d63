"""Chaos would be told if something broke the promise: daemons that do, and what is said of them."""

import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from support.availability.clients import Client, Watch
from support.availability.verdict import Login
from support.chaos.clients import InOrder, Single, Tagged
from support.chaos.people import ANSWER_TIMEOUT, EVERYBODY, Harm, People, WatchedCrowd

Manner = Callable[[bytes], bytes]
"""What a daemon answers to one line."""

HELLO = b"extauth-bridge:tagged:1"


async def serve(manner: Manner, stream: trio.SocketStream) -> None:
    data = b""
    while more := await stream.receive_some(4096):
        *lines, data = (data + more).split(b"\n")
        for line in lines:
            await stream.send_all(b"1\n" if line == HELLO else manner(line))
    await stream.aclose()


async def breaches(kind: str, manner: Manner, lines: int = 2) -> list[str]:
    """What is found when a client asks such a daemon this many questions."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "auth.sock"
        async with trio.open_nursery() as nursery:
            with trio.socket.socket(trio.socket.AF_UNIX) as sock:
                await sock.bind(str(path))
                sock.listen()
                listener = trio.SocketListener(sock)
                nursery.start_soon(partial(trio.serve_listeners, partial(serve, manner), [listener]))
                client = made(kind, path, nursery, said.append)
                for _ in range(lines):
                    with trio.fail_after(10):
                        await client.ask(b"isuser:u:h", "-")
                await trio.testing.wait_all_tasks_blocked(0.05)
                nursery.cancel_scope.cancel()
    return said


def made(kind: str, path: Path, nursery: trio.Nursery, breach: Callable[[str], None]) -> Client:
    async def connect() -> trio.SocketStream:
        return await trio.open_unix_socket(path)

    watch = Watch()
    if kind == "single":
        return Single(path, watch, breach)
    if kind == "tagged":
        return Tagged(path, watch, nursery, breach)
    return InOrder(connect, watch, nursery, breach, kind)


def tag(line: bytes) -> bytes:
    return line.split(b" ")[0]


GOOD: dict[str, Manner] = {
    "single": lambda _: b"1\n",
    "plain": lambda _: b"1\n",
    "tagged": lambda it: tag(it) + b" 1\n",
}
BAD: list[tuple[str, Manner]] = [
    ("single", lambda _: b"1\n1\n"),
    ("single", lambda _: b"2\n"),
    ("plain", lambda _: b"1\n0\n0\n"),
    ("plain", lambda _: b"1\r\n1\n"),
    ("tagged", lambda line: (tag(line) + b" 1\n") * 2),
    ("tagged", lambda line: b"x 1\n" + tag(line) + b" 1\n"),
    ("tagged", lambda line: tag(line) + b" 3\n" + tag(line) + b" 1\n"),
]


@pytest.mark.parametrize("kind", GOOD)
async def test_good_answers_are_no_breach(kind: str) -> None:
    assert await breaches(kind, GOOD[kind]) == []


@pytest.mark.parametrize("kind, manner", BAD)
async def test_answer_to_nothing(kind: str, manner: Manner) -> None:
    assert await breaches(kind, manner)


Judged = Callable[..., Awaitable[list[str]]]


@pytest.fixture
def judged(nursery: trio.Nursery) -> Judged:
    """Has one login judged; who asked, whether it was right, the verdict and its seconds, and what was allowed."""

    async def judge(who: str, right: bool, verdict: str, seconds: float, harm: Harm, lag: float = 0.0) -> list[str]:
        said: list[str] = []
        people = People(
            dict.fromkeys(("plain", "tagged", "sqlite"), Single(Path(), Watch(), said.append)), nursery, said.append
        )
        crowd: WatchedCrowd = people.crowds[who]
        crowd.logins += [Login(who, right, 0.0, verdict, seconds) for _ in range(10)]
        people.judge(harm, "it", 0.0, lag)
        return said

    return judge


async def test_a_wrong_grant_is_never_allowed(judged: Judged) -> None:
    assert "A WRONG GRANT" in (await judged("plain", False, "1", 0.1, EVERYBODY, 100.0))[0]
    assert not await judged("plain", False, "0", 0.1, Harm())


async def test_an_answer_that_takes_too_long(judged: Judged) -> None:
    assert await judged("plain", False, "0", ANSWER_TIMEOUT + 1.0, EVERYBODY)
    assert not await judged("plain", False, "0", ANSWER_TIMEOUT + 1.0, Harm(holds=1.0))
    assert await judged("tagged", True, "", 0.1, EVERYBODY)
    assert not await judged("tagged", True, "", 0.1, EVERYBODY | Harm(cuts=True))


async def test_others_are_granted_and_at_once(judged: Judged) -> None:
    assert await judged("plain", True, "0", 0.1, Harm(failed=9))
    assert not await judged("plain", True, "0", 0.1, Harm(failed=10))
    assert await judged("sqlite", True, "2", 0.1, Harm())
    assert not await judged("sqlite", True, "2", 0.1, Harm(named=frozenset({"sqlite"})))
    assert await judged("plain", True, "1", 1.5, Harm())
    assert not await judged("plain", True, "1", 1.5, Harm(waits=True))
    assert await judged("tagged", True, "1", 1.5, Harm(waits=True))
    assert not await judged("tagged", True, "1", 1.5, Harm(), lag=2.0)
