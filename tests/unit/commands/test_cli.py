"""Every command an operator can type exists."""

import importlib
import inspect
from pathlib import Path

import pytest

from bridge.commands import arguments, cli
from bridge.commands.cli import COMMANDS, Parser, UsageError


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_module_with_its_main(command: str) -> None:
    main = importlib.import_module(cli.module_of(command)).main
    assert [*inspect.signature(main).parameters] == ["argv", "taken"]


def parsed(*argv: str) -> arguments.Arguments:
    return arguments.Arguments(Parser("test", "", ""), argv)


def test_what_stands_behind_dashes_is_the_programs() -> None:
    found = parsed("auth.toml", "--pool-size", "2", "--", "/bin/program", "--pool-size", "--", "3")
    assert (found.file, found.options) == ("auth.toml", {"pool_size": "2"})
    assert [*found.program] == ["/bin/program", "--pool-size", "--", "3"]


def test_nothing_has_to_be_given() -> None:
    found = parsed()
    assert (found.file, found.options, [*found.program]) == (None, {}, [])


def test_the_file_is_found_again_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "auth.toml").write_text('program = "/bin/true"')
    monkeypatch.chdir(tmp_path)
    read = parsed("auth.toml", "--pool-size", "3").reader()
    monkeypatch.chdir("/")
    program = read().program
    assert program is not None
    assert (program.argv, program.pool_size) == (("/bin/true",), 3)


def test_what_is_unknown_is_told_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"--no-such.*\(see extauth-bridge test --help\)"):
        parsed("--no-such", "1")
