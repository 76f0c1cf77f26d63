"""Any programs, clients and operator, step by step, and what must hold of the pool between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bridge.protocol.frames import DENIED, GRANTED
from support.inmemory.pools import made
from support.model.programs import FOREVER, Manner, Program, Trouble
from support.model.recovery import Recovery, end, hang, recover
from support.model.rules import Client
from support.model.site import Site
from support.model.workers import InMemory, Launch

SIZES = [(1, 1), (1, 3), (2, 2), (2, 4), (3, 6)]
MAX_REQUESTS, MAX_AGES = [0, 0, 0, 3, 20], [0, 0, 0, 20]
ANSWER_TIMEOUTS, START_TIMEOUTS = [4.0, 4.0, 2.0], [30.0, 8.0]
STARTUPS = [0.0, 0.0, 0.1, 0.6, 2.0, 5.0]
RECOVERIES = st.builds(
    Recovery, st.sampled_from([0.0, 0.1, 0.6, 2.0, 5.0]), st.sampled_from([0.3, 0.3, 1.0, 0.0]), st.booleans()
)

STARTS, TAKES = st.sampled_from([*STARTUPS, FOREVER]), st.sampled_from([0.01, 0.01, 0.0, 0.3, 1.2, 3.5])
HANGS = [Trouble.HANGS] * 5
TROUBLES = st.sampled_from([*HANGS, *Trouble])
MANNERS = st.builds(Manner, STARTS, TAKES, st.none() | TROUBLES, st.booleans())
PAUSES = st.sampled_from([0.001, 0.05, 0.1, 0.3, 1.0, 1.0, 4.0, 12.0])
STOPS = st.sampled_from([0.05, 0.3, 1.0, 4.0, 4.0])
SEEN_AFTER = st.sampled_from([0.0, 0.0, 0.0, None, None, 4.0])
"""Seconds after which the bridge sees what was done, as it was stopped; `None` if that is left to whatever is next."""

ADDRESSES = st.sampled_from(["", "192.0.2.1", "192.0.2.2", "2001:db8::1"])
ERRORS = [FileNotFoundError(2, "missing"), BlockingIOError(11, "busy"), MemoryError()]
KINDS = ["right", "right", "right", "wrong", "isuser", "setpass", "setpass", "poison", "again"]


CLIENTS = st.integers(0, 2)
SAYS = [GRANTED, DENIED, GRANTED * 2, b"\0", b"x\n"]


def _cannot_be_killed(program: Program) -> None:
    program.stays = program.held = True


def _hangs(program: Program) -> None:
    program.hung = True


DOES: dict[str, Callable[[Program], None]] = {
    "exits": lambda program: program.exit(1),
    "hangs": _hangs,
    "goes on": Program.go_on,
    "cannot be killed": _cannot_be_killed,
    "can be killed": Program.let_go,
}


def _leave(site: Site, error: Exception) -> None:
    for program in site.rules.alive:
        program.exit(1)


def _stall(site: Site, error: Exception) -> None:
    site.stalled = True


def _go_on(site: Site, error: Exception) -> None:
    site.stalled, site.start_error = False, None


def _fail_to_start(site: Site, error: Exception) -> None:
    site.start_error = error


WORLD: dict[str, Callable[[Site, Exception], None]] = {
    "leave": _leave,
    "stall": _stall,
    "hang": lambda site, _: hang(site),
    "start": _go_on,
    "fail to start": _fail_to_start,
}


class Machine(RuleBasedStateMachine):
    """One pool, and everybody around it."""

    launch: ClassVar[Launch] = InMemory

    site: Site
    how: Recovery

    @initialize(
        size=st.sampled_from(SIZES),
        max_requests=st.sampled_from(MAX_REQUESTS),
        max_age=st.sampled_from(MAX_AGES),
        answer_timeout=st.sampled_from(ANSWER_TIMEOUTS),
        start_timeout=st.sampled_from(START_TIMEOUTS),
        probe=st.sampled_from(["", "", "probe@h"]),
        startup=st.sampled_from(STARTUPS),
        recovery=RECOVERIES,
    )
    def begin(
        self,
        size: tuple[int, int],
        max_requests: int,
        max_age: int,
        answer_timeout: float,
        start_timeout: float,
        probe: str,
        startup: float,
        recovery: Recovery,
    ) -> None:
        settings = made(
            pool_size=size[0],
            pool_max=size[1],
            max_requests=max_requests,
            max_age=max_age,
            answer_timeout=answer_timeout,
            start_timeout=start_timeout,
            probe=probe,
            probe_interval=5,
        )
        self.how = recovery
        self.site = Site(settings, type(self).launch, Manner(startup))
        self.clients = [Client(self.site) for _ in range(3)]
        self.number = 0
        self.poison: list[bytes] = []

    # --- clients ---------------------------------------------------------------------------------------------

    def body(self, kind: str, trouble: Trouble) -> bytes:
        """A question of this kind; no two are alike, except for `isuser`, and for poison that is asked again."""
        self.number += 1
        n = self.number
        if kind == "again" and self.poison:
            return self.poison[n % len(self.poison)]
        if kind == "poison":
            self.poison.append(f"auth:poison-{trouble.name}-{n % 3}:h:hunter2-{n}".encode())
            return self.poison[-1]
        if kind == "isuser":
            return f"isuser:contact{n % 3}:h".encode()
        if kind == "setpass":
            return f"setpass:user{n % 9}:h:hunter2-{n}".encode()
        return f"auth:user{n % 9}:h:{kind}-hunter2-{n}".encode()

    @rule(
        client=CLIENTS,
        kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=5),
        more=st.lists(st.sampled_from(KINDS), max_size=2),
        trouble=TROUBLES,
        timeout=st.sampled_from([FOREVER, FOREVER, 1.0, 0.2]),
        address=ADDRESSES,
        seen_after=SEEN_AFTER,
    )
    def ask(
        self,
        client: int,
        kinds: list[str],
        more: list[str],
        trouble: Trouble,
        timeout: float,
        address: str,
        seen_after: float | None,
    ) -> None:
        """Ask these, and `more` from within their answers."""
        self.clients[client].more += [self.body(kind, trouble) for kind in more]
        self.site.ask(self.clients[client], [self.body(kind, trouble) for kind in kinds], timeout, address)
        self.goes_on(seen_after)

    @rule(kinds=st.lists(st.sampled_from(["right", "setpass"]), min_size=1, max_size=4), apart=st.booleans())
    def log_in(self, kinds: list[str], apart: bool) -> None:
        """So many people, each by a connection of their own, at the same time or one after the other."""
        for kind in kinds:
            self.site.ask(Client(self.site), [self.body(kind, Trouble.HANGS)])
            self.site.advance(0.05 if apart else 0.0)

    @rule(client=CLIENTS)
    def withdraw(self, client: int) -> None:
        self.site.withdraw(self.clients[client])
        self.site.settle()

    # --- programs --------------------------------------------------------------------------------------------

    @rule(manner=MANNERS)
    def start_like_this(self, manner: Manner) -> None:
        """From now on."""
        self.site.manner = manner

    @precondition(lambda self: self.site.rules.alive)
    @rule(which=st.integers(0, 9), change=TROUBLES | TAKES)
    def change(self, which: int, change: Trouble | float) -> None:
        """What goes wrong with a program's next question, or how long it takes."""
        program = self.chosen(which)
        if isinstance(change, Trouble):
            program.trouble = change
        else:
            program.manner = program.manner._replace(takes=change)

    @precondition(lambda self: self.site.rules.alive)
    @rule(which=st.integers(0, 9), what=st.sampled_from([*SAYS, *DOES]), seen_after=SEEN_AFTER)
    def does(self, which: int, what: bytes | str, seen_after: float | None) -> None:
        """Something at once: it says this whether it was asked or not, and even if it hangs otherwise."""
        program = self.chosen(which)
        if isinstance(what, bytes):
            program.say(what)
        else:
            DOES[what](program)
        self.goes_on(seen_after)

    def chosen(self, which: int) -> Program:
        alive = self.site.rules.alive
        return alive[which % len(alive)]

    @rule(what=st.sampled_from([*WORLD]), error=st.sampled_from(ERRORS))
    def all_at_once(self, what: str, error: Exception) -> None:
        WORLD[what](self.site, error)
        self.site.settle()

    # --- time, and the operator ------------------------------------------------------------------------------

    @rule(seconds=PAUSES)
    def wait(self, seconds: float) -> None:
        self.site.advance(seconds)

    @rule(seconds=STOPS, lag=st.integers(1, 4))
    def stop(self, seconds: float, lag: int) -> None:
        """The bridge, for a while; afterwards it is slow."""
        self.site.lag = lag
        self.site.stop(seconds)

    @rule(answer_timeout=st.sampled_from([1.0, 2.0, 4.0]))
    def reload(self, answer_timeout: float) -> None:
        self.site.reload(answer_timeout)
        self.site.settle()

    def goes_on(self, seen_after: float | None) -> None:
        """The bridge sees what has happened, or does not do so yet."""
        if seen_after:
            self.site.stop(seen_after)
        elif seen_after is not None:
            self.site.settle()

    # --- the end ---------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "site"):
            return
        try:
            recover(self.site, self.how)
            end(self.site)
        finally:
            self.site.close()
