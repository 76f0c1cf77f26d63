"""Where Prosody looks for modules."""

import pytest

from bridge.setup.host import Host
from bridge.setup.prosody import DEBIAN, Plugins, naming, plugins


def configure(host: Host, text: str, name: str = "prosody.cfg.lua") -> None:
    path = host.path("/etc/prosody") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("text", "debian", "found"),
    [
        ("", True, Plugins(DEBIAN, True)),
        ("", False, Plugins(DEBIAN, False)),
        ('plugin_paths = { "/srv/prosody/modules/" }', False, Plugins("/srv/prosody/modules", True)),
        ('  plugin_paths = {"/a"; "/b"} -- both', False, Plugins("/a", True)),
        ('plugin_paths = {\n  "/a",\n  "/b",\n}\nx = { "/c" }', False, Plugins("/a", True)),
        ('plugin_paths = "/a"', False, Plugins("/a", True)),
        ('plugin_paths = { "/usr/lib/prosody/modules" }', False, Plugins(DEBIAN, False)),
        ('plugin_paths = { "/srv/prosody/modules" }', True, Plugins(DEBIAN, True)),
        ('-- plugin_paths = { "/srv/prosody/modules" }', False, Plugins(DEBIAN, False)),
    ],
)
def test_a_directory_that_is_searched_is_found(host: Host, text: str, debian: bool, found: Plugins) -> None:
    configure(host, text)
    if debian:
        host.path("/usr/lib/prosody").mkdir(parents=True)
    assert plugins(host) == found


def test_no_prosody_is_told(host: Host) -> None:
    assert plugins(host) == Plugins(DEBIAN, None)


SAID = """
# Prosody directories
Source directory:   /usr/lib/prosody
Plugin directories:
  /var/lib/prosody/custom_plugins - not a directory!
{more}  /usr/lib/prosody/modules/

# Operating system
  /no/more
"""


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ("  /usr/local/lib/prosody/modules - not a directory!\n", Plugins(DEBIAN, True)),
        ("  /srv/modules/\n  /usr/local/lib/prosody/modules\n", Plugins(DEBIAN, True)),
        ("  /srv/modules/\n", Plugins("/srv/modules", True)),
        ("", Plugins(DEBIAN, False)),
    ],
)
def test_what_prosody_says_counts(monkeypatch: pytest.MonkeyPatch, more: str, found: Plugins) -> None:
    monkeypatch.setattr(Host, "asked", lambda *_: SAID.format(more=more).splitlines())
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    assert plugins(Host()) == found


def test_files_that_name_the_module_are_found(host: Host) -> None:
    configure(host, '-- authentication = "extauth_bridge"\nauthentication = "internal_hashed"\n')
    configure(host, "VirtualHost 'a'\n  authentication = 'extauth_bridge'\n", "conf.d/a.cfg.lua")
    assert naming(host) == ["/etc/prosody/conf.d/a.cfg.lua"]
