"""Thousands of real logins with a known truth table, while everything behind Prosody is broken again and again.

table    who tries to log in with what, and whether that is right
person   a client that costs little: what the wire carries, and what came of it
tally    how many of which kind ended how
chaos    what is broken meanwhile: programs, the daemon, its configuration, connections
daemon   the daemon, started in one of several ways, and the connection to it that can be cut
runs     all of it together, through the module and on a terminal
"""
