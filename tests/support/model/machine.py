"""Any programs, clients and operator, step by step, and what must hold of the pool between them."""

from __future__ import annotations

from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support.inmemory.pools import made
from support.model.programs import FOREVER, Manner, Program, Trouble
from support.model.recovery import Recovery, end, recover
from support.model.rules import Client
from support.model.site import Site
from support.model.workers import InMemory, Launch

from bridge.protocol.frames import DENIED, GRANTED

SIZES = [(1, 1), (1, 3), (2, 2), (2, 4), (3, 6)]
MAX_REQUESTS, MAX_AGES = [0, 0, 0, 3, 20], [0, 0, 0, 20]
ANSWER_TIMEOUTS, START_TIMEOUTS = [4.0, 4.0, 2.0], [30.0, 8.0]
STARTUPS = [0.0, 0.0, 0.1, 0.6, 2.0, 5.0]
STARTS = st.sampled_from([*STARTUPS, FOREVER])
TAKES = st.sampled_from([0.01, 0.01, 0.0, 0.3, 1.2, 3.5])
TROUBLES = st.sampled_from(Trouble)
PAUSES = st.sampled_from([0.0, 0.001, 0.05, 0.1, 0.3, 1.0, 1.0, 4.0, 12.0])
ADDRESSES = st.sampled_from(["", "192.0.2.1", "192.0.2.2", "2001:db8::1"])
ERRORS = st.sampled_from([FileNotFoundError(2, "missing"), BlockingIOError(11, "busy"), MemoryError()])
KINDS = ["right", "right", "right", "wrong", "isuser", "setpass", "poison", "again"]


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
        recovery=st.builds(Recovery, st.sampled_from([0.0, 0.1, 0.6, 2.0, 5.0]), st.sampled_from([0.3, 0.3, 1.0, 0.0])),
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
        """A question of this kind; no two of them are alike, except for `isuser`, and for what is asked again."""
        self.number += 1
        n = self.number
        if kind == "again" and self.poison:
            return self.poison[n % len(self.poison)]
        if kind == "poison":
            self.poison.append(f"auth:poison-{trouble.name}-{n % 3}:h:s3cr3t-{n}".encode())
            return self.poison[-1]
        if kind == "isuser":
            return f"isuser:user{n % 3}:h".encode()
        if kind == "setpass":
            return f"setpass:user{n % 3}:h:s3cr3t-{n}".encode()
        return f"auth:user{n % 3}:h:{'wrong' if kind == 'wrong' else 'right'}-s3cr3t-{n}".encode()

    @rule(
        client=st.integers(0, 2),
        kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=5),
        trouble=TROUBLES,
        timeout=st.sampled_from([FOREVER, FOREVER, 1.0, 0.2]),
        address=ADDRESSES,
    )
    def ask(self, client: int, kinds: list[str], trouble: Trouble, timeout: float, address: str) -> None:
        bodies = [self.body(kind, trouble) for kind in kinds]
        self.site.ask(self.clients[client], bodies, timeout, address)
        self.site.settle()

    @rule(client=st.integers(0, 2), kind=st.sampled_from(KINDS), trouble=TROUBLES)
    def ask_when_answered(self, client: int, kind: str, trouble: Trouble) -> None:
        self.clients[client].more.append(self.body(kind, trouble))

    @rule(client=st.integers(0, 2))
    def withdraw(self, client: int) -> None:
        self.site.withdraw(self.clients[client])
        self.site.settle()

    # --- programs --------------------------------------------------------------------------------------------

    @rule(manner=st.builds(Manner, STARTS, TAKES, st.none() | TROUBLES, st.booleans()))
    def start_like_this(self, manner: Manner) -> None:
        """From now on."""
        self.site.manner = manner

    @rule(error=st.none() | ERRORS)
    def starts_fail(self, error: Exception | None) -> None:
        self.site.start_error = error

    def chosen(self, which: int) -> Program:
        alive = self.site.rules.alive
        return alive[which % len(alive)]

    @precondition(lambda self: self.site.rules.alive)
    @rule(which=st.integers(0, 9), trouble=TROUBLES)
    def trouble(self, which: int, trouble: Trouble) -> None:
        """With a program's next question."""
        self.chosen(which).trouble = trouble

    @precondition(lambda self: self.site.rules.alive)
    @rule(which=st.integers(0, 9), takes=TAKES)
    def takes(self, which: int, takes: float) -> None:
        """From its next question on."""
        program = self.chosen(which)
        program.manner = program.manner._replace(takes=takes)

    @precondition(lambda self: self.site.rules.alive)
    @rule(which=st.integers(0, 9), data=st.sampled_from([GRANTED, DENIED, GRANTED, b"\0", b"x\n", GRANTED * 2]))
    def says(self, which: int, data: bytes) -> None:
        """At once, whether it was asked or not, and even if it hangs otherwise."""
        self.chosen(which).say(data)
        self.site.settle()

    @precondition(lambda self: self.site.rules.alive)
    @rule(which=st.integers(0, 9), what=st.sampled_from(["exit", "hang", "go on"]))
    def does(self, which: int, what: str) -> None:
        program = self.chosen(which)
        if what == "exit":
            program.exit(1)
        elif what == "hang":
            program.hung = True
        else:
            program.go_on()
        self.site.settle()

    @precondition(lambda self: self.site.rules.alive)
    @rule(which=st.integers(0, 9), held=st.booleans())
    def cannot_be_killed(self, which: int, held: bool) -> None:
        program = self.chosen(which)
        program.stays = True
        if held:
            program.held = True
        else:
            program.let_go()
        self.site.settle()

    @rule()
    def all_leave(self) -> None:
        """As when their database is restarted."""
        for program in self.site.rules.alive:
            program.exit(1)
        self.site.settle()

    @rule(stalled=st.booleans())
    def stall(self, stalled: bool) -> None:
        self.site.stalled = stalled

    # --- time, and the operator ------------------------------------------------------------------------------

    @rule(seconds=PAUSES)
    def wait(self, seconds: float) -> None:
        self.site.advance(seconds)

    @rule(seconds=PAUSES)
    def stop(self, seconds: float) -> None:
        """The bridge, for a while."""
        self.site.stop(seconds)

    @rule(lag=st.integers(1, 4))
    def lag(self, lag: int) -> None:
        self.site.lag = lag

    @rule(answer_timeout=st.sampled_from([1.0, 2.0, 4.0]))
    def reload(self, answer_timeout: float) -> None:
        self.site.reload(answer_timeout)
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
