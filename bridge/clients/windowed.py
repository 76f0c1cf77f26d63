"""What all clients with many lines in flight have in common, whatever the order of their answers.

- At most `window` lines are in flight.  Lines beyond that from the same read wait in the backlog, and nothing more is
  read: the client is slowed down, and memory stays bounded.  A line's deadline counts from when it enters the window.
- An answer counts as in flight until it is written: a client that does not read its answers cannot ask more.
- A client is not read while its lines in flight hold more bytes than the `budget` of all clients has left.
- An error in this module ends only this client.
- Answers are written together, in one write at the end of a batch of events, as far as there is room.
- At end of input, what was read is answered, and then the session is over.  If nobody reads its output any more, it
  ends the same way, without the answers.  Its states are those of `lifecycle`.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.clients.budget import LINE, UNCOUNTED, Budget
from bridge.clients.lifecycle import Event, Lifecycle, State
from bridge.loop.reactor import BROKEN, WRITABLE, Reactor
from bridge.loop.streams import Borrowed, nobody_reads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    from bridge.protocol.query import Answerer, Limits, Query

    Lines = Any
    """Lines as the session's reader returns them, with a length and slices; different for each kind of session."""

    class Reader(Protocol):
        """Splits the client's bytes into lines."""

        max_line: int

        def feed(self, data: bytes) -> Lines: ...

        def finish(self) -> Lines: ...

    class Unanswered(Protocol):
        """The lines in flight, and the bytes that answer them: `Ordering`, or `Tagging`."""

        def __len__(self) -> int: ...

        def __iter__(self) -> Iterator[Query]: ...

        def answers(self, now: float) -> bytes: ...

        def abandon(self, now: float) -> bytes: ...

        def clear(self) -> None: ...


_READ = 65536
"""Bytes: what a pipe holds."""

_OPEN = State.OPEN
_WRITES = State.OPEN, State.ENDED, State.STOPPED


class WindowedSession(Lifecycle):
    """A client on two streams.

    Args:
      over: called once, when everything has been answered, or cannot be.
      lines: splits what the client sends.
      unanswered: where the session puts what it has asked.
      budget: shared with other clients.
    """

    _line_costs = LINE

    def __init__(
        self,
        source: Borrowed,
        sink: Borrowed,
        router: Answerer,
        reactor: Reactor,
        over: Callable[[], None],
        lines: Reader,
        unanswered: Unanswered,
        budget: Budget | None = None,
    ) -> None:
        self._over = over
        self._source = source
        self._sink = sink
        self._router = router
        self._reactor = reactor
        self._lines = lines
        self._backlog: Lines = ()  # read, but not yet in the window
        self._window = router.settings.window
        self._unanswered = unanswered
        self._unwritten = b""
        # Not states in `lifecycle`, as each comes and goes in several of them.
        self._flush_due = False
        self._listening = False  # the source is watched: only while there is room, and no end in sight
        self._heavy = False  # it holds more than others have left
        self._budget = budget or Budget()
        self._held = 0  # bytes in flight, as counted last
        self._uncounted = 0  # bytes read since then
        self._lines_to_count = 0  # count again when fewer lines than this are in flight
        reactor.watch(sink.descriptor, self._hang_up, BROKEN)
        self._listen()

    @property
    def idle(self) -> bool:
        """Whether all its lines have been answered, and the answers written."""
        return not (self._unanswered or self._backlog or self._unwritten)

    def reconfigure(self, settings: Limits) -> None:
        """Set new limits, for further lines."""
        self._lines.max_line = settings.max_line
        self._window = settings.window

    def stop(self) -> None:
        """Read no more, and answer the lines in flight; those in the backlog are unavailable."""
        if not self._enter(Event.STOP):
            return
        late, self._backlog = self._backlog, ()
        self._leave_unasked(late)
        self._listen()
        self._flush_later()

    def abort(self) -> None:
        """Answer everything now: queries without a verdict are unavailable, and those that still wait are withdrawn."""
        if self._enter(Event.STOP):
            self.stop()
            self._router.withdraw(self, self._unanswered)
            self._write(self._unanswered.abandon(self._router.clock()))

    def close(self) -> None:
        """Close both streams; queries that are settled later are ignored."""
        if not self._enter(Event.CLOSE):
            return
        self._unwatch()
        for stream in {self._source, self._sink}:
            stream.close()
        self._unwritten, self._backlog = b"", ()
        self._unanswered.clear()  # the session itself may last until garbage is collected
        self._budget.held -= self._held
        self._held, self._budget, self._lines_to_count = 0, Budget(), 0  # no longer counts against other clients

    def settled(self, query: Query) -> None:
        """A query has its verdict, which is written at the end of this batch."""
        if not self._flush_due:
            self._flush_later()

    def failed(self, error: Exception) -> None:
        """End the session after an error of ours; nothing more is written, as it might answer the wrong line."""
        self._drop("client dropped after an internal error, please report it", error=error)

    def take(self, data: bytes) -> None:
        """Take bytes of the client that were read before this session existed."""
        self._take(self._lines.feed(data))

    def _drop(self, message: str, **why: object) -> None:
        """End the session at once, without any more answers, and log why."""
        ends = self._enter(Event.FAIL)
        self._unwritten, self._backlog = b"", ()  # free memory first
        try:
            if ends:
                self._unwatch()
                self._router.withdraw(self, self._unanswered)
            self._unanswered.clear()
            self._router.warn(message, **why)
        finally:
            self._unanswered.clear()
            if ends:
                self._over()

    # --- lines -------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._source.read(_READ)
        except BlockingIOError:
            return
        except OSError:  # hung up, reset
            data = b""
        if data:
            self._take(self._lines.feed(data))
            self._uncounted += len(data)
            if self._uncounted > UNCOUNTED:
                self._count()
        elif nobody_reads(self._sink.descriptor):
            self._hang_up()  # a last line without its end may be incomplete: a password nobody chose
        else:
            self._enter(Event.END)
            self._take(self._lines.finish())
            self._listen()
            self._flush_later()  # perhaps nothing is left to do

    def _take(self, lines: Lines) -> None:
        """Ask as many of `lines` as fit into the window.

        Each kind of session has its own: a hook would cost every line a call.
        """
        raise NotImplementedError

    def _leave_unasked(self, lines: Lines) -> None:
        """Have `lines` answered without asking them: they were read too late."""
        raise NotImplementedError

    def _fitting(self, lines: Lines) -> Lines:
        """The first of `lines`, as many as fit into the window; the rest waits, and nothing is read meanwhile.

        The backlog is empty here: either the caller took it out, or nothing would have been read.
        """
        left = self._window_left()
        self._backlog = lines[left:]
        return lines[:left]

    def _window_left(self) -> int:
        """Lines that still fit into the window, in which an unwritten answer takes its line's place."""
        return max(0, self._window - len(self._unanswered) - self._unwritten.count(b"\n"))

    def _listen(self) -> None:
        """Watch the source, or not: only while the backlog is empty and there is room in the window and the budget."""
        listening = self._state is _OPEN and not self._backlog and self._window_left() > 0 and not self._heavy
        if listening == self._listening:
            return
        self._listening = listening
        if listening:
            self._reactor.watch(self._source.descriptor, self._readable)
        else:
            self._reactor.unwatch(self._source.descriptor)

    def _count(self) -> None:
        """Count the bytes in flight, and plan to count again when the number of lines in flight has halved."""
        lines = len(self._unanswered)
        held = sum([len(query.body) for query in self._unanswered]) + self._line_costs * lines
        self._budget.held += held - self._held
        self._held, self._uncounted, self._lines_to_count = held, 0, (lines + 1) // 2
        self._heavy = held > max(0, self._budget.left)
        self._listen()

    # --- answers -----------------------------------------------------------------------------------------

    def _flush_later(self) -> None:
        """Flush at the end of this batch of events, or of the next one, which then comes at once."""
        self._flush_due = True
        self._reactor.call_soon(self._flush)

    def _flush(self) -> None:
        """Write the answers whose turn has come, and use the room that makes."""
        self._flush_due = False
        if answers := self._unanswered.answers(self._router.clock()):
            self._write(answers)
        if len(self._unanswered) < self._lines_to_count:
            self._count()
        if not self._listening:  # rarely
            self._go_on()

    def _go_on(self) -> None:
        """Take lines from the backlog; end the session if everything is done."""
        if self._backlog:
            lines, self._backlog = self._backlog, ()
            self._take(lines)
        self._listen()
        if self._state is not _OPEN and self.idle and not self._flush_due and self._enter(Event.DONE):
            self._unwatch()
            self._over()

    def _write(self, answers: bytes) -> None:
        """Write `answers` as far as there is room, after those that already wait for room; the rest waits too."""
        if self._state not in _WRITES:
            return
        if self._unwritten:
            self._unwritten += answers
            return
        try:
            written = self._sink.write(answers)
        except BlockingIOError:
            written = 0
        except OSError:
            self._hang_up()
            return
        if written < len(answers):
            self._unwritten = answers[written:]
            self._reactor.unwatch(self._sink.descriptor)
            self._reactor.watch(self._sink.descriptor, self._write_on, WRITABLE)

    def _write_on(self) -> None:
        """Write waiting answers: there may be room now."""
        size = len(self._unwritten)
        while size > 0:
            try:
                written = self._sink.write(self._unwritten[:size])
                break
            except BlockingIOError:
                size //= 2  # a pipe takes this many or none: fill the room it has
            except OSError:
                self._hang_up()
                return
        else:
            return
        self._unwritten = self._unwritten[written:]
        if not self._unwritten:
            self._reactor.unwatch(self._sink.descriptor)
            self._reactor.watch(self._sink.descriptor, self._hang_up, BROKEN)
        self._go_on()

    def _hang_up(self) -> None:
        """Nobody reads the answers any more: write nothing, and withdraw queries that no program has yet."""
        if not self._enter(Event.HANG_UP):
            return
        self._router.withdraw(self, self._unanswered)
        self._unwritten = b""
        self._reactor.unwatch(self._sink.descriptor)
        self._backlog = ()
        self._listen()
        self._flush_later()

    def _unwatch(self) -> None:
        self._listening = False
        self._reactor.unwatch(self._source.descriptor)
        self._reactor.unwatch(self._sink.descriptor)
