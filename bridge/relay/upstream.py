"""A relay's connection to the shared daemon: one connection, lines answered in their order.

  - It connects when there is a question; after a connection is lost, the next question opens a new one.  A daemon that
    ended a connection a moment ago may be being restarted: for so long a question waits for it.
  - An answer counts only if the daemon follows the protocol exactly: one `1` or `0` and a line end for each line
    sent, and nothing while nothing is asked.  At anything else the connection is closed: queries open on it are
    unavailable, and whatever the daemon may still send is lost with it.
  - The same happens when a query's deadline passes, and when a lockstep client gives up on its question.
  - A client's request for other answers or another protocol is never passed on: it could be first on a connection.
    `oneshot` may have it sent first; then `2` counts too, if the daemon agrees.
  - Only whole lines are sent: part of one, cut off by a close, could be a password nobody chose.

Nothing here blocks: if the daemon is too busy to accept a connection, it is retried until the query's deadline.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable

from bridge.loop.reactor import READABLE, WRITABLE, Reactor
from bridge.loop.timer import FOREVER
from bridge.protocol.lines import HELLO, NO, REQUEST, UNKNOWN, YES
from bridge.protocol.query import REFUSED, Query, Refusal, Verdict

TYPE_CHECKING = False  # socket takes as long to import as everything here; its C half has all we need
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Iterable, Sequence

    from bridge.protocol.query import Asker
    from bridge.relay.settings import RelaySettings
else:
    import _socket

_READ = 65536

_PIECE = 16384
"""Bytes sent at once, unless a single line is longer.  On a Unix socket Linux accepts up to 32 KiB whole or not at
all (one sk_buff), but never more than half of the send buffer, minus a little."""

_SEND_BUFFER = 131072
"""Bytes requested; `net.core.wmem_max` may allow less."""

_LESS_A_LITTLE = 64

_CROWDED = 0.010
"""Seconds until the daemon is tried again if its backlog is full, which cannot be polled for."""

_RESTART = 2.0
"""Seconds that a restart of the daemon may take, without sockets that outlive it.  At most half of `answer_timeout`:
the answer takes time, too.  Who asks in a longer outage is refused at once, as all of Prosody waits with him."""

_AGAIN = 0.050
"""Seconds between attempts to connect in that time."""

_REREAD_PAUSE = 1.0
"""Seconds between checks whether a broken configuration has been repaired."""

_VERDICTS = {YES[0]: Verdict.GRANTED, NO[0]: Verdict.DENIED, UNKNOWN[0]: Verdict.UNAVAILABLE}


class Upstream:
    """Has the daemon answer a session's queries; see `bridge.protocol.query.Answerer`.

    Args:
      read: reads the settings again, as long as they are `broken`.
      lockstep: a client that asks again has given up on its open question, which is then abandoned.
      warn: logs an event; called only with constant texts, numbers and errors, never with a line.
      reconfigured: called when the settings have been read again.
      negotiates: request the third answer on every connection.

    Attributes:
      settings: those in force.
      asked: lines passed on, or that would have been.
    """

    def __init__(
        self,
        settings: RelaySettings,
        read: Callable[[], RelaySettings],
        lockstep: bool,
        reactor: Reactor,
        warn: Callable[..., None],
        reconfigured: Callable[[], None],
        negotiates: bool = False,
    ) -> None:
        self.settings = settings
        self.clock = reactor.clock
        self.warn = warn
        self.asked = 0
        self._timer = reactor.call_at(FOREVER, self._do_what_is_due)
        self._reconfigured = reconfigured
        self._read = read
        self._read_at = float("-inf")
        self._lockstep = lockstep
        self._reactor = reactor
        self._socket: _socket.socket | None = None
        self._queries: deque[Query] = deque()  # open, oldest first
        self._unsent: deque[bytes] = deque()  # the lines of the last of them
        self._negotiates = negotiates
        self._hello: Query | None = None  # the request for the third answer, on this connection
        self._known = b"01"  # answers the daemon may give
        self._whole = 0  # bytes the connection accepts whole or not at all
        self._half = b""  # an answer still without its line end
        self._send_due = False
        self._full = False
        self._connect_at = float("-inf")
        self._back_by = float("-inf")  # until then the daemon may be being restarted
        self._unanswered = 0  # since the daemon was lost

    @property
    def idle(self) -> bool:
        """No question is open."""
        return not self._queries

    def ask(self, lines: Sequence[bytes | Refusal], asker: Asker) -> list[Query]:
        """Ask the daemon `lines`; each is answered or unavailable within `answer_timeout` from now."""
        return [self._ask(line, asker) for line in lines]

    def refuse(self, refusal: Refusal) -> Query:
        """Refuse a line without asking the daemon."""
        if self._lockstep:
            self._abandon()
        self.warn("line refused", reason=refusal.value)
        return REFUSED

    def withdraw(self, asker: Asker, queries: Iterable[Query]) -> None:
        """Our only client no longer wants its answers."""
        del asker, queries
        self._hang_up()

    def close(self) -> None:
        """Close the connection."""
        self._hang_up()

    # --- lines -------------------------------------------------------------------------------------------

    def _ask(self, line: bytes | Refusal, asker: Asker) -> Query:
        if not isinstance(line, bytes):
            return self.refuse(line)
        if line.startswith(REQUEST):
            return self.refuse(Refusal.COMMAND)
        if self._lockstep:
            self._abandon()
        if self.settings.broken:
            self._repair()
            if len(line) > self.settings.max_line:  # which the session did not know when it let the line through
                return self.refuse(Refusal.LENGTH)
        if not self._queries:
            self._receive()  # what has arrived by now answers nothing we ask; or the daemon is gone
        query = Query(b"", self.clock() + self.settings.answer_timeout, asker)
        self.asked += 1
        self._queries.append(query)
        # The daemon drops one CR before the line end, as the session did.
        self._unsent.append(line + (b"\r\n" if line.endswith(b"\r") else b"\n"))
        self._timer.set(query.deadline)
        if not self._send_due:
            self._send_due = True
            self._reactor.call_soon(self._send)
        return query

    def _send(self) -> None:
        """Send as many whole lines as fit."""
        self._send_due = False
        if not self._unsent or (self._socket is None and not self._connect()):
            return
        connection, unsent, room = self._socket, self._unsent, True
        try:
            while unsent and room and connection is not None:
                count, size = 1, len(unsent[0])
                if size > self._whole:
                    raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
                piece = min(_PIECE, self._whole)
                while count < len(unsent) and size + len(unsent[count]) <= piece:
                    size += len(unsent[count])
                    count += 1
                try:
                    sent = connection.send(b"".join([unsent[number] for number in range(count)]))
                except BlockingIOError:
                    room = False
                else:
                    if sent < size:
                        raise ConnectionError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
                    for _ in range(count):
                        unsent.popleft()
        except OSError as error:
            self._lose("daemon does not take the question", error=_name(error))
        else:
            self._watch(full=not room)

    def _connect(self) -> bool:
        """Connect.

        Returns:
          whether there is a connection now; if not, the timer is set or everything is settled.
        """
        now = self.clock()
        if self.settings.broken:  # which was logged when it was read
            self._unanswered += len(self._queries)
            self._hang_up()
            return False
        if now < self._connect_at:
            self._timer.set(self._connect_at)
            return False
        kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
        try:
            connection = _socket.socket(_socket.AF_UNIX, kind)
        except OSError as error:
            self._lose("daemon cannot be reached", error=_name(error))
            return False
        try:
            connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _SEND_BUFFER)
            self._whole = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF) // 2 - _LESS_A_LITTLE
            connection.connect(self.settings.path)
        except BlockingIOError:
            connection.close()
            return self._connect_later(now + _CROWDED)
        except OSError as error:
            connection.close()
            if now < self._back_by:
                return self._connect_later(now + _AGAIN)
            self._lose("daemon cannot be reached", error=_name(error), socket=self.settings.path, **hint(error))
            return False
        self._socket = connection
        self._full = False
        if self._negotiates:
            self._hello = Query(b"", self._queries[0].deadline, _Nobody())
            self._queries.appendleft(self._hello)
            self._unsent.appendleft(HELLO + b"\n")
        self._reactor.watch(connection.fileno(), self._receive)
        return True

    def _connect_later(self, when: float) -> bool:
        """Nor is there a connection until then."""
        self._connect_at = when
        self._timer.set(when)
        return False

    def _watch(self, full: bool) -> None:
        """Watch for something to read and, if `full`, for room to send the rest."""
        if self._socket is not None and full != self._full:
            self._full = full
            descriptor = self._socket.fileno()
            self._reactor.unwatch(descriptor)
            if full:
                self._reactor.watch(descriptor, self._ready, READABLE | WRITABLE)
            else:
                self._reactor.watch(descriptor, self._receive)

    def _ready(self) -> None:
        self._receive()
        self._send()

    # --- answers -----------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Read what the daemon sent, or notice that it is gone."""
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._back_by = self.clock() + min(_RESTART, self.settings.answer_timeout / 2)
            self._lose("daemon closed the connection")
            return
        if self._queries and self._queries[0].deadline <= self.clock():  # we were stopped, and our timer with us
            self._lose("daemon did not answer in time")
            return
        heard = self._half + data
        size = len(heard) // 2
        digits, line_ends, half = heard[: size * 2 : 2], heard[1 : size * 2 : 2], heard[size * 2 :]
        awaited = len(self._queries) - len(self._unsent)
        if awaited and self._queries[0] is self._hello:
            self._known = b"012" if heard[:1] == YES[:1] else b"01"
        if (digits + half).strip(self._known) or line_ends.strip(b"\n") or size + len(half) > awaited:
            self.warn("daemon said what nobody asked for", bytes=len(heard))
            self._lose()
            return
        self._half = half
        answered = [self._queries.popleft() for _ in range(size)]
        if answered and self._unanswered:
            self.warn("daemon answers again", unanswered=self._unanswered)
            self._unanswered = 0
        for query, digit in zip(answered, digits, strict=True):
            query.settle(_VERDICTS[digit])

    # --- the end of a connection -------------------------------------------------------------------------

    def _do_what_is_due(self) -> None:
        if self._queries and self._queries[0].deadline <= self.clock():
            connected = self._socket is not None
            self._lose("daemon did not answer in time" if connected else "daemon takes no connection")
        elif self._unsent and self._socket is None:
            self._send()
        if self._queries:
            self._timer.set(self._queries[0].deadline)

    def _abandon(self) -> None:
        """Drop the open question, which the client gave up on: no later query may get its answer."""
        if self._queries:
            self._hang_up()

    def _lose(self, message: str = "", **fields: object) -> None:
        """Close the connection; log why, the first time that it leaves a query unanswered."""
        lost = len(self._queries)
        if message and lost and not self._unanswered:
            self.warn(message, **fields)
        self._unanswered += lost
        self._hang_up()

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._reactor.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None
        lost = [*self._queries]
        self._queries.clear()
        self._unsent.clear()
        self._half = b""
        self._known = b"01"
        for query in lost:
            query.settle(Verdict.UNAVAILABLE)

    def _repair(self) -> None:
        now = self.clock()
        if now >= self._read_at:
            self._read_at = now + _REREAD_PAUSE
            self.settings = self._read()
            self._reconfigured()


class _Nobody:
    def settled(self, query: Query) -> None:
        """Nothing to do: `_receive` has seen whether the daemon agrees."""

    def failed(self, error: Exception) -> None:
        """Nothing above can fail."""


def hint(error: OSError) -> dict[str, str]:
    """What to do about a daemon that cannot be reached, as a field of the log's."""
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
        return {"hint": "start it: systemctl start extauth-bridge.socket, or extauth-bridge serve"}
    if error.errno == errno.EACCES:
        return {"hint": "this user may not use the socket: see socket_mode, or SocketGroup= and the user's groups"}
    return {}


def _name(error: OSError) -> str:
    """The error's symbol; a path too long for a socket raises an OSError without errno."""
    return errno.errorcode.get(error.errno or 0, "the socket's name cannot be used")
