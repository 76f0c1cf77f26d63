"""`extauth-bridge completion bash|zsh|fish`: what makes a shell complete the command, made from its own tables.

Each command's parser is taken at the moment when it would print its help, so nothing here has to know a command.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
from collections.abc import Iterator, Sequence

import attrs

from bridge.commands.cli import COMMANDS, HelpRequested, Parser, UsageError, module_of, say
from bridge.commands.help import topics
from bridge.config.options import KEYS, option
from bridge.config.settings import AbsolutePath, Choice, Command, Names
from bridge.terminal.takeover import ProgramTerminal

_FILES = "FILES"
"""Stands for any file, among the values of an option."""

_ON_DISK = {"FILE", "PATH", "SOCKET", "DIR"}
"""Metavars."""


@attrs.frozen
class Option:
    """One option of a command.

    Attributes:
      names: all of them, the longest last.
      takes_value: it has one.
      values: those known, perhaps with `_FILES`; empty if anything may be typed.
      text: what it does, in one line.
    """

    names: Sequence[str]
    takes_value: bool
    values: Sequence[str]
    text: str


@attrs.frozen
class Words:
    """What may follow one command.

    Attributes:
      first: the words that may come first, such as what to ask; empty if there are none to choose from.
    """

    options: Sequence[Option]
    first: Sequence[str]


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Print a shell's completion.

    Raises:
      UsageError: no such shell.
    """
    del taken
    parser = Parser(
        "completion",
        "bash|zsh|fish",
        "Print what makes a shell complete this command. Try it with `source <(extauth-bridge completion bash)`; "
        "it stays if it is put where the shell looks: /etc/bash_completion.d/extauth-bridge, "
        "/usr/local/share/zsh/site-functions/_extauth-bridge, /etc/fish/completions/extauth-bridge.fish.",
    )
    parser.add_argument("shell", choices=[*_SHELLS], help="which one")
    shell: str = parser.parse_args(argv).shell
    say(_SHELLS[shell](commands()))
    return 0


def commands() -> dict[str, Words]:
    """What may follow each command."""
    words = {name: _words(parser_of(name)) for name in COMMANDS}
    return {**words, "help": attrs.evolve(words["help"], first=topics())}  # any other word is answered with these


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a command; an empty one if it has none, like `connect`, which must start quickly."""
    if name == "completion":  # which is what we are
        parser = argparse.ArgumentParser()
        parser.add_argument("shell", choices=[*_SHELLS])
        return parser
    module = importlib.import_module(module_of(name))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            module.main(["--help"], None)
    except HelpRequested as wanted:
        return wanted.parser
    except (SystemExit, UsageError):
        pass
    return argparse.ArgumentParser()


def _words(parser: argparse.ArgumentParser) -> Words:
    actions = parser._actions  # pyright: ignore[reportPrivateUsage]  # there is no other way to list them
    first = next((action for action in actions if not action.option_strings), None)
    return Words(
        [_option(action) for action in actions if action.option_strings],
        [str(choice) for choice in first.choices or ()] if first is not None else [],
    )


def _option(action: argparse.Action) -> Option:
    keys = {option(key.name): key for key in KEYS}
    key = next((keys[name] for name in action.option_strings if name in keys), None)
    values = [str(choice) for choice in action.choices or ()]
    text = str(action.help or "").replace("%%", "%")
    if key is not None:
        text = key.meaning
        if isinstance(key.kind, Choice):
            values = [*key.kind.names, *([_FILES] if key.kind.prefix else [])]
        elif isinstance(key.kind, Names):
            values = [*key.kind.known]
        elif isinstance(key.kind, AbsolutePath | Command):
            values = [_FILES]
    elif action.metavar in _ON_DISK:
        values = [_FILES]
    return Option(sorted(action.option_strings, key=len), action.nargs != 0, values, " ".join(text.split()))


# --- bash ------------------------------------------------------------------------------------------------

_BASH = """\
# bash completion for extauth-bridge, made by `extauth-bridge completion bash`
_extauth_bridge() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}} words= i
    COMPREPLY=()
    if [[ $current == = ]]; then  # --client=NAME is three words for bash
        current=
    elif [[ $previous == = ]]; then
        previous=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${{COMP_WORDS[i]}} == -- ]] && return  # a program, and its arguments
    done
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W {commands} -- "$current"))
        return
    fi
    case "$command $previous" in
{values}
    esac
    case "$command" in
{options}
    esac
    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    elif ((COMP_CWORD == 2)); then
        case "$command" in
{first}
        esac
    fi
}}
complete -o bashdefault -o default -F _extauth_bridge extauth-bridge
"""


def _bash(table: dict[str, Words]) -> str:
    return _BASH.format(
        commands=_quoted(" ".join([*table, "--help", "--version"])),
        values="\n".join(_bash_values(table)),
        options="\n".join(f"    {name}) words={_quoted(_bash_options(words))};;" for name, words in table.items()),
        first="\n".join(
            f'        {name}) COMPREPLY=($(compgen -W {_quoted(" ".join(words.first))} -- "$current"));;'
            for name, words in table.items()
            if words.first
        ),
    ).rstrip("\n")


def _bash_values(table: dict[str, Words]) -> Iterator[str]:
    """What is done where an option's value is expected: nothing leaves it to bash, which completes files."""
    for name, words in table.items():
        for one in words.options:
            if one.takes_value:
                patterns = "|".join(f'"{name} {each}"' for each in one.names)
                known = " ".join(value for value in one.values if value != _FILES)
                reply = f'COMPREPLY=($(compgen -W {_quoted(known)} -- "$current")); ' if known else ""
                yield f"    {patterns}) {reply}return;;"


def _bash_options(words: Words) -> str:
    return " ".join(name for one in words.options for name in one.names)


# --- zsh -------------------------------------------------------------------------------------------------

_ZSH = """\
#compdef extauth-bridge
# zsh completion for extauth-bridge, made by `extauth-bridge completion zsh`
_extauth-bridge() {{
    if (( CURRENT == 2 )); then
        local -a commands
        commands=(
{commands}
        )
        _describe -t commands command commands
        _files
        return
    fi
    local command=$words[2]
    words=("${{(@)words[2,-1]}}")
    (( CURRENT-- ))
    case $command in
{options}
    esac
}}
if [[ $funcstack[1] == _extauth-bridge ]]; then
    _extauth-bridge "$@"
else
    compdef _extauth-bridge extauth-bridge
fi
"""


def _zsh(table: dict[str, Words]) -> str:
    described = [f"            {_quoted(f'{name}:{_zsh_text(COMMANDS[name])}')}" for name in table]
    options = [f"    {name}) _arguments {' '.join(map(_quoted, _zsh_specs(words)))};;" for name, words in table.items()]
    return _ZSH.format(commands="\n".join(described), options="\n".join(options)).rstrip("\n")


def _zsh_specs(words: Words) -> Iterator[str]:
    for one in words.options:
        known = " ".join(value for value in one.values if value != _FILES)
        values = f"({known})" if known else "_files" if _FILES in one.values else ""
        for name in one.names:
            equals = "=" if one.takes_value and name.startswith("--") else ""
            value = f":value:{values}" if one.takes_value else ""
            yield f"{name}{equals}[{_zsh_text(one.text)}]{value}"
    if words.first:
        yield f"1:what:({' '.join(words.first)})"
    yield "*:file:_files"


def _zsh_text(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)


# --- fish ------------------------------------------------------------------------------------------------


def _fish(table: dict[str, Words]) -> str:
    lines = ["# fish completion for extauth-bridge, made by `extauth-bridge completion fish`"]
    for name in table:
        lines.append(f"complete -c extauth-bridge -n __fish_use_subcommand -a {name} -d {_fish_quoted(COMMANDS[name])}")
    for name, words in table.items():
        begin = f"complete -c extauth-bridge -n '__fish_seen_subcommand_from {name}'"
        if words.first:
            lines.append(f"{begin} -f -a {_fish_quoted(' '.join(words.first))}")
        lines += [f"{begin} {_fish_option(one)}" for one in words.options]
    return "\n".join(lines)


def _fish_option(one: Option) -> str:
    words = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in one.names]
    known = " ".join(value for value in one.values if value != _FILES)
    if one.takes_value:
        words.append("-r" if _FILES in one.values else "-x")
    if known:
        words.append(f"-a {_fish_quoted(known)}")
    return " ".join([*words, f"-d {_fish_quoted(one.text)}"])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _quoted(text: str) -> str:
    """For bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


_SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
