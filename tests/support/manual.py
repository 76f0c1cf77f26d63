"""What the manual pages say of commands, options and settings is made from the code.  To have it made anew, run

    python tests/support/manual.py

A page has it between two marks, `.\\" options ask` and `.\\" end`; what follows is written by hand.  A command's page
may be there before its command.
"""

import argparse
import importlib.util
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

PAGES = Path(__file__).parents[2] / "bridge" / "man" / "share" / "man"
BLOCK = re.compile(
    r'(^\.\\" (options|setting|commands|fields|metrics) ?(\S*)\n)(.*?)(^\.\\" end\n)', re.MULTILINE | re.DOTALL
)


class Parsed(Exception):
    """A command has its parser: its arguments are of no interest."""


def pages() -> Iterator[Path]:
    return iter(sorted(PAGES.glob("*/*.[157]")))


def refreshed(page: str) -> str:
    """The page with what the code says today; what is not in the code stays as it is."""
    makers = {"options": options, "setting": setting, "commands": commands, "fields": fields, "metrics": metrics}

    def block(found: re.Match[str]) -> str:
        made = makers[found[2]](found[3], found[4])
        return f"{found[1]}{made}{found[5]}"

    return BLOCK.sub(block, page)


def commands(_: str, now: str) -> str:
    """The list of all commands; those that are not there yet stay."""
    from bridge.commands.cli import COMMANDS

    there = dict(re.findall(r"^\.It Xr extauth-bridge-(\S+) 1\n(.*?)(?=^\.It|^\.El)", now, re.MULTILINE | re.DOTALL))
    made = there | {name: sentence(text) for name, text in COMMANDS.items()}
    return listed({f"Xr extauth-bridge-{name} 1": text for name, text in made.items()})


def options(command: str, now: str) -> str:
    """The list of a command's own arguments and options."""
    from bridge.commands.cli import COMMANDS

    if command not in COMMANDS:
        return now
    shown = [action for action in parser(command)._actions if not action.dest.startswith(("help", "setting "))]
    return listed({term(action): sentence(described(action)) for action in shown if action.help != argparse.SUPPRESS})


def setting(name: str, now: str) -> str:
    """What can be said of a setting in a few words."""
    from bridge.config.options import KEYS
    from bridge.config.settings import Names, UserOrGroupNames

    for key in KEYS:
        if key.name == name:
            is_list = isinstance(key.kind, Names | UserOrGroupNames)
            value = " ".join(key.default) if is_list else str(key.default).lower()
            default = key.default_text or ("none" if key.default in (None, [], {}) else value)
            where = " Can be set for a host, too." if key.per_host else ""
            text = sentence(f"{key.meaning}: {key.kind.allowed()}. Default: {default}.{where}")
            return f".It Ic {word(name)}\n{text}"
    return now


def fields(_: str, now: str) -> str:
    """The fields of the status."""
    table = getattr(module("bridge.clients.page"), "FIELDS", None)
    return listed({f"Ic {word(name)}": sentence(meaning) for name, meaning in table}) if table else now


def metrics(_: str, now: str) -> str:
    """What Prometheus is told."""
    table = getattr(module("bridge.commands.prometheus"), "_METRICS", None)
    if not table:
        return now
    return listed(
        {f"Ic extauth_bridge_{name}": sentence(f"{text.rstrip('.')} ({kind})") for name, kind, text, _ in table}
    )


def module(name: str) -> ModuleType | None:
    """A module, if it is there."""
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def parser(command: str) -> argparse.ArgumentParser:
    """What a command parses its arguments with."""
    from bridge.commands.cli import module_of

    captured: list[argparse.ArgumentParser] = []

    def capture(self: argparse.ArgumentParser, *_: object) -> None:
        captured.append(self)
        raise Parsed

    original, argparse.ArgumentParser.parse_known_args = argparse.ArgumentParser.parse_known_args, capture  # type: ignore
    try:
        importlib.import_module(module_of(command)).main([], None)
    except Parsed:
        pass
    finally:
        argparse.ArgumentParser.parse_known_args = original  # type: ignore
    return captured[0]


def term(action: argparse.Action) -> str:
    """How an argument or option is typed."""
    value = f" Ar {word(str(action.metavar or action.dest.upper()))}"
    if action.option_strings:
        flags = " , ".join(f"Fl {word(flag[1:])}" for flag in action.option_strings)
        return flags + (value if action.nargs != 0 else "")
    return f"Cm {' | '.join(action.choices)}" if action.choices else value[1:]


def described(action: argparse.Action) -> str:
    """Its help, as the command itself shows it."""
    return argparse.HelpFormatter("")._expand_help(action)


def listed(entries: dict[str, str]) -> str:
    items = "".join(f".It {what}\n{text}" for what, text in entries.items())
    return f".Bl -tag -width Ds\n{items}.El\n"


def sentence(text: str) -> str:
    """Lines of a page."""
    text = " ".join(text.split())
    whole = text[:1].upper() + text[1:] + ("" if text[-1] in ".?!" else ".")
    sentences = re.split(r"(?<=[.:;]) (?=[A-Z])", escaped(whole))
    return "".join(line + "\n" for one in sentences for line in textwrap.wrap(one, 78, break_on_hyphens=False))


def escaped(text: str) -> str:
    return text.replace("\\", r"\e").replace("^", r"\(ha").replace("~", r"\(ti")


def word(text: str) -> str:
    """One argument of a macro."""
    made = escaped(text).replace("-", r"\-")
    return f'"{made}"' if " " in made else made


def main() -> int:
    """Make the pages anew, or with --check only say which are not as they should be."""
    stale = [page for page in pages() if refreshed(page.read_text()) != page.read_text()]
    if "--check" not in sys.argv:
        for page in stale:
            page.write_text(refreshed(page.read_text()))
    print(*(page.name for page in stale), sep="\n", end="")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, os.environ.get("EXTAUTH_CODE", str(Path(__file__).parents[2])))
    sys.exit(main())
