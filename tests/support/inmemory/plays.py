"""What programs in memory do, besides the plays in `pools`, and how a question ended."""

import pytest
import trio

from bridge.protocol.frames import DENIED, GRANTED
from bridge.protocol.query import Verdict
from support.inmemory.pools import Answer, InMemoryWorker, Play, answers

YES, NO, UNAVAILABLE = Verdict.GRANTED, Verdict.DENIED, Verdict.UNAVAILABLE
MISSING = FileNotFoundError(2, "No such file or directory")
BUSY = BlockingIOError(11, "Resource temporarily unavailable")


def after(seconds: float, verdict: Verdict, answer: Answer) -> None:
    """It ended with this verdict, at that time."""
    assert answer.verdict is verdict
    assert answer.seconds == pytest.approx(seconds, abs=1e-6)


def reads_and_dies_after(seconds: float) -> Play:
    """Its first question ends it."""

    async def play(program: InMemoryWorker) -> int:
        await program.frame()
        await trio.sleep(seconds)
        return 1

    return play


def exits_with_reply(reply: bytes = GRANTED) -> Play:
    """One reply, then it exits."""

    async def play(program: InMemoryWorker) -> int:
        await program.frame()
        program.say(reply)
        return 0

    return play


def answers_once_and_then(play: Play) -> Play:
    """Ready, as it has given a good reply."""

    async def first(program: InMemoryWorker) -> int | None:
        await program.frame()
        program.say(GRANTED)
        return await play(program)

    return first


def starts_slowly(seconds: float, play: Play | None = None) -> Play:
    """Reads nothing for this many seconds, and then does as another one."""

    async def first(program: InMemoryWorker) -> int | None:
        await trio.sleep(seconds)
        return await (play or answers())(program)

    return first


def denies(seconds: float = 0.0) -> Play:
    """Answers no."""
    return answers(seconds, DENIED)
