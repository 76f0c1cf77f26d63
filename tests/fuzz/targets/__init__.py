"""Each module has `target`, a context manager that yields a check, and `TOKENS`, words that inputs hold.

A check takes an input and raises if what was promised does not hold for it.  It may return features of what it has
seen, small numbers: an input with a new one is worth keeping.
"""
