"""`extauth-bridge help [TOPIC]`: the manual pages, wherever the package is installed, with or without `man`."""

from __future__ import annotations

import importlib.resources
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from importlib.resources.abc import Traversable

from bridge.commands.cli import Parser, UsageError, did_you_mean, say
from bridge.commands.mdoc import WIDTH, plain, render
from bridge.terminal.takeover import ProgramTerminal

_NAME = "extauth-bridge"

_ABOUT = {"extauth-bridge-changes(7)", "extauth-bridge-threats(7)"}
"""Pages about the software, not about its use."""

SYNONYMS = {
    "troubleshooting": "extauth-bridge.7",
    "protection": "extauth-bridge.7",
    "limits": "extauth-bridge.7",
    "configuration": "extauth-bridge.toml.5",
    "settings": "extauth-bridge.toml.5",
    "sqlite": "extauth-sqlite.1",
    "sql": "extauth-sql.1",
    "postgresql": "extauth-sql.1",
    "mariadb": "extauth-sql.1",
    "mysql": "extauth-sql.1",
    "import": "extauth-sqlite.1",
    "export": "extauth-sqlite.1",
    "migration": "extauth-sqlite.1",
    "module": "extauth-bridge-prosody.7",
    "security": "extauth-bridge-threats.7",
    "upgrade": "extauth-bridge-howto.7",
    "backup": "extauth-bridge-howto.7",
    "containers": "extauth-bridge-howto.7",
    "nagios": "extauth-bridge-howto.7",
    "prometheus": "extauth-bridge-howto.7",
}
"""What somebody may type who does not know the pages' names."""


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Show a page.

    Returns:
      exit status 0.

    Raises:
      UsageError: there is no such page, nor one that speaks of it.
    """
    del taken
    parsed = _parser().parse_args(argv)
    if parsed.list:
        width = max(len(name) for name, _ in _titles())
        say("\n".join(f"{name:{width}}  {about}" for name, about in _titles()))
        return 0
    topic = parsed.topic or _NAME
    page = find(topic)
    if page is None:
        say(mentions(topic) if _marked(topic) is None else setting(topic), end="")
    elif not (sys.stdout.isatty() and _shown_by_man(page)):
        _page_through(render(page.read_text()))
    return 0


def pages() -> dict[str, Traversable]:
    """All pages by their files' names, `extauth-bridge-run.1`."""
    sections = importlib.resources.files("bridge").joinpath("man", "share", "man")
    found = {page.name: page for section in sections.iterdir() for page in section.iterdir()}
    return dict(sorted(found.items(), key=lambda item: (item[0].rpartition(".")[::-2], item[0])))


def setting(name: str) -> str:
    """What the manual says of one setting."""
    found = _marked(name)
    assert found is not None
    return render(f".Bl -tag -width Ds\n{found}.El\n")


def mentions(word: str) -> str:
    """Which pages speak of a word, and in which sections; those that do most come first, those about the software last.

    Raises:
      UsageError: none does.
    """
    begins = re.compile(rf"(?<![^\W_]){re.escape(word)}", re.IGNORECASE)
    rows: list[tuple[bool, int, str]] = []
    for (name, _), page in zip(_titles(), pages().values(), strict=True):
        _, *parts = re.split(r"^\.S[hs] (.+)\n", page.read_text(), flags=re.MULTILINE)
        hits = {
            plain(heading).strip('"'): len(begins.findall(render(f".Ss {heading}\n{text}")))
            for heading, text in zip(parts[::2], parts[1::2], strict=True)
            if heading not in ("NAME", "SEE ALSO")
        }
        sections = "; ".join(heading for heading, count in hits.items() if count)
        if sections:
            told = textwrap.fill(f"{name}: {sections}", WIDTH, subsequent_indent="    ")
            rows.append((name in _ABOUT, -sum(hits.values()), told))
    if not rows:
        meant = did_you_mean(word, topics()) or ":"
        raise UsageError(f"no page about {word!r}{meant} `{_NAME} help --list` lists them all")
    told_in_order = [told for *_, told in sorted(rows, key=lambda row: row[:2])]
    return "\n".join([f"No page is called {word!r}. These speak of it:\n", *told_in_order, ""])


def topics() -> list[str]:
    """What one may ask for, in its shortest form: pages, other names for them, and settings."""
    found = pages()
    names = [file.rpartition(".")[0].removeprefix(f"{_NAME}-").removeprefix(f"{_NAME}.") for file in found]
    settings = re.findall(r'^\.\\" setting (\S+)', found["extauth-bridge.toml.5"].read_text(), re.MULTILINE)
    return [*names, *SYNONYMS, *settings]


def find(topic: str) -> Traversable | None:
    """The page for a topic, if there is one: a command, a page's name, with or without its section, or a synonym."""
    found = pages()
    wanted = re.sub(r"\((\d)\)$", r".\1", topic)
    names = [wanted, SYNONYMS.get(wanted, "")]
    names += [f"{name}.{section}" for name in (wanted, f"{_NAME}-{wanted}", f"{_NAME}.{wanted}") for section in "157"]
    return next((found[name] for name in names if name in found), None)


def _marked(name: str) -> str | None:
    """The part of a page that is about one setting, if there is such a setting."""
    marked = rf'^\.\\" setting {re.escape(name.replace("-", "_"))}\n(.*?)(?=^\.\\" setting |^\.El)'
    found = re.search(marked, pages()["extauth-bridge.toml.5"].read_text(), re.MULTILINE | re.DOTALL)
    return found[1] if found else None


def _titles() -> list[tuple[str, str]]:
    """Each page: what to ask for, and what it is about."""
    rows: list[tuple[str, str]] = []
    for file, page in pages().items():
        name, _, section = file.rpartition(".")
        about = re.findall(r"^\.Nd (.+)$", page.read_text(), re.MULTILINE)
        rows.append((f"{name}({section})", about[0]))
    return rows


def _shown_by_man(page: Traversable) -> bool:
    """Have `man` or `mandoc` show it; did one?"""
    with importlib.resources.as_file(page) as path:
        for command in (["man", "-l"], ["mandoc", "-a"]):
            if shutil.which(command[0]) and subprocess.run([*command, str(path)], check=False).returncode == 0:
                return True
    return False


def _page_through(text: str) -> None:
    pager = os.environ.get("PAGER") or shutil.which("less") or shutil.which("more")
    if not (pager and sys.stdout.isatty()):
        say(text, end="")
    else:
        subprocess.run(pager, shell=True, input=text, text=True, check=False)  # PAGER is a shell's command, by custom


def _parser() -> Parser:
    parser = Parser("help", "[TOPIC]", "Show a manual page, that of a command for instance.")
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="a command, a setting, or a page that --list names")
    parser.add_argument("--list", action="store_true", help="list all pages")
    return parser
