"""The tasks of a running bridge: drive the reactor, supervise pools, handle signals, drain.

- SIGHUP has the configuration read again (`reload`); on a terminal it is the hang-up and ends the input.
- SIGUSR1 has the status logged.
- SIGTERM, SIGINT or the end of input: answer what is in flight, then stop every program.  A second signal
  means now; after the first one, clients that do not read are not waited for.
- However shutdown begins, even by an error of ours, its time is bounded; then it is forced (`lastresort`).
"""

from __future__ import annotations

import functools
import gc
import signal
import sys
from collections.abc import Callable
from typing import Protocol

import trio

from bridge.config.settings import Settings
from bridge.daemon import signals
from bridge.daemon.process import Process
from bridge.daemon.reload import Reloader
from bridge.daemon.systemd import Notifier
from bridge.log.events import event, log
from bridge.loop.orphans import left_to_us, reap_orphans
from bridge.loop.reactor import Reactor
from bridge.pool.pool import Pool
from bridge.pool.supervisor import Supervisor
from bridge.worker.spawn import programs

_REPAIR_PAUSE = 1.0
"""Seconds between checks whether a broken configuration has been repaired."""

_REPORT_PAUSE = 2.0
"""Seconds between checks whether the line for `systemctl status` has changed."""

_FORCED = 4.0
"""Seconds allowed beyond all other timeouts before shutdown is forced: killed programs may take two of them."""

_MARGIN = 5.0
"""Seconds that systemd is asked for beyond what stopping can take."""

_LINGER = 0.001
"""Seconds the reactor waits for more events before it lets trio wait, which costs as much time as five queries.
Under load other tasks run when the reactor's slice is over; when idle, this wait happens once."""

_DRAIN_PAUSE = 0.05
"""Seconds between checks whether a replaced pool has no query left."""


class Client(Protocol):
    """A session of either kind, or a server with many."""

    def reconfigure(self, settings: Settings) -> None: ...

    def stop(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class Service:
    """One bridge at work.

    Args:
      process: with its programs already running.
      load: reads the configuration again; raises ConfigError.
      on_terminal: the client is on a terminal, a program's or a person's.
      log_on_client: stderr is the client's terminal.
      notifier: to systemd, for `serve`.

    Attributes:
      reloader: reads the configuration again when asked to.
    """

    def __init__(
        self,
        process: Process,
        load: Callable[[], Settings],
        on_terminal: bool = False,
        log_on_client: bool = False,
        notifier: Notifier | None = None,
    ) -> None:
        self._process = process
        self._poolset = process.poolset
        self._on_terminal = on_terminal
        self._notifier = notifier or Notifier(None, None)
        self.reloader = Reloader(self._poolset, load, log_on_client, self._notifier)
        self._supervisors: dict[Pool, Supervisor] = {}
        self._stopping = trio.CancelScope()
        self._told_to_stop = False
        self._over = trio.Event()

    def run(self, connect: Callable[[Callable[[], None]], Client], broken: bool = False) -> None:
        """Serve one client to its end, then stop everything.

        Signals stay blocked until they can be handled: an exception raised inside trio by a handler would be an error.

        Args:
          connect: makes the client; its argument is to be called when the client is done.
          broken: there is no usable configuration yet; keep trying to read one.
        """
        signals.block()
        if self._process.told_to_exit:
            sys.exit(0)
        gc.freeze()  # what exists now stays for good: exempt it from collection
        client = connect(self._over.set)
        try:
            trio.run(self._serve, client, broken)
        except BaseException:
            self._process.exit_within(_FORCED, failed=True)
            raise

    async def _serve(self, client: Client, broken: bool) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drive, self._poolset.reactor)
                if left_to_us():
                    reap_orphans(self._poolset.reactor, programs)
                self._poolset.supervise(functools.partial(self._supervise, nursery))
                nursery.start_soon(self.reloader.run, client.reconfigure, functools.partial(self._drain_soon, nursery))
                nursery.start_soon(self._obey_signals, nursery, client)
                if broken:
                    nursery.start_soon(self._repair)
                if self._notifier.wanted:
                    nursery.start_soon(self._report)
                    nursery.start_soon(self._feed_watchdog)
                await self._over.wait()
                self.reloader.stop()
                self._process.exit_within(2 * self._poolset.router.settings.shutdown_grace + _FORCED)
                with self._stopping:
                    await self._stop_pools()
                nursery.cancel_scope.cancel()
        except Exception as error:
            self._process.exit_within(_FORCED, failed=True)
            log.error(event("exiting after an internal error", error=error))
            raise
        finally:
            client.close()

    def _supervise(self, nursery: trio.Nursery, pool: Pool) -> None:
        """Give a pool its supervisor with its first program: thousands of pools may never start one."""
        if pool not in self._supervisors:
            self._supervisors[pool] = supervisor = Supervisor(pool)
            nursery.start_soon(supervisor.run)
        self._supervisors[pool].look()

    async def _stop_pools(self) -> None:
        for pool in self._poolset.everything:
            pool.staff.close()
        async with trio.open_nursery() as nursery:
            for supervisor in self._supervisors.values():
                nursery.start_soon(supervisor.stop)

    def _drain_soon(self, nursery: trio.Nursery, pool: Pool, at_once: bool) -> None:
        nursery.start_soon(self._drain, pool, at_once)

    async def _drain(self, pool: Pool, at_once: bool) -> None:
        """Stop a pool that is not in service: at once, or once no other falls back on it, after its last query."""
        while not at_once and (pool.in_flight or self._poolset.is_reserve(pool)):
            await trio.sleep(_DRAIN_PAUSE)
        pool.staff.close()
        if pool in self._supervisors:
            await self._supervisors[pool].stop()
            del self._supervisors[pool]
        self._poolset.drained(pool)

    async def _obey_signals(self, nursery: trio.Nursery, client: Client) -> None:
        numbers = [*signals.OBEYED]
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job
            numbers.remove(signal.SIGINT)
        try:
            with trio.open_signal_receiver(*numbers) as received, signals.unblocked():
                async for number in received:
                    self._obey(number, nursery, client)
        finally:
            if not self._over.is_set():  # a task has failed, and perhaps not all can be cancelled
                self._process.exit_within(_FORCED, failed=True)

    def _obey(self, number: int, nursery: trio.Nursery, client: Client) -> None:
        if number == signal.SIGHUP and not self._on_terminal:
            self.reloader.request()
        elif number == signal.SIGUSR1:
            from bridge.daemon.statuslog import log_status  # late: most never ask

            log_status(self._poolset)
        elif not self._told_to_stop:
            self._told_to_stop = True
            self.reloader.stop()
            settings = self._poolset.router.settings
            longest = settings.answer_timeout + 2 * settings.shutdown_grace
            self._process.exit_within(longest + _FORCED)
            self._notifier.stopping("answering what is in flight")
            self._notifier.extend_timeout(longest + _MARGIN)
            client.stop()
            nursery.start_soon(self._abort_after, client, settings.answer_timeout + settings.shutdown_grace)
        else:
            self._process.exit_within(_FORCED)
            client.abort()
            self._stopping.cancel()
            self._over.set()

    async def _abort_after(self, client: Client, seconds: float) -> None:
        """Give up on a client that does not read its answers: all of them are known by then."""
        await trio.sleep(seconds)
        client.abort()
        self._over.set()

    async def _report(self) -> None:
        """Tell systemd that we are ready, and then our status whenever it has changed."""
        said = self.reloader.status()
        self._notifier.ready(said)
        while True:
            await trio.sleep(_REPORT_PAUSE)
            if (status := self.reloader.status()) != said:
                said = status
                self._notifier.status(status)

    async def _feed_watchdog(self) -> None:
        """Feed the watchdog, but only while the reactor runs and no deadline has been missed."""
        interval = self._notifier.watchdog_interval
        if interval is None:
            return
        while True:
            ran = trio.Event()
            self._poolset.reactor.call_soon(ran.set)
            await ran.wait()
            if not self._poolset.is_overdue():
                self._notifier.watchdog()
            await trio.sleep(interval)

    async def _repair(self) -> None:
        """Retry until the configuration can be read: nobody would restart us."""
        while not self._poolset.pools:
            self.reloader.request()
            await trio.sleep(_REPAIR_PAUSE)


async def drive(reactor: Reactor) -> None:
    """Run the reactor in trio: wait for events and timers, and handle them."""
    while True:
        pause = reactor.pause()
        if pause > 0:
            with trio.move_on_after(pause):
                await trio.lowlevel.wait_readable(reactor.fileno())
        else:
            await trio.lowlevel.checkpoint()
        try:
            reactor.run_once(_LINGER)
        except Exception as error:
            reactor.recover(error)
