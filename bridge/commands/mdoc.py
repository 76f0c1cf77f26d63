"""Renders our manual pages, which are written in mdoc, as plain text: for pipes, and where there is no `man`.

It knows the macros that our pages use, and tests/unit/commands/test_help.py sees to it that they use no others.  Text
is filled; a display is left as it is; a list's items are indented below what introduces them.
"""

from __future__ import annotations

import re
import textwrap

import attrs

WIDTH = 78
"""As `man` has it on a terminal of 80 columns."""

_INDENT = 5
"""Of everything but headings."""

_DEEPER = {"-bullet": 3, "-enum": 4, "-tag": 8}
"""How far the items of each kind of list are indented."""

_CHARACTERS = {
    r"\-": "-", r"\e": "\\", r"\&": "", r"\(dq": '"', r"\(aq": "'", r"\(ga": "`", r"\(ha": "^", r"\(ti": "~",
}  # fmt: skip

_OPENING, _CLOSING = set("(["), set(").,;:?!]")

_GLUE = "\0"
"""Between what no space may separate."""

INLINE = {"Ar", "Cm", "Em", "Ev", "Fl", "Ic", "Nm", "No", "Ns", "Op", "Pa", "Ql", "Sx", "Sy", "Xr"}

BLOCKS = {"Dd", "Dt", "Os", "Nd", "Sh", "Ss", "Pp", "Bl", "It", "El", "Bd", "Ed", "Xc"}


def render(page: str) -> str:
    """The text of a page."""
    rendered = _Page()
    for line in page.splitlines():
        rendered.add(line)
    rendered.flush()
    return "\n".join(rendered.out) + "\n"


def plain(text: str) -> str:
    """Text without the escapes that it has in a page."""
    return re.sub(r"\\(?:\(..|.)", lambda found: _CHARACTERS[found[0]], text)


@attrs.define
class _Page:
    """What has been rendered so far.

    Attributes:
      out: finished lines.
    """

    out: list[str] = attrs.Factory(list[str])
    _words: list[str] = attrs.Factory(list[str])  # of the paragraph that is to be filled
    _lists: list[tuple[str, int]] = attrs.Factory(list[tuple[str, int]])  # each one's kind, and how many items it has
    _lead: str = ""  # what stands before the next paragraph: a bullet, a number
    _in_display: bool = False
    _tight: bool = True  # nothing blank before what comes next: above it is what introduces it
    _section: str = ""

    def add(self, line: str) -> None:
        """Take one line of the source."""
        if self._in_display and line != ".Ed":
            self.out.append((" " * (self._indent + 4) + plain(line)).rstrip())
        elif not line.startswith("."):
            self._words.append(plain(line))
        elif not line.startswith('.\\"'):
            macro, _, rest = line[1:].partition(" ")
            self._macro(macro, rest)

    @property
    def _indent(self) -> int:
        return _INDENT + sum(_DEEPER[kind] for kind, _ in self._lists)

    def flush(self, before: int = 0) -> None:
        """End the paragraph.

        Args:
          before: how much less it is indented than the text around it.
        """
        text = " ".join(self._words).replace(f" {_GLUE} ", "").replace(_GLUE, "")
        indent = " " * (self._indent - before)
        first = indent[: len(indent) - len(self._lead)] + self._lead
        if text:
            self.out += textwrap.wrap(
                text, WIDTH, initial_indent=first, subsequent_indent=indent,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
            self._lead, self._tight = "", False
        self._words.clear()

    def _macro(self, macro: str, rest: str) -> None:
        if macro in BLOCKS:
            getattr(self, f"_{macro.lower()}")(rest)
            return
        if macro == "Nm" and self._section == "SYNOPSIS":
            self.flush()
        self._words.append(inline(f"{macro} {rest}"))

    def _skip(self, rest: str) -> None:
        """Nothing of it is shown."""

    _dd = _os = _skip

    def _dt(self, rest: str) -> None:
        name, section = rest.split()
        self.out.append(f"{name}({section})")
        self._tight = False

    def _nd(self, rest: str) -> None:
        self._words.append(f"- {plain(rest)}")

    def _sh(self, rest: str) -> None:
        self._blank()
        self._section = rest
        self.out.append(plain(rest))
        self._tight = True

    def _ss(self, rest: str) -> None:
        self._blank()
        self.out.append(f"   {plain(rest)}")
        self._tight = True

    def _pp(self, rest: str) -> None:
        del rest
        self._blank()

    def _bl(self, rest: str) -> None:
        self.flush()
        self._lists.append((rest.split()[0], 0))

    def _it(self, rest: str) -> None:
        self._blank()
        kind, items = self._lists[-1]
        self._lists[-1] = kind, items + 1
        if kind == "-tag":
            if rest != "Xo":  # what is between Xo and Xc are lines of their own
                self._words.append(inline(f"No {rest}"))
                self._xc(rest)
        else:
            self._lead = ("-" if kind == "-bullet" else f"{items + 1}.").ljust(_DEEPER[kind])

    def _xc(self, rest: str) -> None:
        deeper = _DEEPER[self._lists[-1][0]]
        if rest and len(rest) < deeper - 1:  # the text begins beside it
            self._lead = self._words.pop().ljust(deeper)
        self.flush(deeper)
        self._tight = True

    def _el(self, rest: str) -> None:
        del rest
        self.flush()
        self._lists.pop()

    def _bd(self, rest: str) -> None:
        del rest
        self._blank()
        self._in_display = True

    def _ed(self, rest: str) -> None:
        del rest
        self._in_display = self._tight = False

    def _blank(self) -> None:
        self.flush()
        if not self._tight:
            self.out.append("")
        self._tight = True


def inline(line: str) -> str:
    """What a line of macros says, with marks where no space may be."""
    words = re.findall(r'"[^"]*"|\S+', line)
    said: list[str] = []
    macro = ""
    for at, word in enumerate(words):
        if word == "Op":
            return " ".join([*said, "[", _GLUE, inline(" ".join(["No", *words[at + 1 :]])), _GLUE, "]"])
        if word in INLINE:
            macro = word
            said += [_GLUE] if word == "Ns" else []
        elif word in _CLOSING:
            said += [_GLUE, word]
        elif word in _OPENING:
            said += [word, _GLUE]
        else:
            said += _formatted(macro, plain(word.strip('"')))
    return " ".join(said)


def _formatted(macro: str, word: str) -> list[str]:
    if macro == "Fl" and word != "|":
        return [f"-{word}"]
    if macro == "Ql":
        return [f"'{word}'"]
    if macro == "Xr" and word.isdigit():
        return [_GLUE, f"({word})"]
    return [word]
