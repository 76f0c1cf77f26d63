"""`extauth-bridge prosody-module`, and that what it installs is sound Lua in every version Prosody runs on."""

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.components import command
from support.process import ROOT, environment

import bridge

NAME = "mod_auth_extauth_bridge"
OLD = "mod_auth_extauth_bridge.lua"  # what there was before there was a folder
PACKAGED = Path(bridge.__file__).parent / "prosody" / NAME


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def run(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its exit status is the test's business."""
    return subprocess.run([*map(str, words)], check=False, capture_output=True, text=True, timeout=300, **options)


def prosody_module(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "bridge", "prosody-module", *words, env=environment(), **options)


def test_installs_what_is_packaged_and_says_what_to_do(tmp_path: Path) -> None:
    done = prosody_module(tmp_path, umask=0o077)
    assert (done.returncode, done.stderr) == (0, "")
    assert f'plugin_paths = {{ "{tmp_path}" }}' in done.stdout
    assert 'authentication = "extauth_bridge"' in done.stdout
    assert os.listdir(tmp_path) == [NAME], "nothing else is left behind"
    assert files(tmp_path / NAME) == files(PACKAGED)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / NAME).iterdir()}
    assert (modes, stat.S_IMODE((tmp_path / NAME).stat().st_mode)) == ({0o644}, 0o755), "whatever the umask"


def test_a_relative_directory_is_named_in_full() -> None:
    done = prosody_module("--check", ".", cwd="/")
    assert (done.returncode, done.stderr) == (1, f"extauth-bridge: /{NAME} is not installed\n")


def test_check_tells_current_from_old_and_missing_and_changes_nothing(tmp_path: Path) -> None:
    missing = prosody_module("--check", tmp_path)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == f"extauth-bridge: {tmp_path / NAME} is not installed\n"
    assert os.listdir(tmp_path) == []
    prosody_module(tmp_path)
    current = prosody_module("--check", tmp_path)
    assert (current.returncode, current.stdout, current.stderr) == (0, f"{tmp_path / NAME} is current\n", "")
    for change in (a_line_more, a_file_less, a_library_more, the_old_file):
        change(tmp_path)
        before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
        old = prosody_module("--check", tmp_path)
        assert (old.returncode, old.stdout, len(old.stderr.splitlines())) == (1, "", 1), change
        assert "not this version's" in old.stderr
        assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before
        assert prosody_module(tmp_path).returncode == 0
        assert prosody_module("--check", tmp_path).returncode == 0
        assert os.listdir(tmp_path) == [NAME]


def a_line_more(directory: Path) -> None:
    with open(directory / NAME / OLD, "a") as file:
        file.write("-- mine\n")


def a_file_less(directory: Path) -> None:
    (directory / NAME / "protocol.lib.lua").unlink()


def a_library_more(directory: Path) -> None:
    (directory / NAME / "of_a_version_before.lib.lua").write_text("")


def the_old_file(directory: Path) -> None:
    (directory / OLD).write_text("-- of a version before")


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "mod_other.lua").write_text("mine")
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "notes").write_text("mine")
    assert prosody_module(tmp_path).returncode == 0
    assert prosody_module("--check", tmp_path).returncode == 0
    assert {(tmp_path / "mod_other.lua").read_text(), (tmp_path / NAME / "notes").read_text()} == {"mine"}


@pytest.mark.parametrize("place", [OLD, NAME, f"{NAME}/{OLD}"])
@pytest.mark.parametrize("target", ["precious", "missing"])
def test_a_symbolic_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path, place: str, target: str) -> None:
    modules = tmp_path / "modules"
    (modules / place).parent.mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    (modules / place).symlink_to(tmp_path / target)
    assert prosody_module(modules).returncode == 0
    assert not (modules / place).is_symlink()
    assert files(modules / NAME) == files(PACKAGED)
    assert sorted(os.listdir(tmp_path)) == ["modules", "precious"]
    assert os.listdir(tmp_path / "precious") == []


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    os.mkfifo(tmp_path / NAME / OLD)
    assert prosody_module("--check", tmp_path).returncode == 1
    assert prosody_module(tmp_path).returncode == 0
    assert (tmp_path / NAME / OLD).is_file()


def usage_error(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_what_cannot_be_done_is_a_usage_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / NAME / OLD).mkdir(parents=True)
    assert "no such directory" in usage_error(prosody_module(tmp_path / "nowhere"))
    assert "no such directory" in usage_error(prosody_module(tmp_path / "file"))
    assert "no such directory" in usage_error(prosody_module("--check", tmp_path / "nowhere"))
    assert "cannot be written" in usage_error(prosody_module(tmp_path / "taken"))
    assert "DIR" in usage_error(prosody_module())
    assert not any(name.startswith(".") for name in os.listdir(tmp_path / "taken" / NAME)), "a temporary file is left"


def test_a_directory_that_is_not_writable(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        directory = Path("/proc")  # where even root cannot make a file
    else:
        directory = tmp_path
        directory.chmod(0o555)
    assert "cannot be written" in usage_error(prosody_module(directory))


@pytest.mark.slow
def test_a_wheel_has_it(tmp_path: Path) -> None:
    """As pip would install it, far from this checkout."""
    at_hand = ["--no-build-isolation"] if importlib.util.find_spec("flit_core") else []
    done = run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *at_hand, "-w", tmp_path, ROOT)
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    assert files(tmp_path / "site" / "bridge" / "prosody" / NAME) == files(PACKAGED)


def test_luacheck_finds_nothing() -> None:
    done = run(command("luacheck", "lua-check"), "--no-color", PACKAGED, "tests/prosody", cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", ["5.1", "5.2", "5.3", "5.4"])
def test_every_lua_understands_it(version: str) -> None:
    for file in PACKAGED.glob("*.lua"):
        done = run(command(f"luac{version}", f"lua{version}"), "-p", file)
        assert done.returncode == 0, done.stderr


def test_luajit_understands_it(tmp_path: Path) -> None:
    for file in PACKAGED.glob("*.lua"):
        done = run(command("luajit", "luajit"), "-b", file, tmp_path / "compiled")
        assert done.returncode == 0, done.stderr
