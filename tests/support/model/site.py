"""A pool with its supervisor, its clients and its programs, in a time that the test moves.

The bridge and the programs take turns, one small step each.  A test may have programs do several things before the
bridge notices any (`lag`), or stop the bridge for a while and not them, as SIGSTOP or a busy machine does.

How fast the test itself runs changes nothing: the reactor's slices, which are of real time, never end.
"""

from __future__ import annotations

import heapq
import itertools
import select
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast
from unittest import mock

import attrs

from bridge.config.settings import Settings
from bridge.loop import reactor
from bridge.loop.reactor import Reactor
from bridge.pool.pool import Pool
from bridge.pool.starts import Starts
from bridge.pool.supervisor import Supervisor
from bridge.protocol.query import Query
from bridge.worker.worker import Worker
from support.model.programs import Manner, Program
from support.model.rules import Client, Rules
from support.model.stepped import Stepped
from support.model.workers import Launch

_HAIR = 1e-7
"""Seconds by which the clock is late, as real ones are: what is early by a rounding error would stay so for ever."""

_STEPS = 2_000
"""Steps without any time passing: more than any example needs."""

_MOMENTS = 5_000
"""At which something happens, in a while that a test lets pass: there are ten rounds a second, and some events."""


class Site:
    """Everything.

    Attributes:
      manner: of programs that are started from now on.
      start_error: raised by the next starts, if set.
      stalled: no program replies.
      poisonous: some questions cause trouble.
      lag: things that programs do before the bridge looks at any of them.
      stopped_at: when the bridge was last stopped, or rather went on.
      programs: all that were started, in order.
    """

    def __init__(self, settings: Settings, launch: Launch, manner: Manner | None = None) -> None:
        assert settings.program is not None
        self.stepped = Stepped()
        self.clock = self.stepped.clock
        self.manner = manner or Manner()
        self.start_error: Exception | None = None
        self.stalled = False
        self.poisonous = True
        self.lag = 1
        self.stopped_at = 0.0
        self.programs: list[Program] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._is_stopped = False
        self._unseen: deque[Callable[[], None]] = deque()
        self._launch_worker = launch
        self._no_time = mock.patch.object(reactor, "monotonic", lambda: 0.0)
        self._no_time.start()
        self.reactor = Reactor(clock=self.clock)
        self._look = select.poll()
        self._look.register(self.reactor.fileno(), select.POLLIN)
        starts = Starts(self.reactor.call_at, self.clock)
        self.pool = Pool("default", settings.program, settings, self.reactor, starts, self._attend, self._launch)
        self.rules = Rules(self)
        self.supervisor = Supervisor(self.pool)
        self.pool.staff.plan()
        starts.start_at_once()
        self.stepped.nursery.start_soon(self.supervisor.run)
        self.settle()

    @property
    def now(self) -> float:
        return self.clock.now

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when, next(self._order), action))

    def when_seen(self, action: Callable[[], None]) -> None:
        if self._is_stopped:
            self._unseen.append(action)
        else:
            action()

    # --- the bridge ------------------------------------------------------------------------------------------

    def _attend(self, pool: Pool) -> None:
        self.supervisor.look()

    def _launch(self, pool: Pool) -> Worker:
        if self.start_error is not None:
            self.rules.cannot_start()
            raise self.start_error.with_traceback(None)  # or it keeps the frames of all its examples
        program = Program(self, self.manner)
        worker = self._launch_worker(pool, program, self.rules, self.stepped.nursery)
        self.programs.append(program)
        self.rules.started(program, worker)
        return cast("Worker", worker)

    def ask(
        self, client: Client, bodies: Sequence[bytes], timeout: float = float("inf"), address: str = ""
    ) -> list[Query]:
        """Ask as a session does, with deadlines in order."""
        client.latest = max(client.latest, self.now + min(timeout, self.pool.settings.answer_timeout))
        queries = [Query(body, client.latest, client, address) for body in bodies]
        self.rules.asked(queries)
        self.pool.ask(queries)
        return queries

    def withdraw(self, client: Client) -> None:
        client.more.clear()
        self.pool.withdraw(client)
        self.rules.withdrawn(client)

    def reload(self, answer_timeout: float) -> None:
        """New settings, as for a pool whose program they do not change."""
        self.pool.settings = attrs.evolve(self.pool.settings, answer_timeout=answer_timeout)
        for client in {cast("Client", query.asker) for query in self.rules.open}:
            client.latest = min(client.latest, self.now + answer_timeout)
        self.rules.hastened(answer_timeout)
        self.pool.hasten(answer_timeout)

    # --- time ------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Have everything happen that is to happen now."""
        for _ in range(_STEPS):
            self.reactor.run_once()
            active = self.stepped.run_tasks()
            for _ in range(self.lag):
                active = self._do_next() or active
            if not active and self.reactor.pause() > 0.0 and not self._look.poll(0):
                self.rules.check()
                return
        raise AssertionError("it never comes to rest")

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        for _ in range(_MOMENTS):
            self.settle()
            when = min(self._next_action, self.now + self.reactor.pause() + _HAIR, self.clock.next + _HAIR)
            if when > until:
                self.clock.now = until
                self.settle()
                return
            self.clock.now = max(self.now, when)
        raise AssertionError("time hardly passes any more")

    def stop(self, seconds: float) -> None:
        """Let time pass without the bridge."""
        until, self._is_stopped = self.now + seconds, True
        while self._next_action <= until:
            self.clock.now = max(self.now, self._next_action)
            self._do_next()
        self.clock.now, self._is_stopped = until, False
        self.stopped_at = until
        while self._unseen:
            self._unseen.popleft()()
        self.settle()

    @property
    def _next_action(self) -> float:
        return self._agenda[0][0] if self._agenda else float("inf")

    def _do_next(self) -> bool:
        """Do what programs want to do next, if it is time; returns whether there was anything."""
        if self._next_action > self.now:
            return False
        heapq.heappop(self._agenda)[2]()
        return True

    # --- the end ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave nothing open."""
        for program in self.programs:
            program.held = False
            program.exit(0)
        try:
            self.reactor.run_once()
            self.stepped.run_tasks()
            self.reactor.run_once()
        finally:
            self.rules.close()
            self.stepped.close()
            self.reactor.close()
            self._no_time.stop()
