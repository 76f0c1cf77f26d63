"""The manual pages agree with the code and with each other, and are sound mdoc."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import manual
from support.components import command
from support.process import ROOT, environment
from support.readme import README

from bridge.commands.cli import COMMANDS
from bridge.commands.mdoc import plain
from bridge.config.options import KEYS, option

PAGES = [*manual.pages()]
COMING = {"log.verdicts"}  # described before it is there


def entries(what: str) -> set[str]:
    """The marks of this kind in all pages."""
    return {found[2] for page in PAGES for found in re.finditer(rf'^\.\\" ({what}) (\S+)$', page.read_text(), re.M)}


def test_they_say_what_the_code_says() -> None:
    script = [sys.executable, manual.__file__, "--check"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=True, env=environment())
    assert done.stdout == "", f"run {manual.__file__}"


def test_every_setting_is_described_and_no_other() -> None:
    settings = {key.name for key in KEYS}
    assert settings <= entries("setting") <= settings | COMING


def test_every_command_with_options_has_them_described() -> None:
    assert COMMANDS.keys() - entries("options") <= {"connect"}  # which has none


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_nothing_wrong(page: Path) -> None:
    lint = [command("mandoc", "mandoc"), "-T", "lint", "-W", "warning", page]
    done = subprocess.run(lint, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_it_refers_to_what_there_is(page: Path) -> None:
    text = page.read_text()
    ours = {page.name for page in PAGES}
    referred = {f"{name}.{section}" for name, section in re.findall(r"\bXr (extauth\S+) (\d)", text)}
    assert referred <= ours
    assert page.name not in referred
    sections = {heading.lower() for heading in re.findall(r"^\.S[hs] (.+)$", text, re.MULTILINE)}
    assert {name.lower() for name in re.findall(r"^\.Sx (.+?)(?: [.,;)])*$", text, re.MULTILINE)} <= sections


def test_the_bundled_programs_commands_are_described() -> None:
    usage = subprocess.run(
        [sys.executable, "-m", "bridge.programs.sqlite", "--help"],
        capture_output=True, text=True, timeout=60, check=True, env=environment(),
    ).stdout  # fmt: skip
    [page] = [page.read_text() for page in PAGES if page.name == "extauth-sqlite.1"]
    commands = re.findall(r"^ +extauth-sqlite DATABASE ([a-z]+)", usage, re.MULTILINE)
    assert len(commands) >= 4
    assert all(f".It Cm {name}" in page for name in commands)


def examples() -> list[str]:
    """All command lines `extauth-bridge COMMAND` of the README and the pages."""
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", README.read_text(), re.MULTILINE | re.DOTALL)
    texts = [text for language, text in blocks if language in ("", "sh")]
    for page in PAGES:
        texts += map(plain, re.findall(r"^\.Bd.*?\n(.*?)^\.Ed", page.read_text(), re.MULTILINE | re.DOTALL))
    named = "|".join(page.stem.removeprefix("extauth-bridge-") for page in PAGES if page.name.endswith(".1"))
    lines = re.findall(rf"\bextauth-bridge +((?:{named})\b[^\n|;>)]*)", "\n".join(texts).replace("\\\n", " "))
    return sorted({" ".join(line.split()) for line in lines if not line.startswith("extauth")})


@pytest.mark.parametrize("line", examples())
def test_an_example_can_be_typed(line: str) -> None:
    """Its command has a page, and each option is there or among the settings."""
    command, *words = line.partition(" -- ")[0].split()
    [page] = [page.read_text() for page in PAGES if page.name == f"extauth-bridge-{command}.1"]
    known = {f"-{plain(name)}" for name in re.findall(r"^\.It Fl (\S+)", page, re.MULTILINE)}
    assert {word for word in words if word.startswith("-")} <= known | {option(key.name) for key in KEYS}


@pytest.mark.slow
def test_a_wheel_has_them_where_man_looks(tmp_path: Path) -> None:
    man = command("man", "man-db")
    at_hand = ["--no-build-isolation"] if importlib.util.find_spec("flit_core") else []
    there = ["--ignore-installed", "--prefix", tmp_path]  # otherwise the one that is installed is removed
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", *at_hand, *there, ROOT]
    subprocess.run(pip, timeout=300, check=True)
    for name in ("extauth-bridge-ask", "extauth-bridge.toml"):
        shown = subprocess.run(
            [man, "-M", tmp_path / "share/man", name], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert name in shown
        assert "DESCRIPTION" in shown
