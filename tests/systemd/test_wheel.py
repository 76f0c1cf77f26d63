"""What `setup` installs is in the wheel, also in one that is made from the source distribution."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import canary
from support.machine.root import wheels
from support.process import ROOT

pytestmark = pytest.mark.slow

BUILD = "import sys; from flit_core import buildapi as b; print(b.build_wheel(sys.argv[1]), b.build_sdist(sys.argv[1]))"


def build(source: Path, target: Path) -> tuple[Path, Path]:
    """Build both with what pip builds them with."""
    [flit] = wheels().glob("flit_core-*.whl")
    target.mkdir()
    environment = {"PYTHONPATH": str(flit), "PATH": "/usr/bin:/bin"}
    words = [sys.executable, "-c", BUILD, str(target)]
    done = subprocess.run(words, cwd=source, env=environment, capture_output=True, text=True, timeout=60, check=True)
    wheel, sdist = done.stdout.split()
    return target / wheel, target / sdist


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def test_both_hold_units_examples_and_all_else(tmp_path: Path) -> None:
    wheel, sdist = build(ROOT, tmp_path / "built")
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "bridge/systemd").rglob("*") if path.is_file()}
    assert {f"bridge/systemd/{name}" for name in ("extauth-bridge@.socket", "examples/auth.toml")} < shipped
    assert shipped < {*names(wheel)}
    subprocess.run(["tar", "--extract", "--file", sdist, "--directory", tmp_path], timeout=60, check=True)
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    canary.knows(source, "the tests themselves")
    assert {path.name for path in (source / "systemd").iterdir()} == {
        path.name for path in (ROOT / "systemd").iterdir()
    }
    again, _ = build(source, tmp_path / "again")
    assert names(again) == names(wheel)
