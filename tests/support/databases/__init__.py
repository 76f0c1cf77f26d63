"""Real PostgreSQL and MariaDB servers, each in a directory of its own; this machine's own services do not matter."""
