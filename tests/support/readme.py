"""The commands and files of the README, extracted so that tests use exactly these.

A block to be taken has a mark above it, `<!-- way: step -->`.  If it is the text of a file, the file is the one the
prose named last before the mark.
"""

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def commands(mark: str) -> str:
    """The shell commands below this mark.

    Raises:
      LookupError: there are none, or more than one block.
    """
    return _block(mark, "sh")[1]


def file(mark: str) -> tuple[str, str]:
    """The path and the text of the file below this mark.

    Raises:
      LookupError: there is none, there are several, or the prose names no file.
    """
    before, text = _block(mark, "lua|toml")
    named = re.findall(r"`(/[^`\s]+)`", before)
    if not named:
        raise LookupError(f"{README.name}: no file is named before <!-- {mark} -->")
    return named[-1], text


def _block(mark: str, language: str) -> tuple[str, str]:
    """What stands before the mark, and the block below it without the indentation of the list it may be in."""
    text = README.read_text()
    found = list(re.finditer(rf"<!-- {mark} -->\s*?\n( *```(?:{language})\n)(.*?)```", text, re.DOTALL))
    if len(found) != 1:
        raise LookupError(f"{README.name}: {len(found)} times <!-- {mark} --> before a block of {language}, not once")
    return text[: found[0].start()], textwrap.dedent(found[0][2])
