"""Reads the configuration again when asked to, and replaces the one in force only by one that is proven.

- A file that cannot be used is refused at once.
- The pools of new and changed programs are started beside those in force, and asked nothing but their probe.  When
  all of them are proven, everything is put in force in one step; if one fails, the new programs are stopped.
- Where a program must be alone (`pool_max` 1), the old one is stopped once all others are proven, and its queries
  wait.  If the new one fails, the old one is started again.
- A request that comes meanwhile takes the place of the one before: whoever asked is told what becomes of the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import trio

from bridge.config.settings import ConfigError, Settings
from bridge.daemon.systemd import Notifier
from bridge.log.events import event, log
from bridge.log.setup import configure
from bridge.pool.pool import Pool
from bridge.pool.poolset import Change, PoolSet
from bridge.pool.proof import outlook
from bridge.pool.startuptime import UNASKED

_PAUSE = 0.05
"""Seconds between checks of what is being proven or stopped."""

_MARGIN = 1.0
"""Seconds beyond `start_timeout`, for a program that is killed by then to be gone, and its reason to be known."""

_TO_STOP = 10.0
"""Seconds that systemd is asked for beyond all timeouts: programs may take some of them to exit."""

_STOPPING = "the daemon is stopping"


class Reloader:
    """The reloads of one service.

    Args:
      load: reads the configuration; raises ConfigError.
      log_on_client: stderr is the client's terminal.

    Attributes:
      loaded: number of times a configuration was put in force.
      loaded_at: when that was done the last time, or else at the start; seconds.
      refused: number of times one was not.
      reason: why the last one was refused; empty if it is in force.
      is_proving: new programs are being proven, or stopped because they failed.
    """

    def __init__(self, poolset: PoolSet, load: Callable[[], Settings], log_on_client: bool, notifier: Notifier) -> None:
        self.loaded = 0
        self.loaded_at = poolset.clock()
        self.refused = 0
        self.reason = ""
        self.is_proving = False
        self._poolset = poolset
        self._load = load
        self._log_on_client = log_on_client
        self._notifier = notifier
        self._asked: list[Callable[[str], None]] = []
        self._requested = trio.Event()
        self._attempt = trio.CancelScope()
        self._is_over = False

    def request(self, told: Callable[[str], None] | None = None) -> None:
        """Have the configuration read again.

        Args:
          told: called once: with an empty string when it is in force, with the reason if it is refused.
        """
        if told is not None:
            self._asked.append(told)
        if self._is_over:
            self.stop()
        else:
            self._requested.set()
            self._attempt.cancel()

    def stop(self) -> None:
        """Give up what is being proven, and refuse whatever is requested from now on."""
        self._is_over = True
        self._attempt.cancel()
        _tell(self._no_longer_asked(), _STOPPING)

    def status(self) -> str:
        """One line for `systemctl status`."""
        refused = f"; configuration refused: {self.reason}" if self.reason else ""
        return f"{self._poolset.summary()}{refused}"

    async def run(self, reconfigure: Callable[[Settings], None], drain: Callable[[Pool, bool], None]) -> None:
        """Do what is requested, until it is stopped or cancelled.

        Args:
          reconfigure: applies settings to the clients; if it raises ConfigError, nothing has changed.
          drain: begins to stop a pool that is not in service, at once or after its last query; it is in
            `PoolSet.draining` until its programs are gone.
        """
        while not self._is_over:
            await self._requested.wait()
            self._requested = trio.Event()
            self._notifier.reloading()
            try:
                change = self._poolset.prepare(self._load())
            except ConfigError as error:
                self._decided(str(error), self._no_longer_asked())
                continue
            self.is_proving = True
            await self._reload(_Proof(self._poolset, change, drain), reconfigure)
            self.is_proving = False

    async def _reload(self, proof: _Proof, reconfigure: Callable[[Settings], None]) -> None:
        self._notifier.extend_timeout(proof.longest() + _TO_STOP)
        reason = ""
        with trio.CancelScope() as self._attempt:
            reason = await proof.reason_against()
            await trio.lowlevel.checkpoint_if_cancelled()  # a request may have come after the last wait
        if self._attempt.cancelled_caught:
            await proof.undo()
            return
        asked = self._no_longer_asked()  # those who ask from now on ask for a newer one
        if reason := reason or self._put_in_force(proof, reconfigure):
            await proof.undo()
            reason = proof.failure() or reason  # its programs are gone now, and it is known how they ended
        self._decided(reason, asked)

    def _put_in_force(self, proof: _Proof, reconfigure: Callable[[Settings], None]) -> str:
        """Put in force what is proven; returns why that is impossible, or an empty string."""
        settings = proof.change.settings
        try:
            reconfigure(settings)
        except ConfigError as error:
            return str(error)
        configure(settings.log, self._log_on_client)
        proof.put_in_force()
        return ""

    def _decided(self, reason: str, asked: Collection[Callable[[str], None]]) -> None:
        """Say what has become of a reload; an empty `reason`: it is in force."""
        self.reason = reason
        if reason:
            self.refused += 1
            log.error(event("configuration refused, the old one stays", reason=reason))
        else:
            self.loaded += 1
            self.loaded_at = self._poolset.clock()
        self._notifier.ready(self.status())
        _tell(asked, reason)

    def _no_longer_asked(self) -> list[Callable[[str], None]]:
        """Take out those who wait to be told."""
        asked, self._asked = self._asked, []
        return asked


class _Proof:
    """The proof of one change, and what follows from it.

    Args:
      drain: as for `Reloader.run`.
    """

    def __init__(self, poolset: PoolSet, change: Change, drain: Callable[[Pool, bool], None]) -> None:
        self.change = change
        self._poolset = poolset
        self._drain = drain
        self._failed: str | None = None  # the name of a pool
        self._down = {name for name, pool in poolset.pools.items() if not pool.staff.usable}
        self._patience = {name: pool.staff.startup.unasked for name, pool in poolset.pools.items()}

    def longest(self) -> float:
        """Seconds it may take."""
        present = self._poolset.router.settings
        return 2 * (self.change.settings.start_timeout + _MARGIN) + present.answer_timeout + present.shutdown_grace

    async def reason_against(self) -> str:
        """Wait until all new pools are proven, or one of them fails; returns why, or an empty string."""
        change = self.change
        if not self._poolset.pools:  # nobody is answered now, so there is nothing to lose
            return ""
        beside = [name for name in change.new if name not in change.alone]
        if (reason := await self._failing(beside)) or not change.alone:
            return reason
        for name in change.alone:
            self._drain(self._poolset.set_aside(name, change), False)
        await self._gone(change.aside.values())
        return await self._failing(change.new)  # all of them: the others must still be proven

    def put_in_force(self) -> None:
        """Put everything in force that is proven."""
        replaced = self._poolset.adopt(self.change)
        for pool in replaced:
            self._drain(pool, False)
        log.info(event("configuration loaded", new_pools=len(self.change.new), replaced_pools=len(replaced)))

    async def undo(self) -> None:
        """Stop the new programs; old ones that had to make room come back when these are gone."""
        new, aside = self.change.new.values(), self.change.aside
        self._poolset.discard(self.change)
        for pool in new:
            self._drain(pool, True)  # if it is asked anything, it is its probe
        await self._gone([*new, *aside.values()])
        for name in aside:
            self._poolset.bring_back(name)

    def failure(self) -> str:
        """Why a pool is not proven, if one is not; of its command only the program: its arguments may hold a secret."""
        name = self._failed
        if name is None:
            return ""
        pool = self.change.new[name]
        why = pool.last_failure or f"no answer to the probe within {self.change.settings.start_timeout:g} seconds"
        too = ", and the old program is down too" if name in self._down else ""
        return f"pool {pool.name}: {pool.program.argv[0]}: {why}{too}"

    async def _failing(self, names: Collection[str]) -> str:
        """Prove these pools; returns why one of them fails, or an empty string."""
        poolset, new = self._poolset, self.change.new
        for name in names:
            poolset.start(new[name])
            await trio.lowlevel.checkpoint()  # for all other events: a start is slow, and there may be thousands
        until = poolset.clock() + self.change.settings.start_timeout + _MARGIN
        while True:
            now = poolset.clock()
            outlooks = {name: outlook(new[name], now, self._patience.get(name, UNASKED)) for name in names}
            for name, good in outlooks.items():
                if good is False or (good is None and now >= until):
                    self._failed = name
                    return self.failure()
            if all(outlooks.values()):
                return ""
            await trio.sleep(_PAUSE)

    async def _gone(self, pools: Collection[Pool]) -> None:
        """Wait until all programs of these pools are gone."""
        while not self._poolset.draining.isdisjoint(pools):
            await trio.sleep(_PAUSE)


def _tell(asked: Collection[Callable[[str], None]], reason: str) -> None:
    for told in asked:
        told(reason)
