"""One ejabberd and one bridge for all tests that ask both."""

import os
import random
from collections.abc import Iterator

import pytest
from support.ejabberd.questions import Maker
from support.ejabberd.site import BUNDLED, FAULTY, PERL, PHP, PYTHON, C, Outcome, Site
from support.ejabberd.walk import Walk

ROUNDS = 4
STEPS = 80
"""More than 2000 questions in all: each kind four times to each host, and steps of a walk."""


@pytest.fixture(scope="package")
def dice() -> random.Random:
    """A random generator whose seed is printed."""
    seed = int(os.environ.get("EXTAUTH_TEST_SEED") or random.SystemRandom().randrange(10**9))
    print(f"EXTAUTH_TEST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory, dice: random.Random) -> Iterator[tuple[Site, Walk]]:
    """Both, up, with the same users in the databases of the bundled program."""
    folder = tmp_path_factory.mktemp("witness")
    site = Site(folder)
    walk = Walk(dice, BUNDLED, *(str(side.database) for side in site.sides))
    try:
        yield site.start(folder), walk
        site.bridge.finish()
    finally:
        site.close()


@pytest.fixture(scope="package")
def outcomes(site: tuple[Site, Walk], dice: random.Random) -> list[Outcome]:
    """What both said to the same questions."""
    both, walk = site
    found = both.ask_all(Maker(dice, FAULTY).faults())
    for _ in range(ROUNDS):
        for host in (PYTHON, PERL, PHP, C):
            found += both.ask_all(Maker(dice, host).round(registrations=host == PYTHON))
    for _ in range(STEPS):
        found += both.ask_all(walk.step())
    return found
