"""When the cause of all trouble is gone, so is the effect: the rule, and how long it may take.

From then on every program behaves, and so does every one that is started; but those that hang with a question hang on.
Whoever asks `bound` seconds later, or after that, is granted.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import attrs

from bridge.protocol.query import Query, Verdict
from support.model.programs import Manner, Trouble
from support.model.rules import Client
from support.model.site import Site

_numbers = itertools.count()

_AFTER_READY = 1.0
"""Seconds from when new programs are ready: what AVAILABILITY.md promises."""

_SLACK = 0.5
"""Seconds: rounds are 0.1 s apart, and the rate of starts is limited to 20 a second."""

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 30.0
"""Seconds between starts, after one failure and at most."""

_QUICK = 0.5
"""Seconds: a start that takes longer than that may be taken for a program that hangs, once, if starts were quick."""

_GRACE = 1.0
"""Seconds that others have been answered for, until a program that hangs is killed."""


_ROOMY = 2.0
"""Seconds of `answer_timeout`, at least: for a burst whose questions are thought to take as long as the one before."""

_A_WHILE = 1.0
"""Seconds: what hangs is stuck by then, and spares have been started."""

_STOP_GRACE = 2.0
"""Seconds from SIGTERM until a program that ignores it is gone, and more."""


class Recovery(NamedTuple):
    """How it goes on when the cause is gone.

    Attributes:
      startup: seconds that programs need to start from now on.
      pause: seconds between questions meanwhile; 0 if nobody asks anything.
      hang: before that, as the last trouble, programs hang with a question, as many as there may be.
    """

    startup: float
    pause: float
    hang: bool


def bound(site: Site, startup: float) -> float:
    """Seconds until everybody is granted: for what hangs to be noticed, the back-off, a start, and a second."""
    settings, hung = site.pool.settings, [program for program in site.rules.alive if program.hung]
    busy = [program.up_at - site.now for program in site.rules.alive if not program.hung]
    seconds = max([0.0, *busy]) + startup + _AFTER_READY + _SLACK
    if any(not program.proven for program in hung):
        seconds += settings.start_timeout
    elif hung:
        seconds += settings.answer_timeout + _GRACE
    if startup > _QUICK:
        seconds += settings.answer_timeout + startup
    failures = site.rules.failures_in_a_row()
    if failures:
        seconds += min(_FIRST_DELAY * 2.0**failures, _LONGEST_DELAY)
    return seconds


def recover(site: Site, how: Recovery) -> None:
    """Have the cause of all trouble be gone, and see that the effect goes, too."""
    if how.hang:
        hang(site)
        site.advance(_A_WHILE)
    _behave(site, how)
    seconds = bound(site, how.startup)
    until = site.now + seconds
    while how.pause and site.now < until:
        _ask(site, 1)
        site.advance(min(how.pause, max(0.0, until - site.now)))
    site.advance(max(0.0, until - site.now))
    asked: list[Query] = []
    for number in range(1, 5):
        asked += _ask(site, number)
        site.advance(0.3)
    site.advance(site.pool.settings.answer_timeout)
    granted = sum(query.verdict is Verdict.GRANTED for query in asked)
    assert granted == len(asked), f"only {granted} of {len(asked)} are granted, {seconds:.1f} s later"


def hang(site: Site) -> None:
    """Have as many questions as there may be programs make all of these hang, if they are asked."""
    for program in site.rules.alive:
        program.trouble = Trouble.HANGS
    _ask(site, site.pool.program.pool_max)


def end(site: Site) -> None:
    """Stop everything: nobody waits for an answer, and no program runs."""
    site.stepped.nursery.start_soon(site.supervisor.stop)
    site.advance(site.pool.settings.shutdown_grace + _STOP_GRACE)
    assert not site.rules.open, "queries are never settled"
    assert not site.rules.alive, "programs are left"


def _behave(site: Site, how: Recovery) -> None:
    site.stalled, site.poisonous, site.start_error, site.lag = False, False, None, 1
    site.manner = Manner(how.startup)
    site.reload(max(_ROOMY, site.pool.settings.answer_timeout))
    if site.pool.program.pool_max == 1:  # whose renewals are outages, as long as a start
        site.pool.settings = attrs.evolve(site.pool.settings, max_requests=0, max_age=0)
    for program in site.rules.alive:
        program.behave()


def _ask(site: Site, number: int) -> list[Query]:
    """So many people at once, whom nobody has seen before."""
    return site.ask(Client(site), [b"auth:new%d:h:right-hunter2" % next(_numbers) for _ in range(number)])
