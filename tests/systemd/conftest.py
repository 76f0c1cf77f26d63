"""The bridge, installed by the documented commands on a machine of a file's own."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine.machine import Machine
from support.machine.root import debian_root
from support.machine.site import PASSWORD, Site

# Seconds for all machines of a test run together, downloads included. Usual are two minutes, and two more for the
# first run.
ALL = 290


@pytest.fixture(scope="session")
def end() -> float:
    """When the last machine is to be gone; counted from the first test that wants one."""
    return time.monotonic() + ALL


@pytest.fixture(scope="module")
def root(end: float) -> Path:
    """What is booted; a file may have one of its own."""
    return debian_root()


@pytest.fixture(scope="module")
def installed(root: Path, end: float) -> Iterator[Site]:
    """The first steps of the recommended way, until Prosody comes into it."""
    with Machine(root, lifetime=end - time.monotonic()) as machine:
        site = Site(machine)
        site.install()
        yield site


@pytest.fixture
def site(installed: Site) -> Iterator[Site]:
    """The installed bridge as it was in the beginning; nothing of its passwords may get into the log."""
    installed.reset()
    yield installed
    log = installed.machine.run("journalctl --no-pager").stdout
    assert PASSWORD not in log
    assert "Traceback" not in log
