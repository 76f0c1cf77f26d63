"""The daemon's life while people log in: programs that die, restarts, reloads, a daemon that comes late; and
Prosody's own: the module reloaded, the server told to read its configuration again, a host that goes."""

import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
import trio
from support.programs.bad import CHAMELEON, habit
from support.prosody.server import PATIENCE
from support.prosody.site import Site, right
from support.prosody.xmpp_client import Client
from support.relay.fake_daemon import FakeDaemon, honest

pytestmark = pytest.mark.slow

WRONG = "wrong-password"
UNAVAILABLE = "temporary-auth-failure"


class Stream:
    """People who log in, again and again, half of them with a wrong password.

    Attributes:
      outcomes: how often (whether the password was right, what came of it).
      whole: clear while there may be nothing to log in to.  Whoever is told to try again then waits until it is set:
        how many tries fit into that time depends on the machine alone.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.outcomes: Counter[tuple[bool, str]] = Counter()
        self.whole = trio.Event()
        self.whole.set()
        self._news = trio.Condition()
        self._number = 0

    async def run(self) -> None:
        """One of them, for ever."""
        while True:
            self._number += 1
            user = f"u{self._number}"
            async with self.site.client() as client:
                for correct in (False, True):
                    outcome = await client.plain(user, right(user) if correct else WRONG)
                    self.outcomes[correct, outcome] += 1
                    async with self._news:
                        self._news.notify_all()
                    if outcome == UNAVAILABLE:
                        await self.whole.wait()

    async def broken_by(self, *steps: Callable[[], object]) -> None:
        """Do what may cost each of them the try it has in flight, or the one it begins meanwhile, and no third."""
        self.whole = trio.Event()
        for step in steps:
            await trio.to_thread.run_sync(step)
        self.whole.set()

    async def until(self, more: int) -> None:
        """Wait for so many more successes."""
        wanted = self.outcomes[True, "success"] + more
        with trio.fail_after(30):
            async with self._news:
                while self.outcomes[True, "success"] < wanted:
                    await self._news.wait()

    def check(self, lost: Callable[[int], bool]) -> None:
        """Nobody got in with a wrong password, nobody was told that a right one is wrong; `lost`: may be
        so many have been told to try again?"""
        kinds = {(False, "not-authorized"), (False, UNAVAILABLE), (True, "success"), (True, UNAVAILABLE)}
        assert set(self.outcomes) <= kinds, self.outcomes
        unavailable = self.outcomes[False, UNAVAILABLE] + self.outcomes[True, UNAVAILABLE]
        assert lost(unavailable), self.outcomes


@contextlib.asynccontextmanager
async def stream(site: Site, people: int = 6) -> AsyncIterator[Stream]:
    """A stream that runs while the block does."""
    flow = Stream(site)
    async with trio.open_nursery() as nursery:
        for _ in range(people):
            nursery.start_soon(flow.run)
        await flow.until(10)
        yield flow
        nursery.cancel_scope.cancel()


async def test_a_program_that_dies_is_no_wrong_password(site: Site) -> None:
    """No program could tell: the client is told to try again, by a daemon that knows how to say so."""
    site.configure()
    site.serve(answer_timeout=1.0)
    async with site.client() as client:
        for way in ("die", "crash", "garbage0", "partialdie", "hang", "mute"):
            assert await client.plain(f"{way}-alice", right(f"{way}-alice")) == UNAVAILABLE, way
            assert await client.plain("alice", WRONG) == "not-authorized"
        assert await client.plain("alice", right("alice")) == "success"


async def test_programs_that_never_live_are_no_wrong_password(site: Site) -> None:
    site.configure()
    site.serve(habit("stillborn", 1), answer_timeout=1.0)
    async with site.client() as client:
        for _ in range(3):
            assert await client.plain("alice", right("alice")) == UNAVAILABLE


async def test_programs_that_die_now_and_then_cost_hardly_a_login(site: Site) -> None:
    """A question whose program dies is asked once more: only if that one dies of it too, somebody must try again."""
    site.configure()
    site.serve(habit("dies_after", 20))
    async with stream(site) as flow:
        await flow.until(100)
    assert len(site.journal.pids("start")) > 4 + 5, "several have died"
    flow.check(lambda lost: lost <= 6)  # half of one is to be expected


async def test_a_restart_of_the_daemon_costs_at_most_what_is_in_flight(site: Site) -> None:
    site.configure()
    daemon = site.serve()
    async with stream(site) as flow:
        for _ in range(3):
            await flow.broken_by(daemon.stop, daemon.start)
            await flow.until(20)
    flow.check(lambda lost: lost <= 3 * 6)


async def test_a_crash_of_the_daemon_lets_nobody_in(site: Site) -> None:
    site.configure()
    daemon = site.serve()
    async with stream(site) as flow:
        for _ in range(3):
            await flow.broken_by(daemon.kill, daemon.start)
            await flow.until(20)
    flow.check(lambda lost: lost <= 3 * 6)


async def test_a_daemon_for_clients_in_lockstep_shifts_no_answer(site: Site) -> None:
    """The module is none: it says so with its first line, and is served as what it is."""
    site.configure()
    site.serve(client="lockstep")
    async with stream(site) as flow:
        await flow.until(50)
    flow.check(lambda lost: lost == 0)


async def test_a_reload_of_the_daemon_is_invisible(site: Site) -> None:
    site.configure()
    daemon = site.serve()
    async with stream(site) as flow:
        started = 4
        for size in (2, 5, 3):
            daemon.configure(CHAMELEON, pool_size=size)
            daemon.reload()
            started += size
            await flow.until(30)
            with trio.fail_after(PATIENCE):  # each reload brings new programs, after it has been answered
                while len(site.journal.pids("start")) < started:
                    await trio.sleep(0.01)
    flow.check(lambda lost: lost == 0)


async def test_a_daemon_that_comes_late_serves(site: Site) -> None:
    site.configure()
    assert await site.plain("alice", right("alice")) == UNAVAILABLE
    site.serve()
    assert await site.recovers() < 5
    async with stream(site) as flow:
        await flow.until(10)
    flow.check(lambda lost: lost == 0)


async def test_the_module_reloaded_in_the_middle_lets_nobody_in(site: Site) -> None:
    """What is in flight is lost, and told to try again; everything later works."""
    site.configure()
    site.serve()

    def reload() -> None:
        assert "Error" not in site.prosody.reload_module(site.host)

    async with stream(site) as flow:
        for _ in range(5):
            await flow.broken_by(reload)
            await flow.until(20)
    # In between, a host has no module at all: Prosody offers no mechanism then, and a connection keeps what it was
    # offered, which the module cannot help.  So each of six may lose, at each reload, both tries of one connection.
    flow.check(lambda lost: lost <= 5 * 6 * 2)


async def test_the_server_reloaded_in_the_middle_notices_nothing(site: Site) -> None:
    site.configure()
    site.serve()
    async with stream(site) as flow:
        for _ in range(5):
            await trio.to_thread.run_sync(site.prosody.hang_up)
            await flow.until(20)
    flow.check(lambda lost: lost == 0)


async def test_what_waits_when_the_module_is_reloaded_fails_and_its_connection_ends(
    site: Site, nursery: trio.Nursery
) -> None:
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket)
    async with site.client() as client, site.client() as other:
        await client.start_plain("alice", right("alice"))
        await other.start_plain("mallory", WRONG)
        connection = await fake.connection(0)
        lines = [await connection.line(), await connection.line()]
        await trio.to_thread.run_sync(site.prosody.reload_module, site.host)
        await connection.send(connection.text(lines[0], b"1") + connection.text(lines[1], b"1"))
        assert await client.outcome() == UNAVAILABLE
        assert await other.outcome() == UNAVAILABLE
        await connection.until_ended()
        fake.manner = honest
    assert await site.plain("mallory", WRONG) == "not-authorized"
    assert await site.plain("alice", right("alice")) == "success"
    assert len(fake.connections) == 2
    assert "too slow" not in site.log() and "The daemon at" not in site.log(), "it is not to blame"


async def test_what_waits_when_the_server_is_reloaded_gets_its_own_answer(site: Site, nursery: trio.Nursery) -> None:
    """The stock way loses its place here: a signal interrupts its wait, and all later answers are shifted."""
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket)
    async with site.client() as client, site.client() as other:
        await client.start_plain("alice", right("alice"))
        await other.start_plain("mallory", WRONG)
        connection = await fake.connection(0)
        lines = [await connection.line() for _ in range(2)]
        await trio.to_thread.run_sync(site.prosody.hang_up)
        for line in lines:
            await connection.answer(line, b"1" if b":alice:" in line else b"0")
        assert await client.outcome() == "success"
        assert await other.outcome() == "not-authorized"
    assert len(fake.connections) == 1


async def test_a_host_that_goes_takes_its_connection_along(site: Site, nursery: trio.Nursery) -> None:
    site.configure()
    fake = await FakeDaemon.start(nursery, site.socket, manner=honest)
    await site.recovers()
    assert not (await fake.connection(0)).ended.is_set()
    await trio.to_thread.run_sync(site.prosody.shell, f'host:deactivate("{site.host}")')
    await (await fake.connection(0)).until_ended(5)


async def test_a_window_of_one_and_slow_programs_cost_nobody_his_login_who_can_have_it(site: Site) -> None:
    """Twelve at once are more than are answered in three seconds. Who comes a little later is answered in time
    behind them, or on a connection that is free of them; and an answer to one who has left is nobody else's."""
    site.configure(extauth_bridge_timeout=3)
    site.serve(window=1, answer_timeout=2)
    async with contextlib.AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(site.client()) for _ in range(12)]
        late, wrong = [await stack.enter_async_context(site.client()) for _ in range(2)]
        outcomes: Counter[str] = Counter()
        done = trio.Semaphore(0)

        async def come(number: int, client: Client) -> None:
            user = f"slow300-u{number}"
            outcomes[await client.plain(user, right(user))] += 1
            done.release()

        async with trio.open_nursery() as nursery:
            for number, client in enumerate(crowd):
                nursery.start_soon(come, number, client)
            for _ in range(8):
                await done.acquire()
            await late.start_plain("late", right("late"))
            await wrong.start_plain("wrong", WRONG)
        assert await late.outcome() == "success"
        assert await wrong.outcome() == "not-authorized"
    assert set(outcomes) <= {"success", UNAVAILABLE}
    assert outcomes["success"] > 0


async def test_an_answer_that_is_read_after_its_time_lets_nobody_in_and_is_no_reason_to_part(site: Site) -> None:
    """Prosody stands still; the daemon does not, and its answer lies there when the server goes on."""
    site.configure(extauth_bridge_timeout=2)
    site.serve(window=4)
    await site.recovers()  # from here on a question takes no longer than its program
    before = len(site.frames("auth"))
    async with site.client() as client, site.client() as other:
        await client.start_plain("slow1000-alice", right("slow1000-alice"))
        await other.start_plain("slow1000-mallory", WRONG)
        with trio.fail_after(PATIENCE):
            while len(site.frames("auth")) < before + 2:
                await trio.sleep(0.005)
        site.prosody.signal(signal.SIGSTOP)
        stopped = trio.current_time()
        try:
            with trio.fail_after(PATIENCE):
                while len(site.journal.events("reply")) < before + 2:
                    await trio.sleep(0.005)
            await trio.sleep_until(stopped + 2.2)  # what was asked before has had its two seconds
        finally:
            site.prosody.signal(signal.SIGCONT)
        assert await client.outcome() == UNAVAILABLE
        assert await other.outcome() == UNAVAILABLE
        assert await client.plain("alice", right("alice")) == "success"
        assert await other.plain("mallory", WRONG) == "not-authorized"
    assert "gave no answer in time" not in site.log(), "it did"


@pytest.mark.parametrize("seconds", [0.3, 1])
async def test_the_timeout_is_the_modules_own(site: Site, nursery: trio.Nursery, seconds: float) -> None:
    site.configure(extauth_bridge_timeout=seconds)
    await FakeDaemon.start(nursery, site.socket)
    async with site.client() as client:
        started = trio.current_time()
        assert await client.plain("alice", right("alice")) == UNAVAILABLE
        assert seconds * 0.9 < trio.current_time() - started < seconds + 1
