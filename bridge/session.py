"""One pipelined client: many lines in, their answers out in the same order.

- A client of the daemon may ask for a third answer with its very first line, HELLO: UNKNOWN in the place of NO
  where nobody could be asked.
- At most `window` lines are in flight; beyond that nothing is read, so the client feels it and memory stays
  bounded.  A line's time begins when it is taken into the window.
- An answer counts as in flight until it is written: a client that does not read gets nothing more asked.
- The answers of a batch of events leave in one write.
- End of input: what was read is answered, then the session is over.  Output that nobody reads any more ends
  it the same way, without the answers.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.descriptors import Borrowed
from bridge.lines import HELLO, NO, UNKNOWN, LineReader
from bridge.messages import AGREED, UNASKED, Query, nothing
from bridge.ordering import Ordering
from bridge.switchboard import BROKEN, WRITABLE, Switchboard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.messages import Answerer, Limits, Refusal

_READ = 65536
"""Bytes at a time: a whole pipe's worth."""


class Session:
    """A pipelined client on two streams.

    Args:
      negotiates: it may ask for a third answer.

    Attributes:
      over: called once, when everything has been answered, or cannot be.
    """

    def __init__(
        self, source: Borrowed, sink: Borrowed, exchange: Answerer, board: Switchboard, negotiates: bool = False
    ) -> None:
        self.over: Callable[[], None] = nothing
        self._source = source
        self._sink = sink
        self._exchange = exchange
        self._board = board
        self._lines = LineReader(exchange.settings.max_line)
        self._window = exchange.settings.window
        self._ordering = Ordering()
        self._negotiates = negotiates  # until its first line is there
        self._unwritten = b""
        self._flush_due = False
        self._listening = False
        self._ended = False
        self._mute = False
        board.watch(sink.descriptor, self._hang_up, BROKEN)
        self._listen()

    def reconfigure(self, settings: Limits) -> None:
        """New limits, for lines that are still to come."""
        self._lines.max_line = settings.max_line
        self._window = settings.window

    def stop(self) -> None:
        """Read no more; answer what is in flight; what was read but is not is unavailable."""
        self._ended = True
        for _ in self._lines.take(len(self._lines)):
            self._ordering.add(UNASKED)
        self._listen()
        self._later()

    def abort(self) -> None:
        """Answer now, as far as nobody has to be waited for: what is known; the rest is unavailable."""
        self.stop()
        self._write(self._ordering.abandon())

    def close(self) -> None:
        """Let go of both streams; nothing is written any more, whatever is still settled."""
        self._mute = self._ended = True
        for stream in {self._source, self._sink}:
            self._board.unwatch(stream.descriptor)
            stream.close()

    def settled(self, query: Query) -> None:
        """One of our queries has its verdict; it is written at the end of this batch."""
        if not self._flush_due:
            self._later()

    def _readable(self) -> None:
        try:
            data = self._source.read(_READ)
        except BlockingIOError:
            return
        except OSError:  # hung up, reset
            data = b""
        if data:
            self._lines.feed(data)
        else:
            self._ended = True
            self._lines.finish()
            self._later()  # perhaps nothing is left to do
        self._take()

    def _take(self) -> None:
        """Take lines into the window, as many as there is room for, and read on if there is room for more."""
        ask, add = self._exchange.ask, self._ordering.add
        lines = self._lines.take(self._room())
        if self._negotiates and lines:
            self._negotiate(lines)
        for line in lines:
            query = ask(line, self)
            add(query)
            if query.settled and not self._flush_due:
                self._later()
        self._listen()

    def _negotiate(self, lines: list[bytes | Refusal]) -> None:
        """Take HELLO out of the client's first lines, if it is the first."""
        self._negotiates = False
        if lines[0] == HELLO:
            del lines[0]
            self._ordering.unavailable = UNKNOWN
            self._ordering.add(AGREED)
            self._later()

    def _room(self) -> int:
        return max(0, self._window - len(self._ordering) - len(self._unwritten) // len(NO))

    def _listen(self) -> None:
        """Read only while all that was read is in the window and leaves room."""
        listening = not self._ended and not self._lines and self._room() > 0
        if listening == self._listening:
            return
        self._listening = listening
        if listening:
            self._board.watch(self._source.descriptor, self._readable)
        else:
            self._board.unwatch(self._source.descriptor)

    def _later(self) -> None:
        self._flush_due = True
        self._board.afterwards(self._flush)

    def _flush(self) -> None:
        """Write what can be written; take what there is room for then; see whether all is done."""
        self._flush_due = False
        self._write(self._ordering.answers())
        if self._lines:
            self._take()
        elif not self._listening:
            self._listen()
        if self._ended and not (self._lines or self._ordering or self._unwritten or self._flush_due):
            over, self.over = self.over, nothing
            over()

    def _write(self, answers: bytes) -> None:
        if self._mute or not (answers or self._unwritten):
            return
        waited = bool(self._unwritten)
        answers = self._unwritten + answers
        written, size = 0, len(answers)
        while size > 0:
            try:
                written = self._sink.write(answers[:size])
                break
            except BlockingIOError:
                size //= 2  # a pipe takes all or nothing: fill what room it has
            except OSError:
                self._hang_up()
                return
        self._unwritten = answers[written:]
        if self._unwritten or waited:
            self._await_room(waited)

    def _await_room(self, waited: bool) -> None:
        """Be told when the sink takes more, or, while it takes everything, only when it is broken."""
        if waited != bool(self._unwritten):
            self._board.unwatch(self._sink.descriptor)
            if self._unwritten:
                self._board.watch(self._sink.descriptor, self._flush, WRITABLE)
            else:
                self._board.watch(self._sink.descriptor, self._hang_up, BROKEN)

    def _hang_up(self) -> None:
        """Nobody reads the answers any more: let the programs finish what they have, and write nothing."""
        self._mute = self._ended = True
        self._exchange.withdraw(self)
        self._unwritten = b""
        self._board.unwatch(self._sink.descriptor)
        self._lines.take(len(self._lines))
        self._listen()
        self._later()
