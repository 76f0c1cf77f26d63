"""The password that a command needs: prompted for on a terminal, otherwise a line of standard input."""

from __future__ import annotations

import sys

from bridge.commands.cli import UsageError


def read_password(name: str, new: bool = False) -> str:
    """Prompt for the password of `name`, twice for a `new` one, or read the first line of standard input.

    Bytes that are not UTF-8 become surrogates.

    Raises:
      UsageError: none was given at the prompt, or two different ones.
    """
    if sys.stdin.isatty():
        return _prompted(f"{'New password' if new else 'Password'} of {name}: ", again=new)
    line = sys.stdin.buffer.readline()
    return line.removesuffix(b"\n").removesuffix(b"\r").decode(errors="surrogateescape")


def _prompted(prompt: str, again: bool) -> str:
    import getpass  # late: seldom needed

    try:
        password = getpass.getpass(prompt)
        if again and getpass.getpass("The same again: ") != password:
            raise UsageError("the two passwords differ, nothing was asked")
    except EOFError:
        raise UsageError("no password was given") from None
    return password
