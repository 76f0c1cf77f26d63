"""Actions of clients: they vanish, never read, half-close, send nonsense or far too much; relays are killed."""

import contextlib
import functools
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from support import procfs
from support.chaos.action import Action, Scenery
from support.chaos.clients import InOrder, OnTerminal
from support.chaos.people import Harm, question


def lines(scenery: Scenery, count: int) -> tuple[bytes, str]:
    """So many questions, and the right answers."""
    ask = question(f"c{scenery.dice.randrange(10**9)}n", scenery.dice)
    asked = [ask(number) for number in range(count)]
    right = "".join("0" if b":guess" in line else "1" for line in asked)
    return b"".join(line + b"\n" for line in asked), right


@contextlib.asynccontextmanager
async def again_and_again(scenery: Scenery, *, what: Callable[[Scenery], Awaitable[None]]) -> AsyncIterator[None]:
    """Some who do this, one time after the other."""

    async def go_on() -> None:
        while True:
            with contextlib.suppress(OSError, trio.BrokenResourceError):
                await what(scenery)
            await trio.sleep(0.05)

    for _ in range(3):
        scenery.nursery.start_soon(go_on)
    yield


async def vanish(scenery: Scenery) -> None:
    """Asks a few, and is gone at once."""
    async with await trio.open_unix_socket(scenery.site.path) as stream:
        await stream.send_all(lines(scenery, 4)[0])
        await trio.sleep(scenery.dice.choice((0, 0.01)))


async def half_close(scenery: Scenery) -> None:
    """Asks a few, half of the last one without its end, and reads on: each is answered once, and then comes the end."""
    sent, right = lines(scenery, 4)
    answers = b""
    async with await trio.open_unix_socket(scenery.site.path) as stream:
        await stream.send_all(sent[:-1])
        await stream.send_eof()
        while more := await stream.receive_some(65536):
            answers += more
    got = answers.decode().split()
    if len(got) != len(right) or any(one > truth for one, truth in zip(got, right, strict=True)):
        scenery.site.breach(f"half-close: {''.join(got)} instead of {right}")


async def trickle(scenery: Scenery) -> None:
    """One question, a byte at a time."""
    sent, right = lines(scenery, 1)
    async with await trio.open_unix_socket(scenery.site.path) as stream:
        for byte in sent:
            await stream.send_all(bytes((byte,)))
            await trio.sleep(0.005)
        if (got := (await stream.receive_some(2)).decode().strip()) > right:
            scenery.site.breach(f"trickle: {got} instead of {right}")


NONSENSE = (
    b"\0" * 100 + b"\n",
    b"x" * 20_000 + b"\n",
    b"auth:a:h:\xff\xfe\n",
    b"extauth-bridge:tagged:1\n1 - \n1 - auth:x:h:guess1\n1 - auth:x:h:guess1\n",
    b"extauth-bridge:tagged:1\nno tag at all\n",
    b"extauth-bridge:tagged:9\nauth:x:h:guess1\n",
    b"extauth-bridge:answers:3\n\n\n:::\n",
)


async def nonsense(scenery: Scenery) -> None:
    """Whatever comes back, no `1` but to a first line that asks for more."""
    text = scenery.dice.choice(NONSENSE)
    async with await trio.open_unix_socket(scenery.site.path) as stream:
        await stream.send_all(text)
        await stream.send_eof()
        answers = b""
        while more := await stream.receive_some(65536):
            answers += more
    if b"1" in answers.removeprefix(b"1\n").replace(b"1 0", b"").replace(b"1 2", b""):
        scenery.site.breach(f"nonsense {text[:40]!r} was answered {answers[:100]!r}")


@contextlib.asynccontextmanager
async def never_read(scenery: Scenery) -> AsyncIterator[None]:
    """Sends refused lines as fast as they are taken, and reads no answer."""

    async def go_on() -> None:
        async with await trio.open_unix_socket(scenery.site.path) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(b"nobody:at:all\n" * 500)

    for _ in range(3):
        scenery.nursery.start_soon(go_on)
    yield


@contextlib.asynccontextmanager
async def greedy(scenery: Scenery) -> AsyncIterator[None]:
    """One client asks far more than all others together, and reads on."""

    async def go_on() -> None:
        async with await trio.open_unix_socket(scenery.site.path) as stream:
            while True:
                sent, right = lines(scenery, 200)
                await stream.send_all(sent)
                got = b""
                while got.count(b"\n") < len(right):
                    if not (more := await stream.receive_some(65536)):
                        return
                    got += more
                if any(one > truth for one, truth in zip(got.decode().split(), right, strict=True)):
                    scenery.site.breach("greedy: A WRONG GRANT")

    scenery.nursery.start_soon(go_on)
    yield


@contextlib.asynccontextmanager
async def crowd(scenery: Scenery, *, status: bool) -> AsyncIterator[None]:
    """Many connect, and say and read nothing."""
    path = scenery.site.status if status else scenery.site.path
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):  # the queue is full
                client.connect(os.fspath(path))
            await trio.sleep(0.002)
        yield


@contextlib.asynccontextmanager
async def relays(scenery: Scenery, *, number: int) -> AsyncIterator[None]:
    """All relays get a signal; if that stops them, they go on in the end."""
    pids = relay_pids(scenery)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def relay_pids(scenery: Scenery) -> list[int]:
    found = []
    for crowd in scenery.people.crowds.values():
        if isinstance(crowd.client, OnTerminal):
            found += crowd.client.terminal.children()
    children = procfs.children(os.getpid())
    return found + [
        it.pid for it in children if procfs.arguments(it.pid)[-1:] == [str(scenery.site.folder / "relay.toml")]
    ]


@contextlib.asynccontextmanager
async def reconnect(scenery: Scenery) -> AsyncIterator[None]:
    """Those who keep a connection lose it, in the middle of their questions, and make another."""

    async def go_on() -> None:
        while True:
            for crowd in scenery.people.crowds.values():
                client = crowd.client
                if isinstance(client, InOrder) and isinstance(client.stream, trio.SocketStream):
                    await trio.aclose_forcefully(client.stream)
            await trio.sleep(0.3)

    scenery.nursery.start_soon(go_on)
    yield


RELAYS = frozenset({"relay", "terminal"})

ACTIONS = (
    *(
        Action(name, title, functools.partial(again_and_again, what=what))
        for name, title, what in (
            ("vanish", "clients ask, and are gone at once", vanish),
            ("half-close", "clients ask, half-close, and read on", half_close),
            ("trickle", "clients send a byte at a time", trickle),
            ("nonsense", "clients send what is no question", nonsense),
        )
    ),
    Action("never-read", "clients send without end and never read", never_read),
    Action("greedy", "one client asks more than the programs can answer", greedy, Harm(late=0.02)),
    Action("silent", "a hundred clients connect and say nothing", functools.partial(crowd, status=False)),
    Action("status", "a hundred ask for the status and do not read it", functools.partial(crowd, status=True)),
    Action("reconnect", "clients lose their connection every 0.3 s", reconnect, Harm(named=frozenset({"plain"}))),
    Action(
        "kill-relays",
        "all relays are killed",
        functools.partial(relays, number=signal.SIGKILL),
        Harm(named=RELAYS),
    ),
    Action(
        "stop-relays",
        "all relays stand still",
        functools.partial(relays, number=signal.SIGSTOP),
        Harm(named=RELAYS, holds=1.5, recovery=3.0),
    ),
)
