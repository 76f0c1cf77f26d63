"""One lockstep client: one question at a time, by the rule of `protocol.lockstep`, behind the `gate` of its terminal.

All available input is read before a line counts as alone, and again right before its answer is written.  An answer is
written only if its question is still the open one: any event the rule returns makes a pending answer void.

Its states are those of `lifecycle`.  When stopped it reads on, as a newer line still makes an answer void.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.clients.lifecycle import Event, Lifecycle, State
from bridge.loop.reactor import BROKEN, Reactor
from bridge.loop.streams import Borrowed, nobody_reads
from bridge.loop.timer import FOREVER
from bridge.protocol.lines import NO, YES
from bridge.protocol.lockstep import Heard, LockstepRule
from bridge.protocol.query import Query, Refusal, Verdict
from bridge.terminal.gate import Decision, Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.protocol.query import Answerer, Limits

_READ = 65536
_READS = 16
"""Reads in a row; a client that sends more than that without a pause is not in lockstep."""

_RETRY_WHEN_FULL = 0.050
"""Seconds before writing to a full pipe or terminal is tried again."""

GRACE_AFTER_TIMEOUT = 0.25
"""Seconds after answer_timeout in which an answer may still be written: the client may have started waiting late."""


class LockstepSession(Lifecycle):
    """A lockstep client on two streams, or on a terminal, which is both.

    Args:
      over: called once, when no more answers will be written.
      gate: decides about each answer on a program's terminal; `None` elsewhere.
    """

    def __init__(
        self,
        source: Borrowed,
        sink: Borrowed,
        router: Answerer,
        reactor: Reactor,
        over: Callable[[], None],
        gate: Gate | None,
    ) -> None:
        self._over = over
        self._source = source
        self._sink = sink
        self._router = router
        self._reactor = reactor
        self._timer = reactor.call_at(FOREVER, self._come_back)
        self._gate = gate
        self._begun = b""  # the beginning of its first burst, if that was read elsewhere
        self._rule = LockstepRule(router.settings.max_line, terminal=gate is not None)
        self._query: Query | None = None  # the open question's, until its verdict is known
        self._asked: list[Query] = []  # that, and those the client gave up on, while they are open
        self._answer = b""  # to the open question, until it is written
        reactor.watch(source.descriptor, self._readable)
        if gate is None and sink.descriptor != source.descriptor:  # a terminal's hang-up shows when it is read
            reactor.watch(sink.descriptor, self._hang_up, BROKEN)

    @property
    def idle(self) -> bool:
        """Whether no question is open."""
        return self._rule.question is None

    def reconfigure(self, settings: Limits) -> None:
        """Set new limits, for further lines."""
        self._rule.limit(settings.max_line)

    def stop(self) -> None:
        """Ask nothing new; answer the open question."""
        if self._enter(Event.STOP):
            self._finish_if_done()

    def abort(self) -> None:
        """Answer now, except on a terminal; withdraw a query that no program has yet."""
        if not self._enter(Event.STOP):
            return
        self._query = None  # its verdict is no longer needed
        self._router.withdraw(self, self._asked)
        if self._rule.question is not None and self._gate is None:
            self._write(NO)
        self._close_question()

    def close(self) -> None:
        """Close the streams; queries that are settled later are ignored."""
        if not self._enter(Event.CLOSE):
            return
        self._void()
        self._unwatch()
        for stream in {self._source, self._sink}:
            stream.close()

    def failed(self, error: Exception) -> None:
        """End the session after an error of ours, without an answer."""
        ends = self._enter(Event.FAIL)
        self._void()
        try:
            if ends:
                self._unwatch()
                self._router.withdraw(self, self._asked)
            self._router.warn("client dropped after an internal error, please report it", error=error)
        finally:
            if ends:
                self._over()

    def settled(self, query: Query) -> None:
        """Answer the question; a query that the client has given up on is ignored."""
        if query is self._query:
            self._answered(query)

    def take(self, data: bytes) -> None:
        """Take bytes of the client that were read before this session existed."""
        self._begun = data
        self._hear()

    # --- questions ---------------------------------------------------------------------------------------

    def _readable(self) -> None:
        self._hear()

    def _hear(self) -> bool:
        """Read all that the client has sent, which is one burst.

        Returns:
          whether the question has changed, so that an answer that was about to be written is void.
        """
        burst, ended = self._read()
        now = self._router.clock()
        heard = self._rule.received(burst, now) if burst else ()
        if Heard.GAVE_UP in heard:
            reason = "its timeout is below answer_timeout, or it was interrupted"
            self._router.warn("client gave up on a question", reason=reason)
        if ended and (self._gate is not None or nobody_reads(self._sink.descriptor)):
            self._hang_up()  # nobody reads an answer, and the last line may be incomplete
            return True
        if ended:
            self._enter(Event.END)
            self._reactor.unwatch(self._source.descriptor)
            heard += self._rule.ended(now)
        self._attend(heard)
        return bool(heard)

    def _read(self) -> tuple[bytes, bool]:
        """All available input, and whether that is the end of it."""
        burst, self._begun = self._begun, b""
        for _ in range(_READS if self._state in (State.OPEN, State.STOPPED) else 0):
            try:
                data = self._source.read(_READ)
            except BlockingIOError:
                break
            except OSError:  # EIO: the other end of the terminal is closed
                data = b""
            if not data:
                return burst, True
            burst += data
        return burst, False

    def _attend(self, heard: Sequence[Heard]) -> None:
        """Ask the present question, if anything was heard."""
        if heard:
            self._query, self._answer = None, b""  # those of the previous question
            if self._rule.question is not None:
                self._put(self._rule.question)
        self._finish_if_done()

    def _put(self, question: bytes | Refusal) -> None:
        if question is Refusal.INJECTION:
            self._router.refuse(question)
            self._answer = NO
            self._timer.set(self._rule.quiet_at)
            return
        if self._state is State.STOPPED:
            self._rule.close()
            return
        (query,) = self._router.ask([question], self)
        self._query = query
        self._asked = [*(other for other in self._asked if not other.settled), query]
        if query.settled:
            self._answered(query)

    # --- answers -----------------------------------------------------------------------------------------

    def _answered(self, query: Query) -> None:
        self._answer = YES if query.verdict is Verdict.GRANTED else NO
        self._answer_now()

    def _come_back(self) -> None:
        if self._answer:
            self._answer_now()

    def _answer_now(self) -> None:
        """Write the answer if that is allowed now, otherwise try again later or drop it."""
        if self._put_off() or not self._let_through():
            return
        if self._hear():  # the last check: this answer is void, and a newer one may already have been written
            return
        if not self._put_off():  # unless the violation has just continued
            self._write(self._answer)

    def _put_off(self) -> bool:
        """Postpone the answer to a violation that has not been quiet for long enough; returns whether it did."""
        if self._rule.question is not Refusal.INJECTION or self._router.clock() >= self._rule.quiet_at:
            return False
        self._timer.set(self._rule.quiet_at)
        return True

    def _let_through(self) -> bool:
        """Whether time and gate allow the answer to be written; if not, drop it, or ask the gate again later."""
        now = self._router.clock()
        late = now > self._rule.since + self._router.settings.answer_timeout + GRACE_AFTER_TIMEOUT
        if self._gate is None:
            if late:
                self._answer = NO
            return True
        if late:
            self._drop("it is too late")
            return False
        decision = self._gate.decide()
        if decision is Decision.WAIT:
            self._timer.set(now + self._gate.pause)
        elif decision is Decision.DROP:
            self._drop("the client is not waiting for it, or cannot be seen and this is the first answer")
        return decision is Decision.WRITE

    def _write(self, answer: bytes) -> None:
        try:
            self._sink.write(answer)
        except BlockingIOError:
            self._timer.set(self._router.clock() + _RETRY_WHEN_FULL)
        except OSError:
            self._hang_up()
        else:
            self._close_question()

    def _drop(self, reason: str) -> None:
        self._router.warn("answer not written", reason=reason)
        self._close_question()

    # --- the end -----------------------------------------------------------------------------------------

    def _hang_up(self) -> None:
        """Nobody reads answers any more: withdraw queries that no program has yet."""
        if self._enter(Event.HANG_UP):
            self._void()  # first: withdrawn queries may be settled at once
            self._router.withdraw(self, self._asked)
            self._finish_if_done()

    def _void(self) -> None:
        """Drop the question and its answer."""
        self._rule.close()
        self._query, self._answer = None, b""

    def _close_question(self) -> None:
        self._void()
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._rule.question is None and self._enter(Event.DONE):
            self._unwatch()
            self._over()

    def _unwatch(self) -> None:
        self._reactor.unwatch(self._source.descriptor)
        self._reactor.unwatch(self._sink.descriptor)
