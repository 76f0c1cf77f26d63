"""Chaos: a daemon under a steady load, whose programs, machine, clients and operator misbehave at random.

`people` ask all the time, each kind by a client of `clients`, which holds every answer against its question; `site` is
the daemon with all that surrounds it.  `programs`, `machine`, `customers` and `operator` are the actions, each a small
thing with a doing and an undoing; `catalogue` lists them.  `play` has them happen, and judges.  Nothing here knows the
bridge's code.
"""
