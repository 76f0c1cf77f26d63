#!/usr/bin/env python3
"""No flush: on a pipe its answers wait in a buffer; on Prosody's terminal they did not."""

import sys

for line in sys.stdin:
    command, user, _host, *password = line.rstrip("\n").split(":", 3)
    known = not user.rpartition("-")[2].startswith("no")
    yes = known and (password == ["pw-" + user] if command == "auth" else command in ("isuser", "setpass"))
    print(int(yes))
