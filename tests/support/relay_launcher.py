"""`extauth-bridge connect SOCKET` and `extauth-bridge FILE`, as the console script starts them."""

import sys

from bridge import terminal


def main() -> int:
    """Take the terminal, then relay; 64 if the file is none for a relay."""
    taken = terminal.take()
    if sys.argv[1] == "connect":
        from bridge.relay import main as relay

        status: int | None = relay(sys.argv[2:], taken)
    else:
        from bridge.relayfile import relay_file

        status = relay_file(sys.argv[1], taken)
    return 64 if status is None else status if taken is None else 0


sys.exit(main())
