"""A running process: its tasks, signals, reload, drain, and its protocol with systemd."""
