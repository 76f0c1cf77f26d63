"""How file, options and the program after `--` are merged into one Settings."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from bridge.config.load import defaults, load
from bridge.config.settings import ConfigError, Settings

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file and return its path."""

    def write(text: str | bytes, name: str = "auth.toml") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def argv(settings: Settings) -> tuple[str, ...]:
    assert settings.program is not None
    return settings.program.argv


# --- the program, and what it is relative to


def test_the_later_program_wins(write: Write) -> None:
    file = write('program = "/in/file"')
    assert argv(load(file, {})) == ("/in/file",)
    assert argv(load(file, {"program": "/as/option x"})) == ("/as/option", "x")
    assert argv(load(file, {"program": "/as/option x"}, ["/after/dashes", "-x", ""])) == ("/after/dashes", "-x", "")
    assert argv(load(None, {}, ["/after/dashes"])) == ("/after/dashes",)


@pytest.mark.parametrize(
    ("given", "below"),
    [("./p", "p"), ("x/p", "x/p"), (".//p", "p"), ("././p", "p"), ("../p", "../p"), ("x/./p", "x/./p")],
)
def test_a_relative_program(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str, below: str
) -> None:
    file = write(f'program = ["{given}", "./y"]\n[hosts.h]\nprogram = "{given} z"', "etc/auth.toml")
    in_file = load(file, {})
    assert argv(in_file) == (f"{tmp_path}/etc/{below}", "./y")
    assert in_file.hosts["h"].argv == (f"{tmp_path}/etc/{below}", "z")

    current = tmp_path / "current"
    current.mkdir()
    monkeypatch.chdir(current)
    assert load(os.path.relpath(file), {}) == in_file
    assert argv(load(file, {"program": given})) == (f"{current}/{below}",)
    assert argv(load(file, {}, [given])) == (f"{current}/{below}",)
    assert load(file, {"hosts": [f"h={given}"]}).hosts["h"].argv == (f"{current}/{below}",)


def test_a_bare_name_is_left_for_path_and_nothing_needs_to_exist(write: Write) -> None:
    assert argv(load(write('program = "php x.php"'), {})) == ("php", "x.php")
    assert argv(load(write('program = "/not/there"'), {})) == ("/not/there",)


def test_a_current_directory_that_is_gone(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert argv(load(None, {}, ["name"])) == ("name",)
    assert argv(load(write('program = "./p"'), {})) == (f"{tmp_path}/p",)
    with pytest.raises(ConfigError, match=r"^the current directory is gone: No such file or directory$"):
        load(None, {}, ["./name"])


# --- hosts


def test_a_host_inherits_what_it_does_not_set(write: Write) -> None:
    settings = load(
        write(
            """
            program = "/top"
            pool_size = 3
            commands = ["auth"]
            cwd = "/top/cwd"
            env = { A = "top", B = "top" }
            [hosts."All.Inherited"]
            [hosts."none.inherited"]
            program = "/own"
            pool_size = 5
            commands = ["isuser"]
            cwd = "/own/cwd"
            env = { B = "own", C = "own" }
            """
        ),
        {},
    )
    assert settings.program is not None
    assert settings.hosts["all.inherited"] == settings.program
    assert settings.hosts["none.inherited"] == attrs.evolve(
        settings.program,
        argv=("/own",),
        pool_size=5,
        pool_max=20,
        commands=frozenset({"isuser"}),
        cwd="/own/cwd",
        env={"A": "top", "B": "own", "C": "own"},
    )


def test_a_host_inherits_from_options_and_from_the_program_after_dashes(write: Write) -> None:
    file = write('program = "/top"\n[hosts.bare]\n[hosts.own]\nprogram = "/own"\npool_size = 2\nenv.A = "own"')
    settings = load(file, {"pool_size": "9", "env": ["A=option", "B=option"]}, ["/after/dashes"])
    assert settings.hosts["bare"].argv == ("/after/dashes",)
    assert settings.hosts["bare"].pool_size == 9
    assert settings.hosts["own"].argv == ("/own",)  # never asked of somebody else's program
    assert settings.hosts["own"].pool_size == 2
    assert settings.hosts["own"].env == {"A": "own", "B": "option"}


def test_host_options_change_the_program_only_and_add_hosts(write: Write) -> None:
    file = write('program = "/top"\npool_size = 4\n[hosts."A.example"]\nprogram = "/own"\npool_size = 2')
    settings = load(file, {"hosts": ["a.EXAMPLE=/option 'x y'", "b.example=/b"]})
    assert settings.hosts["a.example"].argv == ("/option", "x y")
    assert settings.hosts["a.example"].pool_size == 2
    assert settings.hosts["b.example"].argv == ("/b",)
    assert settings.hosts["b.example"].pool_size == 4
    assert list(settings.hosts) == ["a.example", "b.example"]


def test_only_the_hosts_listed_are_served_without_a_program(write: Write) -> None:
    settings = load(write('pool_size = 7\n[hosts.h]\nprogram = "/h"'), {})
    assert settings.program is None
    assert (settings.hosts["h"].argv, settings.hosts["h"].pool_size) == (("/h",), 7)
    assert load(None, {"hosts": ["h=/h"]}).program is None


# --- the file as such


def test_what_may_surround_the_toml(write: Write) -> None:
    plain = load(write('program = "/p"\nwindow = 7\n'), {})
    first = "#!/opt/extauth-bridge/bin/extauth-bridge\n"
    assert load(write(f'{first}program = "/p"\nwindow = 7'), {}) == plain
    assert load(write(b'\xef\xbb\xbfprogram = "/p"\r\nwindow = 7\r\n'), {}) == plain
    assert load(write(f'\ufeff{first}program = "/p"\nwindow = 7'), {}) == plain


def test_the_largest_file(write: Write) -> None:
    text = 'program = "/p"\n#'
    assert argv(load(write(text + "x" * ((1 << 20) - len(text))), {})) == ("/p",)
    file = write(text + "x" * ((1 << 20) - len(text) + 1))
    with pytest.raises(ConfigError, match=rf"^{file}: larger than 1048576 bytes, hardly a configuration$"):
        load(file, {})


def test_a_directory_leaks_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ConfigError, match="is a directory"):
        load(str(tmp_path), {})
    assert os.listdir("/proc/self/fd") == before


# --- what Settings is


def test_settings_stay_as_they_are(write: Write) -> None:
    env = {"A": "a"}
    settings = load(None, {"program": ["/p"], "env": env, "hosts": {"H": {"pool_size": 2}}})
    assert settings.program is not None
    evolved = attrs.evolve(settings.program, env=env)
    env["A"] = "changed"
    assert settings.program.env == evolved.env == {"A": "a"}
    for frozen, name in [(settings, "window"), (settings.program, "pool_size"), (settings.log, "level")]:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(frozen, name, 1)
    for mapping in (settings.hosts, settings.program.env, settings.hosts["h"].env):
        with pytest.raises(TypeError, match="does not support item assignment"):
            mapping["A"] = "b"  # type: ignore[index]


def test_equal_settings_are_equal(write: Write) -> None:
    file = write('program = "/p"\n[hosts.h]\nenv.A = "x"')
    assert load(file, {}) == load(file, {})
    assert load(file, {}) != load(file, {"env": {"A": "y", "B": "z"}})


def test_env_values_are_in_no_repr(write: Write) -> None:
    file = write('program = "/p"\nenv.A = "hush-1"\n[hosts.h]\nenv.B = "hush-2"')
    settings = load(file, {"env": ["C=hush-3"]})
    assert settings.hosts["h"].env == {"A": "hush-1", "B": "hush-2", "C": "hush-3"}
    assert "hush" not in repr(settings) and "hush" not in str(settings)


def test_what_is_rarely_needed_is_imported_late() -> None:
    code = "import sys, bridge.config.load; print({'argparse', 'difflib', 'shlex'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# --- without a program


def test_defaults_are_what_is_loaded_where_there_is_a_program_but_for_that() -> None:
    for options in ({}, {"answer_timeout": "2.5"}, {"log.level": "debug"}):
        assert defaults(options) == attrs.evolve(load(None, options, ["/bin/true"]), program=None)


def test_a_wrong_option_is_refused_without_a_program_too() -> None:
    with pytest.raises(ConfigError, match=r"--answer-timeout is .*0"):
        defaults({"answer_timeout": "0"})
