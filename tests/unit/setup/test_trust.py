"""Who else could change what is run."""

import os
from pathlib import Path

import pytest

from bridge.setup.host import Host
from bridge.setup.trust import Trust


@pytest.fixture
def script(host: Host) -> Path:
    """`/opt/auth/lib/x.py`, which only its owner can change."""
    path = host.path("/opt/auth/lib/x.py")
    path.parent.mkdir(parents=True)
    path.write_text("")
    for entry in (path, *path.parents[:3]):
        entry.chmod(0o755)
    return path


def faults_of(host: Host, path: str) -> dict[str, str]:
    trust = Trust(host)
    trust.path(path)
    return trust.faults


def test_nothing_is_wrong_with_what_only_its_owner_can_change(host: Host, script: Path) -> None:
    assert faults_of(host, "/opt/auth/lib/x.py") == {}
    assert faults_of(host, "/opt/auth/lib/missing.py") == {}


@pytest.mark.parametrize("place", ["/opt/auth/lib/x.py", "/opt/auth/lib", "/opt/auth", "/opt"])
@pytest.mark.parametrize(
    ("mode", "who"), [(0o775, "the group "), (0o757, "everybody can write"), (0o1777, "everybody can write")]
)
def test_others_who_can_write_anywhere_on_the_way_are_found(
    host: Host, script: Path, place: str, mode: int, who: str
) -> None:
    host.path(place).chmod(mode)
    found = faults_of(host, "/opt/auth/lib/x.py")
    assert [*found] == [place]
    assert who in found[place]


def test_another_owner_is_found(host: Host, script: Path) -> None:
    found = faults_of(Host(host.root, os.geteuid() + 1), "/opt/auth/lib/x.py")
    assert [*found] == ["/", "/opt", "/opt/auth", "/opt/auth/lib", "/opt/auth/lib/x.py"]
    assert {why.partition(" to ")[0] for why in found.values()} == {"belongs"}


def test_an_owner_may_be_allowed_for_the_end_of_the_way(host: Host, script: Path) -> None:
    trust = Trust(Host(host.root, os.geteuid() + 1))
    trust.path("/opt/auth", owners=[os.geteuid()])
    assert [*trust.faults] == ["/", "/opt"]


def test_who_may_own_the_end_of_one_way_may_not_own_the_middle_of_another(host: Host, script: Path) -> None:
    """A working directory may be the service's own, but no program in it can be trusted then."""
    trust = Trust(Host(host.root, os.geteuid() + 1))
    trust.path("/opt/auth", owners=[os.geteuid()])
    trust.path("/opt/auth/x.py")
    assert "/opt/auth" in trust.faults


@pytest.mark.parametrize("link", ["/shared/x.py", "../../../shared/x.py", "/shared/hop"])
def test_links_are_followed_through_every_directory(host: Host, script: Path, link: str) -> None:
    shared = host.path("/shared")
    shared.mkdir()
    (shared / "x.py").write_text("")
    (shared / "hop").symlink_to("x.py")
    shared.chmod(0o777)
    script.unlink()
    script.symlink_to(link)
    assert [*faults_of(host, "/opt/auth/lib/x.py")] == ["/shared"]


def test_a_circle_of_links_ends(host: Host, script: Path) -> None:
    script.unlink()
    script.symlink_to("x.py")
    assert faults_of(host, "/opt/auth/lib/x.py") == {}


def test_a_tree_is_looked_at_as_a_whole(host: Host, script: Path) -> None:
    writable = host.path("/outside")
    writable.mkdir()
    writable.chmod(0o777)
    (script.parent / "link").symlink_to("/outside")
    script.chmod(0o666)
    trust = Trust(host)
    trust.tree("/opt")
    assert {*trust.faults} == {"/outside", "/opt/auth/lib/x.py"}


def test_what_the_service_cannot_get_at_is_found(host: Host, script: Path) -> None:
    trust = Trust(host)
    trust.usable("/opt/auth/lib/x.py")
    assert trust.faults == {}
    host.path("/opt/auth").chmod(0o750)
    trust.usable("/opt/auth/lib/x.py")
    assert [*trust.faults] == ["/opt/auth"]


def test_what_the_sandbox_hides_is_found(host: Host) -> None:
    path = host.path("/root/venv/bin/x")
    path.parent.mkdir(parents=True, mode=0o755)
    path.write_text("")
    host.path("/root").chmod(0o755)
    trust = Trust(host)
    trust.usable("/root/venv/bin/x")
    assert [*trust.faults] == ["/root"]
    assert "ProtectHome=" in trust.faults["/root"]
