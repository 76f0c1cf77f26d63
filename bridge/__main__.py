"""`python -m bridge` is the command `extauth-bridge`."""

import sys

from bridge.entry import main

sys.exit(main())
