"""Where every event of a query's life arrives, and every time: one epoll set, one table of what to do.

Every client and every program is registered once; whoever waits for `fileno()` to become readable, for `pause()` at
most, and then calls `run_once()` has driven them all.  So trio is entered once for a batch of events and no trio object
exists per query.  Measured against one `wait_readable` a descriptor, that more than doubles the rate, and a cancel
scope a query would halve it again.  Where there is no trio, `run_until` does it.

Events are handled in the order in which they happened; `stdinpipe` depends on it.  They come in batches: first all
handlers, then what they asked to be done soon, like writing the answers that have come together.  Handlers may be
called twice for the same event: each must take "would block" for an answer.  Timers have their turn after the events:
we may have stood still, and what has been said by then is no program's silence.

A handler or a timer's action that raises ends its owner and nobody else: the object whose method it is, if that has a
method `failed`.  What has no such owner is reported to whoever made the reactor; a timer is tried again a second later.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable
from operator import itemgetter
from time import monotonic

from bridge.loop.timer import FOREVER, Timer, Timers
from bridge.protocol.query import raised

SLICE = 0.004
"""Seconds `run_once` may take while events keep coming: long enough that trio costs nothing under load and that each of
128 clients gets several answers in one write, short enough that timers, signals and new clients wait no longer than a
slow disk would make them."""

_EVENTS = 64
"""Events taken at once: what a pool of 32 and its clients may have ready."""

_BATCH = 64
"""Events handled, if there are so many without a pause, before what is to be done afterwards is done: the answers of
a batch leave in one write, and the client wakes up once for them.  A query makes two, as it is taken and as it is
answered.  Measured with 64 lines in flight on 4 programs against an end after each poll, which finds 2 or 3: a quarter
more queries a second, for at most 0.2 ms of delay."""

_EACH, _MOST = 8, 1024
"""So many events for each that has something to do afterwards, up to so many: with 32 clients an answer of each would
be all there is after 64 events.  A fifth more queries a second with 32 clients, a third with 128, and less time for
each query, though the first answers of a batch wait longer, for a slice at most."""

_LOOK_AGAIN = 0.00004
"""Seconds to look for more events again and again before sleeping, while they keep coming that soon and there is
another CPU for whoever is to cause them.  Waking up takes longer than most trivial programs.  Measured with and
without: 8 lines in flight on 8 programs, a quarter more queries a second; 64 on 4 programs, 6 % more; one line at a
time, no difference.  It costs no CPU time: looking is cheaper than waking up."""

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT
BROKEN = 0
"""Nothing but what epoll always tells: an error, or that nobody is at the other end."""


ARRIVING = select.EPOLLIN | select.EPOLLET
"""Readable, told once for whatever arrives: for whoever reads all there is.  Otherwise epoll, having told of a
descriptor, keeps it a place in its queue to look at it once more, and `stdinpipe` would find that place too early."""

EMPTIED = select.EPOLLWRNORM | select.EPOLLET
"""For `watch_taken`: told once when a full pipe has room."""

_ROOM = select.EPOLLWRNORM
"""The same as EPOLLOUT, which nobody who waits for room asks for: so it tells by itself what it is about."""

_AGAIN = 1.0
"""Seconds until what a timer was to do is tried again where that failed for an error of ours."""

_NO_EVENT = -1, 0
_descriptor_of = itemgetter(0)

_BETWEEN = 8
"""While this bit is set in the number of events handled in a batch, no look is taken at the clock: it costs a hundredth
of what a query does."""


class Reactor:
    """The epoll set of one bridge.

    Closing it is its owner's part, after everything registered is gone.

    Attributes:
      taken: descriptors of `watch_taken` whose pipe was emptied; whoever fills one takes it out.
      report: told of an error for which nobody can be ended alone, as the owner of a handler can.  By default it ends
        whoever drives the reactor.
      clock: seconds; timers are on it.
    """

    def __init__(self, report: Callable[[Exception], None] = raised, clock: Callable[[], float] = monotonic) -> None:
        self.report = report
        self.clock = clock
        self._epoll = select.epoll()
        self.taken: set[int] = set()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._events: list[tuple[int, int]] = []  # that are being handled
        self._kept: list[tuple[int, int]] = []  # that are to be handled next
        self._always: dict[int, Callable[[], None]] = {}  # what epoll refuses because it is always ready
        self._soon: list[Callable[[], None]] = []
        self._timers = Timers(self._wake)
        self._running = False
        self._looks_again = False  # events came within `_LOOK_AGAIN` of each other lately
        self._has_other_cpu = len(os.sched_getaffinity(0)) > 1
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._nudge, self._nudged)

    def fileno(self) -> int:
        """Readable as long as `run_once` has something to do; for regular files see `busy`."""
        return self._epoll.fileno()

    def pause(self) -> float:
        """Seconds until there is something to do that `fileno()` does not tell: a timer's time, or a regular file."""
        return 0.0 if self._always else max(0.0, self._timers.first - self.clock())

    def call_at(self, when: float, action: Callable[[], None]) -> Timer:
        """Have `action` called at `when`; a timer that is to be set later begins with `FOREVER`."""
        timer = Timer(action, self._timers)
        timer.set(when)
        return timer

    def call_soon(self, handler: Callable[[], None]) -> None:
        """Have `handler` called once: at the end of the batch in hand, or of the next one, which comes at once.

        Asked for by such a handler, it is the same batch still if time is left of the slice.
        """
        self._soon.append(handler)
        self._wake()

    def watch(self, descriptor: int, handler: Callable[[], None], events: int = READABLE) -> None:
        """Call `handler` whenever `descriptor` is ready for `events`, or broken."""
        self._handlers[descriptor] = handler  # first, as nothing could be done about events that nobody handles
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

    def watch_taken(self, descriptor: int, reader_gone: Callable[[], None]) -> None:
        """Put `descriptor`, a pipe's, into `taken` whenever the pipe was full and has been read from."""
        self.watch(descriptor, reader_gone, EMPTIED)
        self.forget(descriptor)

    def forget(self, descriptor: int) -> None:
        """What has happened to `descriptor` until now is no taking: it has just been registered, or resized.

        All else that epoll has to tell is kept, in its order.
        """
        for _ in range(len(self._handlers) // _EVENTS + 2):  # so often that everything watched has had its turn
            events = self._epoll.poll(0, _EVENTS)
            self._kept += events
            if len(events) < _EVENTS or descriptor in map(_descriptor_of, events):
                break
        self._drop_events(descriptor)
        self.taken.discard(descriptor)
        if self._kept:
            self._wake()

    def _drop_events(self, descriptor: int) -> None:
        """Of what epoll has told and was not handled yet, drop what is about `descriptor` or who had its number."""
        for events in (self._events, self._kept):
            if descriptor in map(_descriptor_of, events):
                events[:] = [_NO_EVENT if event[0] == descriptor else event for event in events]

    def unwatch(self, descriptor: int) -> None:
        """No more of `descriptor`; to be called before it is closed.  Not watching it is no error."""
        if self._handlers.pop(descriptor, None) is not None and not self._epoll.closed:
            self._epoll.unregister(descriptor)
        self.taken.discard(descriptor)
        self._always.pop(descriptor, None)

    def run_once(self, linger: float = 0.0) -> None:
        """Handle what there is, batch after batch, for at most about `SLICE`; then ring the timers that are due.

        What is left then is due at once.

        Args:
          linger: seconds, whole milliseconds, to wait for more once there is nothing left.
        """
        self._running = True
        poll, handlers, taken, always = self._epoll.poll, self._handlers, self.taken, self._always
        now = monotonic()
        until = now + SLICE
        events, handled = self._kept or poll(0, _EVENTS), 0
        while events:
            if events is self._kept:
                self._kept = []
            self._events = events
            for descriptor, told in events:
                if told == _ROOM:
                    taken.add(descriptor)
                elif (handler := handlers.get(descriptor)) is not None:
                    try:
                        handler()
                    except Exception as error:
                        self._failed(handler, error)
            handled += len(events)  # one poll finds few events of a busy pool: a batch is several polls
            few = handled < _BATCH or handled < min(_EACH * len(self._soon), _MOST)
            if few and handled != 1:  # one: they come one by one
                if not handled & _BETWEEN:
                    now = monotonic()
                if now < until and (events := self._kept or poll(0, _EVENTS)):
                    continue
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
        """Wait for events and times, and handle them, until `done()`."""
        while not done():
            pause = self.pause()
            self._kept += self._epoll.poll(None if pause == FOREVER else pause, _EVENTS)
            self.run_once()

    def recover(self, error: Exception) -> None:
        """Be ready for the next `run_once` after one that was cut short by an error, which was no handler's."""
        self._running = False
        self._events = []  # nobody knows which of them were handled: who misses one has its time limit
        self._wake()
        self.report(error)

    def close(self) -> None:
        """Let go of the epoll set."""
        if not self._epoll.closed:
            self._epoll.close()
            os.close(self._nudge)

    def _more(self, now: float, linger: float) -> list[tuple[int, int]]:
        """Events that are there, or come within `linger` seconds."""
        poll = self._epoll.poll
        events = poll(0, _EVENTS)
        if events or not linger or self.pause() < linger:
            return events
        soon = now + _LOOK_AGAIN
        while self._looks_again and not events and monotonic() < soon:
            events = poll(0, _EVENTS)
        if not events:
            events = poll(linger, _EVENTS)
            self._looks_again = self._has_other_cpu and bool(events) and monotonic() < soon
        return events

    def _finish_batch(self, until: float) -> None:
        """Do what was asked for in this batch, and what comes of that, too, as long as there is time.

        A client may have sent thousands of lines that are refused at once, a window of them after the other.
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
        """Call the actions of the timers that are due.  Each is called once, however soon it is set again."""
        now = self.clock()
        for timer in self._timers.due(now):
            try:
                timer.action()
            except Exception as error:
                if self._failed(timer.action, error):
                    timer.set(now + _AGAIN)

    def _failed(self, handler: Callable[[], None], error: Exception) -> bool:
        """End the one whose handler has raised; returns whether there is none, and all goes on."""
        end: Callable[[Exception], None] | None = getattr(getattr(handler, "__self__", None), "failed", None)
        try:
            (end or self.report)(error)
        except Exception as another:  # there is no memory for this either, say
            self.report(another)
        return end is None

    def _wake(self) -> None:
        """Have `fileno()` readable: there is something to do, or to wait less long for."""
        if not self._running:
            os.eventfd_write(self._nudge, 1)

    def _nudged(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._nudge)
