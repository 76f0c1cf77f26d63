"""`extauth-bridge connect SOCKET`: a relay for the daemon that listens on SOCKET."""

from __future__ import annotations

import os
from collections.abc import Sequence

from bridge.loop.streams import SOCKET_PATH_MAX
from bridge.relay.relay import relay
from bridge.relay.settings import RelayConfigError, RelaySettings, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.terminal.takeover import ProgramTerminal

_USAGE = "extauth-bridge connect SOCKET"


def main(argv: Sequence[str], taken: ProgramTerminal | None) -> int:
    """Relay to the socket that `argv` names until the input ends.

    Returns:
      exit status: 0, or 2 for a wrong command line, except on a program's terminal.
    """
    if taken is None and [*argv] in (["-h"], ["--help"]):
        print(f"usage: {_USAGE}\n\nRelay Prosody's lines on standard input to the daemon that listens on SOCKET.")
        return 0

    def read() -> RelaySettings:
        if len(argv) != 1 or argv[0].startswith("-"):
            raise RelayConfigError(f"usage: {_USAGE}")
        if len(os.fsencode(argv[0])) > SOCKET_PATH_MAX:
            raise RelayConfigError(
                f"the name of a socket has at most {SOCKET_PATH_MAX} bytes, but this one is longer: {brief(argv[0])}"
            )
        return RelaySettings(argv[0])

    return relay(read, taken)
