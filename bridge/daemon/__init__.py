"""A running process: its tasks, signals, reload, drain, and what systemd hears of it."""
