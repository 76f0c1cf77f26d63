"""The clients: their sessions, and the daemon's listening sockets."""
