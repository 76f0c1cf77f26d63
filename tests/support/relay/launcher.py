"""`extauth-bridge connect SOCKET` and `extauth-bridge FILE`, as the console script starts them."""

import sys

from bridge.entry import _relayed
from bridge.terminal import takeover


def main() -> int:
    """Take the terminal, then relay; 64 if the file is not a relay's."""
    taken = takeover.take()
    status = _relayed(sys.argv[1:], taken)
    return 64 if status is None else status if taken is None else 0


sys.exit(main())
