"""What must hold when one login, program, start, typo or back end is in trouble: scenes with real children.

`clients` ask, `stage` has the daemon and counts, `verdict` says what came of it, `catalogue` lists the scenes; those
themselves are in `starting`, `hanging`, `crowded` and `operated`.  Nothing here knows the bridge's code.
"""
