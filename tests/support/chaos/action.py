"""What an action is."""

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import trio

from support.chaos.people import Harm, People
from support.chaos.site import Site


@dataclass(frozen=True)
class Scenery:
    """Where an action takes place.

    Attributes:
      dice: its own, so that what it does depends on nothing but the seed and its number.
      nursery: for what it has others do meanwhile; cancelled with it.
      together: something else happens at the same time.
    """

    site: Site
    people: People
    dice: random.Random
    nursery: trio.Nursery
    together: bool


def always(_site: Site) -> str:
    """Nothing is missing anywhere."""
    return ""


@dataclass(frozen=True)
class Action:
    """One kind of trouble.

    Attributes:
      title: what happens, for whoever reads the table.
      act: begins it when it is entered, and undoes it when it is left.
      harm: what it may do to others.
      hold: seconds that it lasts.
      operator: it is an operator's; two of these never happen at once.
      missing: what it needs and this machine does not have; empty if all is there.
    """

    name: str
    title: str
    act: Callable[[Scenery], AbstractAsyncContextManager[None]]
    harm: Harm = field(default_factory=Harm)
    hold: float = 1.5
    operator: bool = False
    missing: Callable[[Site], str] = always
