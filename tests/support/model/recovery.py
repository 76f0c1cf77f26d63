"""When the cause of all trouble is gone, so is the effect: the rule, and how long it may take.

From then on every program behaves, and so does every one that is started; but those that hang with a question hang on.
Whoever asks `bound` seconds later, or after that, is granted.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs
from support.model.programs import FOREVER, Manner
from support.model.rules import Client
from support.model.site import Site

from bridge.protocol.query import Verdict

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


class Recovery(NamedTuple):
    """How it goes on when the cause is gone.

    Attributes:
      startup: seconds that programs need to start from now on.
      pause: seconds between questions meanwhile; 0 if nobody asks anything.
    """

    startup: float
    pause: float


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
    """Have the cause of all trouble be gone, and see that the effect goes."""
    site.stalled, site.poisonous, site.start_error, site.lag = False, False, None, 1
    site.manner = Manner(how.startup)
    if site.pool.program.pool_max == 1:  # whose renewals are outages, as long as a start
        site.pool.settings = attrs.evolve(site.pool.settings, max_requests=0, max_age=0)
    for program in site.rules.alive:
        program.behave()
    until = site.now + bound(site, how.startup)
    number = 0
    while how.pause and site.now < until:
        number += 1
        site.ask(Client(site), [b"auth:meanwhile%d:h:right-s3cr3t" % number])
        site.advance(min(how.pause, max(0.0, until - site.now)))
    site.advance(max(0.0, until - site.now))
    asked = []
    for number in range(4):
        asked += site.ask(Client(site), [b"auth:after%d-%d:h:right-s3cr3t" % (number, n) for n in range(1 + number)])
        site.advance(0.3)
    site.advance(site.pool.settings.answer_timeout)
    verdicts = [query.verdict for query in asked]
    assert set(verdicts) == {Verdict.GRANTED}, f"not granted {bound(site, how.startup)} s later: {verdicts}"


def end(site: Site) -> None:
    """Stop everything; nothing is left open, nor running, but what the kernel does not let go."""
    site.stepped.nursery.start_soon(site.supervisor.stop)
    site.advance(site.pool.settings.shutdown_grace + 2.0)
    assert not site.rules.open, "queries are never settled"
    assert not site.rules.alive, "programs are left"
    _ = FOREVER
