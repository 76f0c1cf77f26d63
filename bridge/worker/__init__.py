"""One running program: its start, its pipes, and what it writes."""
