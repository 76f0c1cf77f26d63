"""One bad login, one slow start, one mistake: nobody else is put out, and when the cause is gone, so is the effect.

Scenes of `tests/benchmarks/availability.py`, shorter, and as far as that does not change their meaning in less time.
What they are about, and what must hold, is said where they are: `support.availability`.
"""

import pytest
from support.availability.catalogue import play_all
from support.availability.stage import Tempo
from support.availability.verdict import Result

pytestmark = pytest.mark.slow

_TOGETHER = 3
"""Scenes side by side.  They wait most of the time, but some are measured in tenths of a second."""

_QUICK = Tempo(scale=0.25, length=0.45, leave=0.03)
"""A start-up of 1.5 s and a second to answer: the same as 6 and 4."""

_SHORT = Tempo(length=0.15, leave=0.03)
"""In real time, since what is far longer than usual does not scale; but for 9 s only."""

_OPERATED = Tempo(length=0.4, leave=0.03)

_STARTING = ["renewal-even-idle-auth", "renewal-random-busy-mix", "leaves", "stall-6-plain", "stall-6-tagged"]
_HANGING = ["retry-tagged-2", "retry-tagged-16", "retry-plain-2", "exit-one-slow-plain"]
_HANGING += ["hang-one-plain", "hang-one-tagged", "hang-one-secrets-tagged"]
_HANGING += ["hang-many-plain", "hang-many-tagged", "hang-everywhere-tagged"]
_HANGING += ["exit-one-plain", "exit-one-tagged", "exit-one-secrets-tagged"]
_HANGING += ["exit-many-plain", "exit-many-tagged", "exit-everywhere-tagged"]
_HANGING += ["victim-plain-secrets", "victim-tagged"]
_CROWDED = ["burst-known", "burst-first", "contacts-plain", "contacts-tagged", "reconnect-plain", "reconnect-tagged"]
_CROWDED += ["auth-first-plain", "auth-first-tagged", "auth-first-in-order"]
_MISTAKES = ["reload-command-missing", "reload-command-stillborn", "reload-signal-missing", "reload-signal-stillborn"]
_MISTAKES += ["crash-start", "crash-work"]

TEMPOS = {
    **dict.fromkeys([*_STARTING, "stall-20-plain"], _QUICK),
    **dict.fromkeys([*_HANGING, *_CROWDED], _SHORT),
    "hang-once": Tempo(length=0.3, leave=0.03),
    **dict.fromkeys(["overload", "overload-spares"], Tempo(scale=0.5, length=0.4, leave=0.15)),
    "reload-slow-probe": Tempo(scale=0.5, length=0.4, leave=0.03),
    **dict.fromkeys(_MISTAKES, _OPERATED),
    "unkillable": Tempo(scale=0.25, leave=0.03),
}


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> dict[str, Result]:
    """Of all scenes that this run asks for."""
    selected = [item for item in request.session.items if isinstance(item, pytest.Function)]
    names = [item.callspec.params["scene"] for item in selected if item.function is test_what_must_hold]
    return play_all({name: TEMPOS[name] for name in names}, _TOGETHER, told=lambda _: None)


@pytest.mark.parametrize("scene", TEMPOS)
def test_what_must_hold(scene: str, results: dict[str, Result]) -> None:
    result = results[scene]
    assert result.state == "holds", f"{result.title}: {result.state} ({'; '.join(result.said)}; {result.others})"
