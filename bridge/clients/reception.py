"""Reads the first line of a client of the daemon, and has the client served as that line requests.

- HELLO requests the third answer, TAGGED_HELLO the tagged protocol; each is answered `1`, whatever `max_line` is.  Such
  a client has many lines in flight: if it were served in lockstep, it could take an answer for that to another line.
- A client whose first line is anything else is served as the settings say, from its first bytes on.
- Only a line that may still become a request is waited for.  No question begins like one.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.clients.budget import Budget
from bridge.clients.lifecycle import Event, Lifecycle
from bridge.clients.lockstep import LockstepSession
from bridge.clients.pipelined import PipelinedSession
from bridge.clients.tagged import TaggedSession
from bridge.config.settings import Settings
from bridge.loop.reactor import Reactor
from bridge.loop.streams import Borrowed
from bridge.pool.router import Router
from bridge.protocol.lines import HELLO, REQUEST, TAGGED_HELLO

_READ = 4096
_LONGEST = max(len(HELLO), len(TAGGED_HELLO)) + 1  # one more for a CR

Session = PipelinedSession | LockstepSession | TaggedSession


class Reception(Lifecycle):
    """A client on two streams that has not said yet what it is.  It asks nothing, so it may end at any time.

    Args:
      over: called once, when it ends, here or in its session.
      served: called with the client's session, to which the streams belong from then on.
      budget: shared with other clients.
    """

    idle = True

    def __init__(
        self,
        source: Borrowed,
        sink: Borrowed,
        router: Router,
        reactor: Reactor,
        over: Callable[[], None],
        served: Callable[[Session], None],
        budget: Budget,
    ) -> None:
        self._streams = source, sink
        self._router = router
        self._reactor = reactor
        self._over = over
        self._served = served
        self._budget = budget
        self._begun = b""
        reactor.watch(source.descriptor, self._readable)

    def reconfigure(self, settings: Settings) -> None:
        """Nothing to do: the client's session will begin with the settings in force."""

    def stop(self) -> None:
        """End it."""
        if self._enter(Event.STOP) and self._enter(Event.DONE):
            self._unwatch()
            self._over()

    def abort(self) -> None:
        """End it."""
        self.stop()

    def close(self) -> None:
        """Close both streams, unless they belong to a session."""
        if self._enter(Event.CLOSE):
            self._unwatch()
            for stream in {*self._streams}:
                stream.close()

    def failed(self, error: Exception) -> None:
        """End it after an error of ours."""
        ends = self._enter(Event.FAIL)
        try:
            if ends:
                self._unwatch()
            self._router.warn("client dropped after an internal error, please report it", error=error)
        finally:
            if ends:
                self._over()

    def _readable(self) -> None:
        source, _ = self._streams
        try:
            data = source.read(_READ)
        except BlockingIOError:
            return
        except OSError:  # reset
            data = b""
        self._begun += data
        first, ended, rest = self._begun.partition(b"\n")
        if not data or ended or not _may_become_request(first):
            self._serve(first.removesuffix(b"\r"), rest)

    def _serve(self, first: bytes, rest: bytes) -> None:
        """Serve the client, which began with these bytes; its session finds the end of input by itself."""
        self._unwatch()
        session, rest = self._session(first, rest)
        self._enter(Event.CLOSE)
        self._served(session)
        try:
            if rest:
                session.take(rest)
        except Exception as error:  # no longer ours to handle
            session.failed(error)

    def _session(self, first: bytes, rest: bytes) -> tuple[Session, bytes]:
        """The session for a client with this first line, and what it has to take."""
        both = self._streams
        router, reactor, over, budget = self._router, self._reactor, self._over, self._budget
        if first == TAGGED_HELLO:
            return TaggedSession(*both, router, reactor, over, budget), rest
        if first == HELLO:
            return PipelinedSession(*both, router, reactor, over, True, budget), rest
        if router.settings.client == "lockstep":
            return LockstepSession(*both, router, reactor, over, None), self._begun
        return PipelinedSession(*both, router, reactor, over, False, budget), self._begun

    def _unwatch(self) -> None:
        for stream in self._streams:
            self._reactor.unwatch(stream.descriptor)


def _may_become_request(begun: bytes) -> bool:
    """Whether a line that begins like this, and has not ended, may be a request; some that cannot, may too."""
    return len(begun) <= _LONGEST and REQUEST.startswith(begun[: len(REQUEST)])
