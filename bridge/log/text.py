"""Makes text safe to show: one printable line, not too long.  No I/O."""

from __future__ import annotations

TYPE_CHECKING = False  # typing is slow to import, and a relay imports this
if TYPE_CHECKING:
    from typing import TypeGuard

_SHOWN = 60
"""Characters of an invalid value in an error message: enough to recognise it."""

_SORTS = {
    "str": "a string",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "list": "an array",
    "dict": "a table",
}


def escaped(text: str) -> str:
    """`text` on one line: every unprintable character becomes a backslash escape.

    To `str.isprintable` these are C0, DEL, C1, line separators, bidirectional overrides, lone surrogates …
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cut(text: str, size: int) -> bytes:
    """`text` as UTF-8 of at most `size` bytes (3 or more), ending in `…` if it was cut."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= size:
        return data
    return data[: size - 3].decode("utf-8", "ignore").encode() + "…".encode()


def shortened(text: str, size: int = _SHOWN) -> str:
    """`escaped` text of at most `size` characters, ending in `...` if it was cut."""
    harmless = escaped(text[: size + 1])
    return harmless if len(harmless) <= size else harmless[: size - 3] + "..."


def type_name(value: object) -> str:
    """The TOML type of a value that must not be shown itself."""
    name = type(value).__name__  # the other types are date, time and datetime
    return _SORTS.get(name, f"a {name}")


def shown(value: object) -> str:
    """An invalid value for an error message: nearly as in TOML, shortened, without the contents of tables."""
    if isinstance(value, str):
        return f'"{shortened(value)}"'
    if _is_array(value):
        items = ", ".join("[...]" if _is_array(item) else shown(item) for item in value[:_SHOWN])
        return shortened(f"[{items}]")
    if isinstance(value, bool):
        return str(value).lower()
    # str() of an int with thousands of digits raises ValueError, and 0xfff... can be one.
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= 128):
        return str(value)
    return "a huge number" if isinstance(value, int) else type_name(value)


def _is_array(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)
