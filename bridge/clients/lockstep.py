"""One lockstep client: one question at a time, by the rule of `lockstep`, behind the `gate` of its terminal.

Everything that was there is read before a line is believed to be alone, and again right before its answer is
written.  An answer to a question that is no longer the question is never written.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.loop.reactor import BROKEN, Reactor
from bridge.loop.streams import Borrowed, nobody_reads
from bridge.loop.timer import FOREVER
from bridge.protocol.lines import HELLO, NO, YES
from bridge.protocol.lockstep import LockstepRule
from bridge.protocol.query import Query, Refusal, Verdict, nothing
from bridge.terminal.gate import Gate, Leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.protocol.query import Answerer, Limits

_READ = 65536
_READS = 16
"""Reads in a row; a client that sends more than that without a pause is no client in lockstep."""

_FULL = 0.050
"""Seconds before a full pipe or terminal is tried again."""

_LATE = 0.25
"""Seconds after answer_timeout in which an answer may still leave: the client may be slow to begin to wait."""


class LockstepSession:
    """A lockstep client on two streams, which are one on a terminal.

    Args:
      over: called once, when nothing more will be answered.
      gate: decides about each answer on a program's terminal; `None` elsewhere.
      hand_over: takes over a client whose very first line is HELLO, and what it has sent.  Such a client keeps many
        lines in flight: answered in lockstep, an answer could be taken for that to another of its lines.
    """

    def __init__(
        self,
        source: Borrowed,
        sink: Borrowed,
        router: Answerer,
        reactor: Reactor,
        over: Callable[[], None],
        gate: Gate | None,
        hand_over: Callable[[bytes], None] | None = None,
    ) -> None:
        self._over = over
        self._source = source
        self._sink = sink
        self._router = router
        self._reactor = reactor
        self._timer = reactor.call_at(FOREVER, self._come_back)
        self._gate = gate
        self._hand_over = hand_over  # until the first bytes are there
        self._rule = LockstepRule(router.settings.max_line, terminal=gate is not None)
        self._serial = 0  # of the question we know of
        self._gave_up = 0
        self._query: Query | None = None
        self._asked: list[Query] = []  # with those that the client gave up on, as long as they are open
        self._answer = b""
        self._ended = False
        self._stopping = False
        reactor.watch(source.descriptor, self._hear)
        if gate is None and sink.descriptor != source.descriptor:  # a terminal tells of its hang-up where it is read
            reactor.watch(sink.descriptor, self._hang_up, BROKEN)

    @property
    def idle(self) -> bool:
        """Whether its question, if it had one, is answered."""
        return self._rule.question is None

    def reconfigure(self, settings: Limits) -> None:
        """New limits, for lines that are still to come."""
        self._rule.limit(settings.max_line)

    def stop(self) -> None:
        """Read nothing new; answer the question that is open."""
        self._stopping = True
        self._finish_if_done()

    def abort(self) -> None:
        """Answer now, where an answer cannot be taken for another's; what no program has yet is not asked."""
        self._stopping = True
        self._query = None  # nobody waits for its verdict any more
        self._router.withdraw(self, self._asked)
        if self._rule.question is not None and self._gate is None:
            self._write(NO)
        self._close_question()

    def close(self) -> None:
        """Let go of the streams; nothing is written any more, whatever is still settled."""
        self._ended = True
        self._rule.close()
        self._query, self._answer = None, b""
        for stream in {self._source, self._sink}:
            self._reactor.unwatch(stream.descriptor)
            stream.close()

    def failed(self, error: Exception) -> None:
        """Something went wrong in here: the client is let go without an answer."""
        self._ended = self._stopping = True
        self._query, self._answer = None, b""
        self._rule.close()
        over, self._over = self._over, nothing
        for stream in (self._source, self._sink):
            self._reactor.unwatch(stream.descriptor)
        try:
            self._router.withdraw(self, self._asked)
            self._router.warn("client let go after an internal error, please report it", error=error)
        finally:
            over()

    def settled(self, query: Query) -> None:
        """The verdict is there; if the client gave up on this query meanwhile, nobody wants to know."""
        if query is self._query:
            self._answered(query)

    # --- questions ---------------------------------------------------------------------------------------

    def _hear(self) -> None:
        """Take in all that the client has sent: what is there now is one burst."""
        burst, hung_up = b"", False
        for _ in range(0 if self._ended else _READS):
            try:
                data = self._source.read(_READ)
            except BlockingIOError:
                break
            except OSError:  # EIO: the other end of the terminal is closed
                data = b""
            burst += data
            if hung_up := not data:
                break
        if burst:
            hand_over, self._hand_over = self._hand_over, None
            if hand_over is not None and burst.startswith(HELLO + b"\n"):
                hand_over(burst)
                return
        now = self._router.clock()
        if burst:
            self._rule.received(burst, now)
        if hung_up:
            self._end(now)
        if burst or hung_up:
            self._attend()

    def _end(self, now: float) -> None:
        self._ended = True
        self._reactor.unwatch(self._source.descriptor)
        if self._gate is None and not nobody_reads(self._sink.descriptor):
            self._rule.ended(now)
        else:  # hung up: nobody is there to be answered, and a last line may be part of one
            self._query, self._answer = None, b""
            self._router.withdraw(self, self._asked)
            self._rule.close()

    def _hang_up(self) -> None:
        """Nobody reads answers any more: what no program has yet is not asked."""
        self._ended = True
        self._reactor.unwatch(self._source.descriptor)
        self._reactor.unwatch(self._sink.descriptor)
        self._query, self._answer = None, b""
        self._router.withdraw(self, self._asked)
        self._close_question()

    def _attend(self) -> None:
        """See what the rule has made of what was heard."""
        rule = self._rule
        if rule.gave_up != self._gave_up:
            self._gave_up = rule.gave_up
            reason = "its timeout is below answer_timeout, or it was interrupted"
            self._router.warn("client gave up on a question", reason=reason)
        if rule.question is None:
            self._query, self._answer = None, b""
        elif rule.serial != self._serial:
            self._serial = rule.serial
            self._query, self._answer = None, b""
            self._put(rule.question)
        self._finish_if_done()

    def _put(self, question: bytes | Refusal) -> None:
        if question is Refusal.INJECTION:
            self._router.refuse(question)
            self._answer = NO
            self._timer.set(self._rule.quiet_at)
        elif not self._stopping:
            (query,) = self._router.ask([question], self)
            self._query = query
            self._asked = [*(other for other in self._asked if not other.settled), query]
            if query.settled:
                self._answered(query)

    # --- answers -----------------------------------------------------------------------------------------

    def _answered(self, query: Query) -> None:
        self._answer = YES if query.verdict is Verdict.GRANTED else NO
        self._leave()

    def _come_back(self) -> None:
        if self._answer:
            self._leave()

    def _leave(self) -> None:
        """Write the answer, if it may leave now; else come back, or drop it."""
        rule, now = self._rule, self._router.clock()
        if rule.question is Refusal.INJECTION and now < rule.quiet_at:
            self._timer.set(rule.quiet_at)
            return
        late = now > rule.since + self._router.settings.answer_timeout + _LATE
        if self._gate is not None:
            if late:
                self._drop("it is too late for it")
                return
            leave = self._gate.leave()
            if leave is Leave.WAIT:
                self._timer.set(now + self._gate.pause)
                return
            if leave is Leave.DROP:
                self._drop("the client is not waiting for it, or cannot be seen and it is the first")
                return
        elif late:
            self._answer = NO
        serial = rule.serial
        self._hear()
        newer = rule.serial != serial or rule.question is None or now < rule.quiet_at
        if self._answer and not newer:
            self._write(self._answer)
        elif self._answer and now < rule.quiet_at:
            self._timer.set(rule.quiet_at)

    def _write(self, answer: bytes) -> None:
        try:
            self._sink.write(answer)
        except BlockingIOError:
            self._timer.set(self._router.clock() + _FULL)
            return
        except OSError:
            self._end(self._router.clock())
        self._close_question()

    def _drop(self, reason: str) -> None:
        self._router.warn("answer not written", reason=reason)
        self._close_question()

    def _close_question(self) -> None:
        self._rule.close()
        self._query, self._answer = None, b""
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        nothing_owed = not (self._query or self._answer)
        if nothing_owed and (self._stopping or (self._ended and self._rule.question is None)):
            over, self._over = self._over, nothing
            over()
