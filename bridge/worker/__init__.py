"""One running program: its start, its pipes, and its stderr."""
