"""The event loop of queries: one epoll set with a handler for each descriptor, and the timers.

Every client and every program is registered once.  To drive them all, wait until `fileno()` is readable, for at most
`pause()`, and call `run_once()`.  So trio is entered once per batch of events, and no trio object exists per query.
Measured against one `wait_readable` per descriptor, that more than doubles the rate; a cancel scope per query would
halve it again.  Without trio, `run_until` does the waiting.

Events are handled in the order in which they happened; `stdinpipe` depends on it.  They come in batches: first all
handlers, then what they passed to `call_soon`, such as writing the collected answers.  A handler may be called twice
for the same event, so each must tolerate "would block".  Timers come after the events: we may have been stopped
ourselves, and a reply that has arrived by then must not count as a program's silence.

If a handler or a timer's action raises, only its owner ends: the object whose method it is, if that has a method
`failed`.  Without such an owner, the error goes to `report`; a timer is tried again a second later.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from operator import itemgetter
from time import monotonic

from bridge.loop.timer import FOREVER, Timer, Timers
from bridge.protocol.query import nothing, raised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class FullPipe(Protocol):
        """A pipe that is filled again and again, and read from by somebody else.

        Attributes:
          taken: it was read from since `forget`, or since its owner has filled it and made this false.
        """

        taken: bool

        def reader_gone(self) -> None:
            """Nobody will read from it any more."""
            ...


SLICE = 0.004
"""Seconds `run_once` may take while events keep coming: long enough that trio costs nothing under load and each of 128
clients gets several answers in one write; short enough that timers, signals and new clients wait no longer than for a
slow disk."""

_EVENTS = 64
"""Events per epoll call: as many as a pool of 32 and its clients may have ready."""

_BATCH = 64
"""Events in a batch, if that many come without a pause; then the `call_soon` handlers run, so that a batch's answers
leave in one write and wake the client once.  A query makes two events, when it is read and when it is answered.
Measured with 64 lines in flight on 4 programs against ending the batch after each poll, which finds 2 or 3: a quarter
more queries a second, for at most 0.2 ms of delay."""

_EACH, _MOST = 8, 1024
"""A batch grows to `_EACH` events for every `call_soon` handler, at most `_MOST`: with 32 clients, 64 events would be
no more than one answer each.  A fifth more queries a second with 32 clients, a third with 128, and less time per query,
although the first answers of a batch wait longer, for a slice at most."""

_LOOK_AGAIN = 0.00004
"""Seconds to busy-poll for more events before sleeping, as long as they keep coming that soon and there is another CPU
for the processes that cause them.  Waking up takes longer than most trivial programs.  Measured with and without: 8
lines in flight on 8 programs, a quarter more queries a second; 64 on 4 programs, 6 % more; one line at a time, no
difference.  It costs no CPU time: polling is cheaper than waking up."""

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT
BROKEN = 0
"""Only what epoll always reports: an error, or that the other end is closed."""


ARRIVING = select.EPOLLIN | select.EPOLLET
"""Readable, reported once per arrival, for a reader that reads everything there is.  Without EPOLLET, epoll puts a
descriptor it has reported back at the end of its ready list, and `stdinpipe` would find it there too early."""

EMPTIED = select.EPOLLWRNORM | select.EPOLLET
"""For `watch_taken`: reported once when a full pipe has room again."""

_ROOM = select.EPOLLWRNORM
"""Equivalent to EPOLLOUT, which other writers use, so that it identifies an event of `watch_taken` by itself."""

_RETRY_ACTION = 1.0
"""Seconds until a timer's action that raised is tried again."""

_NO_EVENT = -1, 0
_descriptor_of = itemgetter(0)

_BETWEEN = 8
"""The clock is not read while this bit is set in the number of events handled in a batch: reading it costs a hundredth
of what a query does."""


class _Handlers(dict[int, Callable[[], None]]):
    """Handlers by descriptor; an event of any other is nobody's, as it was reported before `unwatch`."""

    def __missing__(self, descriptor: int) -> Callable[[], None]:
        return nothing


class _Pipes(dict[int, "FullPipe"]):
    """Pipes by descriptor, likewise."""

    def __missing__(self, descriptor: int) -> FullPipe:
        return _NOBODYS


class _Unwatched:
    taken = False

    def reader_gone(self) -> None:
        """Nothing to do."""


_NOBODYS = _Unwatched()


class Reactor:
    """The event loop of one bridge.

    Its owner closes it, after everything registered is gone.

    Attributes:
      report: called with an error that has no owner who could be ended alone.  By default it raises, which ends
        whoever drives the reactor.
      clock: seconds, for timers.
    """

    def __init__(self, report: Callable[[Exception], None] = raised, clock: Callable[[], float] = monotonic) -> None:
        self.report = report
        self.clock = clock
        self._epoll = select.epoll()
        self._handlers = _Handlers()
        self._pipes = _Pipes()  # those of `watch_taken`
        self._events: list[tuple[int, int]] = []  # being handled
        self._kept: list[tuple[int, int]] = []  # to be handled next
        self._always: dict[int, Callable[[], None]] = {}  # always ready, which epoll refuses: regular files
        self._soon: list[Callable[[], None]] = []
        self._timers = Timers(self._wake)
        self._running = False
        self._looks_again = False  # the last events came within `_LOOK_AGAIN` of each other
        self._has_other_cpu = len(os.sched_getaffinity(0)) > 1
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._nudge, self._nudged)

    def fileno(self) -> int:
        """Readable while `run_once` has something to do; timers and regular files show only in `pause`."""
        return self._epoll.fileno()

    def pause(self) -> float:
        """Seconds until there is something to do that `fileno()` does not show: a timer, or a regular file."""
        return 0.0 if self._always else max(0.0, self._timers.first - self.clock())

    def call_at(self, when: float, action: Callable[[], None]) -> Timer:
        """Call `action` at `when`; `FOREVER` makes a timer that is set later."""
        timer = Timer(action, self._timers)
        timer.set(when)
        return timer

    def call_soon(self, handler: Callable[[], None]) -> None:
        """Call `handler` once, at the end of the current batch, or of the next one, which then comes at once.

        If such a handler calls this, it is still the same batch as long as the slice lasts.
        """
        self._soon.append(handler)
        self._wake()

    def watch(self, descriptor: int, handler: Callable[[], None], events: int = READABLE) -> None:
        """Call `handler` whenever `descriptor` is ready for `events`, or broken."""
        self._handlers[descriptor] = handler  # first: an event without a handler could not be dealt with
        try:
            self._epoll.register(descriptor, events)
        except PermissionError:  # a regular file
            del self._handlers[descriptor]
            if events:
                self._always[descriptor] = handler
            return
        except BaseException:
            del self._handlers[descriptor]
            raise
        self._drop_events(descriptor)

    def watch_taken(self, descriptor: int, pipe: FullPipe) -> None:
        """Have `pipe` know whenever it was full and has been read from, or its reader is gone."""
        self._pipes[descriptor] = pipe
        self.watch(descriptor, pipe.reader_gone, EMPTIED)
        self.forget(descriptor)

    def forget(self, descriptor: int) -> None:
        """Discard the events of a pipe so far: it has just been registered, or resized.

        All other pending events are kept, in their order.
        """
        for _ in range(len(self._handlers) // _EVENTS + 2):  # often enough to see every descriptor once
            events = self._epoll.poll(0, _EVENTS)
            self._kept += events
            if len(events) < _EVENTS or descriptor in map(_descriptor_of, events):
                break
        self._drop_events(descriptor)
        self._pipes[descriptor].taken = False
        if self._kept:
            self._wake()

    def _drop_events(self, descriptor: int) -> None:
        """Drop reported but unhandled events of `descriptor`, or of one that had its number before."""
        for events in (self._events, self._kept):
            if descriptor in map(_descriptor_of, events):
                events[:] = [_NO_EVENT if event[0] == descriptor else event for event in events]

    def unwatch(self, descriptor: int) -> None:
        """Stop watching `descriptor`, before it is closed.  No error if it is not watched."""
        if self._handlers.pop(descriptor, None) is not None and not self._epoll.closed:
            self._epoll.unregister(descriptor)
        self._pipes.pop(descriptor, None)
        self._always.pop(descriptor, None)

    def run_once(self, linger: float = 0.0) -> None:
        """Handle events, batch after batch, for about `SLICE` at most; then call the timers that are due.

        If anything is left, `fileno()` stays readable.

        Args:
          linger: seconds, in whole milliseconds, to wait for more events before returning.
        """
        self._running = True
        poll, handlers, pipes, always = self._epoll.poll, self._handlers, self._pipes, self._always
        now = monotonic()
        until = now + SLICE
        events, handled = self._kept or poll(0, _EVENTS), 0
        while events:
            if events is self._kept:
                self._kept = []
            self._events = events
            for descriptor, told in events:
                if told == _ROOM:
                    pipes[descriptor].taken = True
                    continue
                handler = handlers[descriptor]
                try:
                    handler()
                except Exception as error:
                    self._failed(handler, error)
            handled += len(events)  # a poll finds only a few events of a busy pool: a batch is several polls
            # If there is one, they come singly.
            if handled != 1 and (handled < _BATCH or handled < min(_EACH * len(self._soon), _MOST)):
                if not handled & _BETWEEN:
                    now = monotonic()
                if now < until and (events := self._kept or poll(0, _EVENTS)):
                    continue
            if self._soon:
                self._finish_batch(until)
            now = monotonic()
            if now >= until:
                break
            events, handled = self._kept or self._more(now, linger), 0
        while always and monotonic() < until:
            for handler in [*always.values()]:
                try:
                    handler()
                except Exception as error:
                    self._failed(handler, error)
            self._finish_batch(until)
        self._events = []
        self._ring()
        self._finish_batch(until)
        self._running = False
        if self._soon or self._kept:
            self._wake()

    def run_until(self, done: Callable[[], bool]) -> None:
        """Wait for events and timers, and handle them, until `done()`."""
        while not done():
            pause = self.pause()
            self._kept += self._epoll.poll(None if pause == FOREVER else pause, _EVENTS)
            self.run_once()

    def recover(self, error: Exception) -> None:
        """Report an error that cut `run_once` short, which was not a handler's, and be ready for the next one."""
        self._running = False
        self._events = []  # nobody knows which of them were handled; whoever misses one has a deadline
        self._wake()
        self.report(error)

    def close(self) -> None:
        """Close the epoll set."""
        if not self._epoll.closed:
            self._epoll.close()
            os.close(self._nudge)

    def _more(self, now: float, linger: float) -> list[tuple[int, int]]:
        """Events that are ready, or come within `linger` seconds."""
        poll = self._epoll.poll
        events = poll(0, _EVENTS)
        if events or not linger or self._always:
            return events
        soon = now + _LOOK_AGAIN
        while self._looks_again and not events and monotonic() < soon:
            events = poll(0, _EVENTS)
        if not events:
            events = poll(linger, _EVENTS)
            self._looks_again = self._has_other_cpu and bool(events) and monotonic() < soon
        return events

    def _finish_batch(self, until: float) -> None:
        """Run the `call_soon` handlers, and those they add in turn while there is time.

        A client may have sent thousands of lines that are refused at once, window after window.
        """
        while self._soon:
            due, self._soon = self._soon, []
            for handler in due:
                try:
                    handler()
                except Exception as error:
                    self._failed(handler, error)
            if self._soon and monotonic() >= until:
                break

    def _ring(self) -> None:
        """Call the actions of the timers that are due, each once, however soon it is set again."""
        now = self.clock()
        for timer in self._timers.due(now):
            try:
                timer.action()
            except Exception as error:
                if self._failed(timer.action, error):
                    timer.set(now + _RETRY_ACTION)

    def _failed(self, handler: Callable[[], None], error: Exception) -> bool:
        """End the owner of a handler that raised, or report the error.

        Returns:
          whether there is no owner to end, so that the handler goes on.
        """
        end: Callable[[Exception], None] | None = getattr(getattr(handler, "__self__", None), "failed", None)
        try:
            (end or self.report)(error)
        except Exception as another:  # no memory for this either, say
            self.report(another)
        return end is None

    def _wake(self) -> None:
        """Make `fileno()` readable: there is something to do, or a shorter time to wait."""
        if not self._running:
            os.eventfd_write(self._nudge, 1)

    def _nudged(self) -> None:
        try:  # noqa: SIM105  (contextlib takes a fortieth of a relay's start)
            os.eventfd_read(self._nudge)
        except BlockingIOError:
            pass
