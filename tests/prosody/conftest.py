"""One Prosody for the tests of a file, and a virtual host for each of them."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.components import missing
from support.prosody.elsewhere import thirteen
from support.prosody.running import running
from support.prosody.server import Prosody
from support.prosody.site import Site
from support.prosody.site import site as new_site


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A file's PROSODIES are those that its tests run with: this machine's, unless it says so, or Debian 13's."""
    if "prosody" in metafunc.fixturenames:
        wanted = getattr(metafunc.module, "PROSODIES", ["here"])
        slow = {"13": pytest.mark.slow}  # it has to be downloaded
        every = [pytest.param(one, marks=slow.get(one, ())) for one in wanted]
        metafunc.parametrize("prosody", every, indirect=True, scope="module")


@pytest.fixture(scope="module")
def prosody(request: pytest.FixtureRequest) -> Iterator[Prosody]:
    """The Prosody of a file's tests.  Not of all files: it would be there until the session's end, a child of ours.

    With EXTAUTH_TEST_PROSODY_SYSTEM it is that Debian's instead: how to try yet another version.
    """
    other = os.environ.get("EXTAUTH_TEST_PROSODY_SYSTEM")
    with running(system=Path(other) if other else thirteen() if request.param == "13" else None) as server:
        yield server


@pytest.fixture(scope="module", params=["select", "event"])
def other_prosody(request: pytest.FixtureRequest) -> Iterator[Prosody]:
    """One whose main loop waits in another way, for the tests of one file."""
    if request.param == "event" and not glob.glob("/usr/lib/*/lua/5.4/luaevent/core.so"):
        missing("luaevent", "lua-event")
    with running(request.param) as server:
        yield server


@pytest.fixture
def other_backend_site(other_prosody: Prosody) -> Iterator[Site]:
    """A host of this test's own on it."""
    with new_site(other_prosody) as place:
        yield place


@pytest.fixture
def site(prosody: Prosody) -> Iterator[Site]:
    """A host of this test's own, checked and cleared away at its end."""
    with new_site(prosody) as place:
        yield place


@pytest.fixture
def another_site(prosody: Prosody) -> Iterator[Site]:
    """A second host of the same test."""
    with new_site(prosody) as place:
        yield place
