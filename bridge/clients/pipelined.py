"""One pipelined client: many lines in, their answers out in the same order.

- A client of the daemon may ask for a third answer with its very first line, HELLO: UNKNOWN in the place of NO
  where nobody could be asked.
- At most `window` lines are in flight.  What one read has brought beyond that waits in the backlog, and nothing more
  is read: the client feels it, and memory stays bounded.  A line's time begins when it is taken into the window.
- An answer counts as in flight until it is written: a client that does not read gets nothing more asked.
- Nor is anything read of a client whose lines in flight hold more bytes than the `budget` of all clients has left.
- Whatever goes wrong in here ends this client and nobody else.
- Answers are written together, in one write at the end of a batch of events, unless there is no room for them.
- End of input: what was read is answered, then the session is over.  Output that nobody reads any more ends
  it the same way, without the answers.  Its states are those of `lifecycle`.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.clients.budget import LINE, UNCOUNTED, Budget
from bridge.clients.lifecycle import Event, Lifecycle, State
from bridge.loop.reactor import BROKEN, WRITABLE, Reactor
from bridge.loop.streams import Borrowed, nobody_reads
from bridge.protocol.lines import HELLO, NO, UNKNOWN, LineReader
from bridge.protocol.ordering import Ordering
from bridge.protocol.query import AGREED, REFUSED, UNASKED, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.protocol.query import Answerer, Limits, Refusal

_READ = 65536
"""Bytes at a time: a whole pipe's worth."""

_OPEN = State.OPEN
_WRITES = State.OPEN, State.ENDED, State.STOPPED


class PipelinedSession(Lifecycle):
    """A pipelined client on two streams.

    Args:
      over: called once, when everything has been answered, or cannot be.
      negotiates: it may ask for a third answer.
      budget: shared with others.
    """

    def __init__(
        self,
        source: Borrowed,
        sink: Borrowed,
        router: Answerer,
        reactor: Reactor,
        over: Callable[[], None],
        negotiates: bool = False,
        budget: Budget | None = None,
    ) -> None:
        self._over = over
        self._source = source
        self._sink = sink
        self._router = router
        self._reactor = reactor
        self._lines = LineReader(router.settings.max_line)
        self._backlog: Sequence[bytes | Refusal] = ()  # read, and not yet in the window
        self._window = router.settings.window
        self._ordering = Ordering()
        self._negotiates = negotiates  # until its first line is there
        self._unwritten = b""
        # What is no state of its own, as it comes and goes in several: is a flush asked for, is the source watched,
        # is more held than others have left?
        self._flush_due = False
        self._listening = False  # true only while nothing is held up: there is room, and no end in sight
        self._heavy = False
        self._budget = budget or Budget()
        self._held = 0  # bytes in flight, as counted last
        self._uncounted = 0  # bytes read since then
        self._lines_to_count = 0  # fewer in flight than this: time to count again
        reactor.watch(sink.descriptor, self._hang_up, BROKEN)
        self._listen()

    @property
    def idle(self) -> bool:
        """Whether all its lines are answered, and the answers written."""
        return not (self._ordering or self._backlog or self._unwritten)

    def reconfigure(self, settings: Limits) -> None:
        """New limits, for lines that are still to come."""
        self._lines.max_line = settings.max_line
        self._window = settings.window

    def stop(self) -> None:
        """Read no more; answer what is in flight; what was read but is not is unavailable."""
        if not self._enter(Event.STOP):
            return
        self._ordering.extend([UNASKED] * len(self._backlog))
        self._backlog = ()
        self._listen()
        self._flush_later()

    def abort(self) -> None:
        """Answer now, as far as nobody has to be waited for: what is known; the rest is unavailable, and not asked."""
        if self._enter(Event.STOP):
            self.stop()
            self._router.withdraw(self, self._ordering)
            self._write(self._ordering.abandon(self._router.clock()))

    def close(self) -> None:
        """Let go of both streams; nothing is written any more, whatever is still settled."""
        if not self._enter(Event.CLOSE):
            return
        self._unwatch()
        for stream in {self._source, self._sink}:
            stream.close()
        self._unwritten, self._backlog = b"", ()
        self._budget.held -= self._held
        self._held, self._budget, self._lines_to_count = 0, Budget(), 0  # what is counted from now on is nobody's

    def failed(self, error: Exception) -> None:
        """Something went wrong in here: nothing more is written, as it might be the answer to another line."""
        ends = self._enter(Event.FAIL)
        self._unwritten, self._backlog = b"", ()  # first of all there is memory again
        try:
            if ends:
                self._unwatch()
                self._router.withdraw(self, self._ordering)
            self._ordering.clear()
            self._router.warn("client let go after an internal error, please report it", error=error)
        finally:
            self._ordering.clear()
            if ends:
                self._over()

    def settled(self, query: Query) -> None:
        """One of our queries has its verdict; it is written at the end of this batch."""
        if not self._flush_due:
            self._flush_later()

    def take(self, data: bytes) -> None:
        """Bytes of the client that were read before it was ours."""
        try:
            self._take(self._lines.feed(data))
        except Exception as error:  # not whoever has read them
            self.failed(error)

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
            self._hang_up()  # a last line without its end may be the first part of one: a password nobody chose
        else:
            self._enter(Event.END)
            self._take(self._lines.finish())
            self._listen()
            self._flush_later()  # perhaps nothing is left to do

    def _take(self, lines: Sequence[bytes | Refusal]) -> None:
        """Take `lines` into the window, as many as there is room for; what is left waits, and nothing is read."""
        full = self._unwritten or len(lines) >= self._window - len(self._ordering)
        if full:  # so `_backlog` is empty here, whoever called: it was taken out, or nothing would have been read
            left = self._window_left()
            self._backlog = lines[left:]
            lines = lines[:left]
        if self._negotiates and lines:
            lines = self._negotiate(lines)
        queries = self._router.ask(lines, self)  # may settle some already: they are written at the flush
        self._ordering.extend(queries)
        if REFUSED in queries and not self._flush_due:  # of those nobody is told
            self._flush_later()
        if full:
            self._listen()

    def _negotiate(self, lines: Sequence[bytes | Refusal]) -> Sequence[bytes | Refusal]:
        """Take HELLO out of the client's first lines, if it is the first."""
        self._negotiates = False
        if lines[0] != HELLO:
            return lines
        self._ordering.unavailable = UNKNOWN
        self._ordering.append(AGREED)
        self._flush_later()
        return lines[1:]

    def _window_left(self) -> int:
        """Lines that may still be taken into the window; an answer that nobody has read yet takes its line's place."""
        return max(0, self._window - len(self._ordering) - (len(self._unwritten) + 1) // len(NO))

    def _listen(self) -> None:
        """Read only while all that was read is in the window, and there is room in it."""
        listening = self._state is _OPEN and not self._backlog and self._window_left() > 0 and not self._heavy
        if listening == self._listening:
            return
        self._listening = listening
        if listening:
            self._reactor.watch(self._source.descriptor, self._readable)
        else:
            self._reactor.unwatch(self._source.descriptor)

    def _count(self) -> None:
        """See how many bytes are in flight; once the number of lines in flight has halved it is seen again."""
        lines = len(self._ordering)
        held = sum([len(query.body) for query in self._ordering]) + LINE * lines
        self._budget.held += held - self._held
        self._held, self._uncounted, self._lines_to_count = held, 0, (lines + 1) // 2
        self._heavy = held > max(0, self._budget.left)
        self._listen()

    # --- answers -----------------------------------------------------------------------------------------

    def _flush_later(self) -> None:
        """At the end of this batch of events, or at once if there is none in hand."""
        self._flush_due = True
        self._reactor.call_soon(self._flush)

    def _flush(self) -> None:
        """Write the answers whose turn has come, and see what that makes possible."""
        self._flush_due = False
        if answers := self._ordering.answers(self._router.clock()):
            self._write(answers)
        if len(self._ordering) < self._lines_to_count:
            self._count()
        if not self._listening:  # rarely
            self._go_on()

    def _go_on(self) -> None:
        """Take lines that had to wait for room; see whether all is done."""
        if self._backlog:
            lines, self._backlog = self._backlog, ()
            self._take(lines)
        self._listen()
        if self._state is not _OPEN and self.idle and not self._flush_due and self._enter(Event.DONE):
            self._unwatch()
            self._over()

    def _write(self, answers: bytes) -> None:
        """Write `answers`, behind those that wait for room; what there is no room for waits, too."""
        if self._state is not _OPEN and self._state not in _WRITES:
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
        """There may be room for answers that wait."""
        size = len(self._unwritten)
        while size > 0:
            try:
                written = self._sink.write(self._unwritten[:size])
                break
            except BlockingIOError:
                size //= 2  # a pipe takes so many or nothing: fill what room it has
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
        """Nobody reads the answers any more: let the programs finish what they have, and write nothing."""
        if not self._enter(Event.HANG_UP):
            return
        self._router.withdraw(self, self._ordering)
        self._unwritten = b""
        self._reactor.unwatch(self._sink.descriptor)
        self._backlog = ()
        self._listen()
        self._flush_later()

    def _unwatch(self) -> None:
        self._listening = False
        self._reactor.unwatch(self._source.descriptor)
        self._reactor.unwatch(self._sink.descriptor)
