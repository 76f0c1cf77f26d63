#!/usr/bin/env python3
"""strip() takes the line end, and all blanks at its sides."""

import sys

for line in sys.stdin:
    command, user, _host, *password = line.strip().split(":", 3)
    known = not user.rpartition("-")[2].startswith("no")
    yes = known and (password == ["pw-" + user] if command == "auth" else command in ("isuser", "setpass"))
    print(int(yes), flush=True)
