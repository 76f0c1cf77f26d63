"""The bridge, installed by the documented commands on a machine of a file's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine.machine import Machine
from support.machine.root import debian_root
from support.machine.site import PASSWORD, Site


@pytest.fixture(scope="module")
def root() -> Path:
    """What is booted; a file may have one of its own."""
    return debian_root()


@pytest.fixture(scope="module")
def installed(root: Path) -> Iterator[Site]:
    """The first steps of the recommended way, until Prosody comes into it."""
    with Machine(root) as machine:
        site = Site(machine)
        site.install()
        yield site


@pytest.fixture
def site(installed: Site) -> Iterator[Site]:
    """The installed bridge as it was in the beginning; nothing of its passwords may get into the log."""
    installed.reset()
    yield installed
    log = installed.machine.run("journalctl --sync; journalctl --no-pager").stdout
    assert PASSWORD not in log
    assert "Traceback" not in log
