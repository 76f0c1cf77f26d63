"""What the programs of the model do, and what they have done: each knows every frame it got, and its reply to it.

A program does by itself what its `Manner` says, in the model's time, one small step after another.  What goes wrong is
a `Trouble`, of one question or of all; a test may also make it say, or do, anything at any time.

What it does goes through its `Ends`: those of a worker in memory, or of a real Worker's pipes.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Callable
from typing import NamedTuple, Protocol

from bridge.protocol.frames import DENIED, GRANTED
from bridge.protocol.query import Query, Verdict

FOREVER = float("inf")
REPLIES = {Verdict.GRANTED: GRANTED, Verdict.DENIED: DENIED}
RIGHT = b":right-"
"""What a secret begins with that a program grants."""


class Ends(Protocol):
    """A program's ends of its pipes, and its process."""

    def read(self) -> bytes | None:
        """The body of the next frame, if there is one."""
        ...

    def write(self, data: bytes) -> None: ...

    def complain(self, data: bytes) -> None:
        """Write on stderr."""
        ...

    def close_input(self) -> None: ...

    def exit(self, status: int) -> None: ...


class Trouble(enum.Enum):
    """What goes wrong with a question.  Those that reply twice do it with a grant, which does the most harm."""

    DIES_UNREAD = "dies before it reads"
    DIES_READ = "dies when it has read"
    DIES_REPLIED = "replies, and dies"
    HANGS = "reads, and hangs"
    DEAF = "hangs, and does not read"
    LATE = "replies late"
    VERY_LATE = "replies very late"
    TWICE_AT_ONCE = "replies twice in one write"
    TWICE_SOON = "replies twice, the second time in a moment"
    TWICE_LATER = "replies twice, the second time when it is idle"
    TWICE_UNREAD = "replies a second time when the next question is there and unread"
    TWICE_READ = "replies a second time when it has read the next question"
    EARLY = "replies before it reads"
    GARBAGE = "writes something else, with the question"
    COMPLAINS = "writes the question on stderr, and replies"
    PIECES = "replies in pieces"
    HALF = "replies half, and dies"
    CLOSES = "closes its stdin, and replies"


LATENESS = {Trouble.LATE: 1.5, Trouble.VERY_LATE: 7.0}
"""Seconds: within `answer_timeout`, mostly, and beyond."""


class Manner(NamedTuple):
    """How programs are that are started from now on.

    Attributes:
      startup: seconds until it reads its first question; infinity if it never does.
      takes: seconds for a question.
      trouble: with its questions.
      always: with all of them, not only the first.
    """

    startup: float = 0.0
    takes: float = 0.01
    trouble: Trouble | None = None
    always: bool = False


class Frame:
    """One frame that a program got.

    Attributes:
      query: whose it is.
      handed, read, replied: when; infinity if that has not happened.
      reply: the program's.
      taken_back: the query was asked of another program while this one had it.
    """

    def __init__(self, query: Query, handed: float) -> None:
        self.query = query
        self.handed = handed
        self.read = FOREVER
        self.replied = FOREVER
        self.reply: Verdict | None = None
        self.taken_back = False


class World(Protocol):
    """Where programs live.

    Attributes:
      now: seconds.
      stalled: the back end does not answer, and so no program does.
      poisonous: questions of "poison-" accounts cause trouble.
    """

    stalled: bool
    poisonous: bool

    @property
    def now(self) -> float: ...

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do this then."""
        ...

    def when_seen(self, action: Callable[[], None]) -> None:
        """Do this once the bridge sees what happens now."""
        ...


class Program:
    """One program.

    Attributes:
      ends: its own; set before anything else happens.
      up_at: when it is ready to read its next question, by itself.
      frames: all that it got.
      is_gone: the process has ended, or been killed.
      hung: it does nothing by itself any more.
      misbehaved: it has done what no program may do, or has left.
      held: the kernel does not let it be killed.
      stays: signals it ignores, and whether it ignores the end of its input.
    """

    def __init__(self, world: World, manner: Manner) -> None:
        self.ends: Ends
        self.world = world
        self.manner = manner
        self.born = world.now
        self.up_at = world.now + manner.startup
        self.frames: list[Frame] = []
        self.is_gone = self.hung = self.misbehaved = self.held = self.stays = False
        self.trouble = manner.trouble
        self._killed = False
        self._part = b""  # what it has written since it read its frame
        self._owes: Trouble | None = None
        if manner.startup == FOREVER:
            self.hung = True
        elif manner.startup:
            world.at(self.up_at, self.work)

    # --- what it has done ------------------------------------------------------------------------------------

    @property
    def frame(self) -> Frame | None:
        """The one it has not replied to."""
        last = self.frames[-1] if self.frames else None
        return last if last is not None and last.replied == FOREVER else None

    @property
    def proven(self) -> bool:
        """Whether it has replied."""
        return bool(self.frames) and self.frames[0].replied < FOREVER

    # --- what happens to it ----------------------------------------------------------------------------------

    def handed(self, query: Query) -> Frame:
        """There is a frame in its pipe."""
        frame = Frame(query, self.world.now)
        self.frames.append(frame)
        self.world.at(max(self.world.now, self.up_at), self.work)
        return frame

    def input_ended(self) -> None:
        if not self.stays and not self.hung:
            self.world.at(self.world.now, lambda: self.exit(0))

    def signalled(self, number: int) -> None:
        if number == signal.SIGKILL:
            self._killed = True
            if not self.held:
                self.exit(-number)
        elif not self.stays:
            self.exit(-number)

    # --- what it does ----------------------------------------------------------------------------------------

    def work(self) -> None:
        """Read the frame in its pipe, and begin to answer it."""
        frame = self.frame
        if self.is_gone or self.hung or self._killed or frame is None or frame.read < FOREVER:
            return
        if self._owes is Trouble.TWICE_UNREAD:
            self.stray()
            self.world.at(self.world.now, self.work)
            return
        trouble = self._troubled(frame.query.body)
        if trouble is Trouble.DIES_UNREAD:
            self.exit(1)
        elif trouble is Trouble.DEAF:
            self.hung = True
        else:
            if trouble is Trouble.EARLY:
                self.stray()
            self.read()
            self._answer(frame, trouble)

    def read(self) -> None:
        """Read the frame in its pipe, if there is one."""
        frame = self.frame
        if frame is not None and frame.read == FOREVER:
            assert self.ends.read() == frame.query.body
            frame.read, self._part = self.world.now, b""

    def _troubled(self, body: bytes) -> Trouble | None:
        """What goes wrong with this question: by its own fault, or by the program's."""
        _, user, *_ = body.split(b":")
        if user.startswith(b"poison-") and self.world.poisonous:
            return Trouble[user.decode().split("-")[1]]
        trouble = self.trouble
        if not self.manner.always:
            self.trouble = None
        return trouble

    def _answer(self, frame: Frame, trouble: Trouble | None) -> None:
        now = self.world.now
        if self._owes is Trouble.TWICE_READ:
            self._owes = None
            self.say(GRANTED)  # the reply to this frame, as far as anybody can tell
        if trouble is Trouble.DIES_READ:
            self.exit(1)
        elif trouble is Trouble.HANGS:
            self.hung = True
        elif trouble is Trouble.GARBAGE:
            self.say(b"what? " + frame.query.body + b"\n")
        else:
            if trouble is Trouble.COMPLAINS:
                self.ends.complain(frame.query.body + b" is odd\n")
            takes = LATENESS.get(trouble, self.manner.takes) if trouble else self.manner.takes
            self.up_at = now + takes
            self.world.at(self.up_at, lambda: self.reply(frame, trouble))

    def reply(self, frame: Frame, trouble: Trouble | None = None) -> None:
        """Reply to `frame`, if nothing is in the way."""
        if self.is_gone or self.hung or self._killed or frame is not self.frame:
            return
        if self.world.stalled:
            self.world.at(self.world.now + 0.1, lambda: self.reply(frame, trouble))
            return
        data = REPLIES[truth(frame.query.body)]
        if trouble is Trouble.CLOSES:
            self.misbehaved = True
            self.ends.close_input()
        if trouble in (Trouble.PIECES, Trouble.HALF):
            self._say_in_pieces(frame, data, trouble)
            return
        self.say(data * 2 if trouble is Trouble.TWICE_AT_ONCE else data)
        if trouble is Trouble.DIES_REPLIED:
            self.exit(0)
        elif trouble is Trouble.TWICE_SOON:
            self.world.at(self.world.now, self.stray)
        elif trouble is Trouble.TWICE_LATER:
            self.world.at(self.world.now + 0.05, self.stray)
        elif trouble in (Trouble.TWICE_UNREAD, Trouble.TWICE_READ):
            self._owes = trouble

    def _say_in_pieces(self, frame: Frame, data: bytes, trouble: Trouble) -> None:
        self.say(data[:2])

        def rest() -> None:
            if self.is_gone or self._killed or frame is not self.frame:
                return
            if trouble is Trouble.HALF:
                self.exit(1)
            else:
                self.say(data[2:])

        self.world.at(self.world.now, rest)

    def stray(self) -> None:
        """A grant that answers nothing, unless it has read a question."""
        self._owes = None
        if not self.hung:
            self.say(GRANTED)

    def say(self, data: bytes) -> None:
        """Write this, whatever it means."""
        if self.is_gone:
            return
        self._note(data)
        self.ends.write(data)

    def _note(self, data: bytes) -> None:
        """What is being written is its reply, or part of it, to the frame it has read; otherwise it answers nothing."""
        frame = self.frame
        if frame is None or frame.read == FOREVER:
            self.misbehaved = True
            return
        self._part += data
        self.misbehaved = self.misbehaved or not any(reply.startswith(self._part) for reply in REPLIES.values())
        if self._part[:4] in REPLIES.values():
            frame.replied = self.world.now
            frame.reply = Verdict.GRANTED if self._part[:4] == GRANTED else Verdict.DENIED

    def go_on(self) -> None:
        """Hang no longer, nor be about to start for ever."""
        self.hung = False
        if self.up_at == FOREVER:
            self.up_at = self.world.now
        if self.frame is not None and self.frame.read < FOREVER:
            self.reply(self.frame)
        else:
            self.work()

    def exit(self, status: int) -> None:
        if not self.is_gone:
            self.is_gone = True
            self.ends.exit(status)

    def let_go(self) -> None:
        """The kernel lets it be killed."""
        self.held = False
        if self._killed:
            self.exit(-signal.SIGKILL)

    def behave(self) -> None:
        """Do nothing wrong from now on; one that hangs with a question stays so."""
        self.trouble = self._owes = None
        self.manner = Manner(self.manner.startup, 0.01)
        self.stays = False
        self.let_go()
        if self.hung and self.frame is None:
            self.hung = False
            self.up_at = self.world.now


def truth(body: bytes) -> Verdict:
    """What a program replies if nothing goes wrong."""
    return Verdict.GRANTED if body.startswith((b"isuser:", b"setpass:")) or RIGHT in body else Verdict.DENIED
