"""The commands and files of the README and the manual pages, extracted so that tests use exactly these.

A block to be taken has a mark above it: `<!-- way: step -->` in the README, `.\\" way: step` in a page.  If it is the
text of a file, the file is the one the prose named last before the mark.
"""

import re
import textwrap
from pathlib import Path

from bridge.commands.mdoc import plain

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = ROOT / "bridge" / "man" / "share" / "man"


def commands(mark: str) -> str:
    """The shell commands below this mark.

    Raises:
      LookupError: there are none, or more than one block.
    """
    return block(mark)[1]


def file(mark: str) -> tuple[str, str]:
    """The path and the text of the file below this mark.

    Raises:
      LookupError: there is none, there are several, or the prose names no file.
    """
    before, text = block(mark)
    named = re.findall(r"`(/[^`\s]+)`|^\.Pa (/\S+)", before, re.MULTILINE)
    if not named:
        raise LookupError(f"no file is named before {mark!r}")
    return plain("".join(named[-1])), text


def block(mark: str) -> tuple[str, str]:
    """What stands before the mark, and the block below it without the indentation of the list it may be in.

    Raises:
      LookupError: the README and the pages have no such block, or several.
    """
    found = _blocks(README.read_text(), rf"<!-- {mark} -->\s*?\n( *```(?:sh|lua)\n)(.*?)```")
    for page in sorted(PAGES.glob("*/*")):
        source = rf'^\.\\" {mark}\n(\.Bd -literal.*?\n)(.*?)^\.Ed'
        found += [(before, plain(text)) for before, text in _blocks(page.read_text(), source)]
    if len(found) != 1:
        raise LookupError(f"{len(found)} blocks are marked {mark!r}, not one")
    return found[0]


def _blocks(text: str, pattern: str) -> list[tuple[str, str]]:
    found = re.finditer(pattern, text, re.DOTALL | re.MULTILINE)
    return [(text[: one.start()], textwrap.dedent(one[2])) for one in found]
