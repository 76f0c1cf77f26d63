"""A pool with its supervisor and its programs, all of whose steps and times a test chooses, and the rules for them."""
