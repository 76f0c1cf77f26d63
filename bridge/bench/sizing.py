"""When to stop trying more programs, and which `pool_size` follows from what was measured.

  - The rate grows as long as twice the programs answer a tenth more.
  - A size at which a hundredth of the queries fail is not recommended.
  - For so many queries a second: the smallest size at which programs work for at most four fifths of the time, and
    99 of 100 queries wait no longer than a moment for a program.  Between two sizes that were measured the rate is
    taken to grow evenly; how long queries wait follows from Erlang's formula for random arrivals.
  - At least two programs, if there may be two: one slow query, or a renewal, must not hold up everybody.

No I/O.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Sequence

import attrs

from bridge.bench.phases import Sized

GROWTH = 0.1
"""Part by which the rate grows, at least, with twice the programs: less is within what two measurements differ by."""

BUSY = 0.8
"""Share of the time in which programs should work at most: with random arrivals, waits grow without bound towards 1."""

_FAILED = 0.01

_WAIT = 0.5
"""Seconds that 99 of 100 queries should wait for a program at most: a login that takes a second is noticed."""

_SATURATED = 0.9
_PART = 0.2
"""The CPUs are to blame that more programs answer no more if they are busy for this share of the time, and the programs
(with the bridge) not only for a small part of it."""

QUESTIONS = 2
"""Of a login: an `auth`, and one `isuser` for what comes with it (offline messages, a contact's presence)."""

_LEFT = 4
"""Part of the memory available at first that is to be left."""


class Stop(enum.Enum):
    """Why no more programs were tried."""

    GROWTH = "no growth"
    MOST = "most"
    MEMORY = "memory"
    TROUBLE = "trouble"
    INTERRUPTED = "interrupted"


@attrs.frozen
class Advice:
    """What follows.

    Attributes:
      pool_size: the one recommended; `None` if no size was any good.
      enough: it is enough for what was asked; true if nothing was.
      sentences: why, for people.
    """

    pool_size: int | None
    enough: bool
    sentences: tuple[str, ...]


def sizes(most: int) -> Iterator[int]:
    """1, 2, 4 and so on, and at last `most`."""
    size = 1
    while size < most:
        yield size
        size *= 2
    yield most


def has_grown(before: Sized, now: Sized) -> bool:
    """Whether the rate is still growing with the number of programs."""
    more = now.programs / before.programs - 1
    return now.closed.rate >= before.closed.rate * (1 + GROWTH * more)


def fits(last: Sized, programs: int, available: int) -> bool:
    """Whether so many programs leave enough of the memory that was available before any was started; 0: unknown."""
    return not available or last.memory / last.programs * programs <= available * (1 - 1 / _LEFT)


def advise(measured: Sequence[Sized], stop: Stop, needed: float, alone: bool) -> Advice:
    """Recommend a size.

    Args:
      measured: at least one.
      needed: queries a second; 0: as many as possible.
      alone: there must be one program only.
    """
    good = [size for size in measured if _is_good(size)]
    if not good:
        return Advice(None, False, ("Too many queries failed, whatever the number of programs.",))
    least = 1 if alone else 2
    best = max(good, key=lambda size: size.closed.rate)
    limit = _limit(measured, good, stop)
    if not needed:
        first = next(size for size in good if size.closed.rate * (1 + GROWTH) >= best.closed.rate)
        answer = f"{_answer(first.programs, first.closed.rate)}."
        fewer = (_FEWER,) if first.programs > least else ()
        return Advice(max(least, first.programs), True, (answer, limit, *_spare(first.programs, least), *fewer))
    for programs in range(1, good[-1].programs + 1):
        if _is_enough(good, programs, needed):
            size = max(least, programs)
            limits = (limit,) if stop is Stop.GROWTH or measured[-1] not in good else ()
            return Advice(size, True, (_use(good, size, needed), *_spare(programs, least), *limits))
    most = f"{_answer(best.programs, best.closed.rate)}, so {number(best.closed.rate * BUSY)} are the most to rely on"
    return Advice(max(least, best.programs), False, (f"That is not enough: {most}.", limit))


_FEWER = "Fewer are enough for fewer logins: --logins-per-second N tells how many."


def _is_good(size: Sized) -> bool:
    return size.closed.answers > 0 and size.closed.failed <= _FAILED * (size.closed.answers + size.closed.failed)


def _is_enough(good: Sequence[Sized], programs: int, needed: float) -> bool:
    size = next(size for size in good if size.programs >= programs)
    at_rate = size.at_rate
    if size.programs == programs and at_rate is not None and at_rate.failed > _FAILED * at_rate.answers:
        return False
    rate = rate_of(good, programs)
    longest = max(_WAIT, size.closed.p99)
    return needed <= BUSY * rate and wait(programs, rate / programs, needed) <= longest


def rate_of(measured: Sequence[Sized], programs: int) -> float:
    """Queries a second that so many programs answer, at most the largest number measured."""
    known = {0: 0.0} | {size.programs: size.closed.rate for size in measured}
    above = min(number for number in known if number >= programs)
    if above == programs:
        return known[programs]
    below = max(number for number in known if number < programs)
    return known[below] + (known[above] - known[below]) * (programs - below) / (above - below)


def wait(programs: int, each: float, needed: float) -> float:
    """Seconds that 99 of 100 queries wait for a program at most, by Erlang's formula (M/M/c).

    Args:
      each: queries a second that one program answers.
      needed: queries a second that are asked, at random times.
    """
    spare = programs * each - needed
    if spare <= 0:
        return math.inf
    load = needed / each
    blocked = 1.0  # Erlang B, one more program in each round: without factorials
    for number in range(1, programs + 1):
        blocked = load * blocked / (number + load * blocked)
    waits = blocked / (1 - load / programs * (1 - blocked))
    return max(0.0, math.log(waits / 0.01) / spare) if waits > 0 else 0.0


def number(value: float) -> str:
    """A positive number for people: three digits, or more if there are more before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _use(good: Sequence[Sized], programs: int, needed: float) -> str:
    """How much of their time so many programs use, and how long queries wait for them."""
    rate = rate_of(good, min(programs, good[-1].programs))
    waits = max(1.0, wait(programs, rate / programs, needed) * 1000)
    use = f"{_answer(programs, rate)}, so {needed / rate:.0%} of their time is used"
    return f"{use}, and 99 of 100 queries wait less than {number(waits)} ms for a program."


def _spare(enough: int, least: int) -> tuple[str, ...]:
    """Why more are recommended than are enough, if so."""
    if enough >= least:
        return ()
    return ("One would do; with two, a slow query or a program being replaced holds up nobody.",)


def _limit(measured: Sequence[Sized], good: Sequence[Sized], stop: Stop) -> str:
    """Why more programs would not help, or were not tried."""
    last = measured[-1]
    if last not in good:
        return f"With {_programs(last.programs)}, too many queries failed."
    if stop is Stop.GROWTH:
        return _why_no_growth(measured)
    return {
        Stop.MOST: f"More than {last.programs} were not tried (--max-pool).",
        Stop.MEMORY: "More programs would need too much of the memory that is available.",
        Stop.TROUBLE: f"More than {last.programs} could not be measured.",
    }.get(stop, f"More than {last.programs} were not tried.")


def _why_no_growth(measured: Sequence[Sized]) -> str:
    before, last = measured[-2:]
    hardly = f"{_programs(last.programs)} answer hardly more than {before.programs}"
    if last.cpu_of_all >= _SATURATED and last.cpu >= _PART:
        return f"{hardly}: the CPUs are busy."
    idle = f"although they and the bridge use only {last.cpu:.0%} of the CPUs"
    return f"{hardly}, {idle}: they wait for each other, or for the same thing (a lock, a server)."


def _answer(programs: int, rate: float) -> str:
    return f"{_programs(programs)} answer{'s' if programs == 1 else ''} {number(rate)} queries a second"


def _programs(count: int) -> str:
    return "1 program" if count == 1 else f"{count} programs"
