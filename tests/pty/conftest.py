"""Fixtures of the tests on a pty."""

from collections.abc import Iterator

import pytest
from support.pty.site import Site
from support.pty.site import site as new_site


@pytest.fixture
def site() -> Iterator[Site]:
    """A configuration, programs and clients of one test; checked and cleared away at its end."""
    with new_site() as place:
        yield place
