"""`connect`: the same sessions, asking the shared daemon."""
